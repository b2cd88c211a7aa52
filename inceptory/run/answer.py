"""A checkpoint as a function from pixels to probabilities, by the way that `evaluate` goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from inceptory.engines.device import Precision, choose
from inceptory.measure.evaluate import answering, answers
from inceptory.weights.card import Card
from inceptory.weights.resolve import Resolved

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(N, H, W, C) pixels to (N, classes) probabilities."""


def answerer(model: Resolved, card: Card, device: str, precision: str) -> tuple[Answer, Precision]:
    """The checkpoint's network, ready to answer, and in which arithmetic; multi-label, each class by itself."""
    place, preprocess = choose(device, precision), card.preprocess
    assert preprocess is not None
    net = answering(model, card.dialect, place)

    def answer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = answers(net, torch.from_numpy(pixels).permute(0, 3, 1, 2), preprocess, place)
        return (logits.sigmoid() if card.multi_label else logits.softmax(1)).numpy()

    return answer, place.precision
