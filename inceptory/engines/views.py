"""Several views of a picture, one answer: the probabilities of all of them averaged, as the papers do. No torch.

Szegedy et al. 2014, section 7 (GoogLeNet), and Szegedy et al. 2015, section 10 (Inception v3), average the softmax over
crops. What was fitted on pictures as they are, calibration and the mark for unlike ones, is asked about the first view,
which is that picture.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import VIEWS, Preprocess, Views
from inceptory.engines.answers import Answers, Engine
from inceptory.errors import UnknownName


def seen_in(views: Views, preprocess: Preprocess) -> Preprocess:
    """A preprocessing that shows these views of a picture; raises UnknownName."""
    if views not in VIEWS:
        raise UnknownName("--views", str(views), VIEWS)
    return replace(preprocess, views=views)


def answers_of_views(engine: Engine, pixels: NDArray[np.uint8]) -> Answers:
    """Answers to N pictures, pixels (N, V * C, H, W): vectors and logits of the first view, averaged probabilities."""
    channels, count = len(engine.preprocess.mean), len(pixels)
    answers = engine.answers(pixels.reshape(-1, channels, *pixels.shape[2:]))
    vectors, logits, probabilities = (each.reshape(count, -1, each.shape[1]) for each in answers)
    return answers._replace(vectors=vectors[:, 0], logits=logits[:, 0], probabilities=probabilities.mean(1))


def logits_behind(probabilities: NDArray[np.float32], multi_label: bool) -> NDArray[np.float32]:
    """(N, K) logits that give these probabilities: their logarithm; of a multi-label model the log odds."""
    least = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probabilities, least))
    return logits - np.log(np.maximum(1 - probabilities, least)) if multi_label else logits
