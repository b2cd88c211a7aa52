"""A checkpoint as a function from values to probabilities, on the processor in full precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from inceptory.weights.adopt import load
from inceptory.weights.resolve import Resolved

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(N, C, H, W) values to (N, classes) probabilities."""


def answerer(model: Resolved, dialect: str, multi_label: bool = False) -> Answer:
    """The checkpoint's network, ready to answer; multi-label, each class has a probability of its own."""
    net = load(model, dialect=dialect).float().to(memory_format=torch.channels_last)

    def answer(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = net(torch.from_numpy(values))
            return (logits.sigmoid() if multi_label else logits.softmax(1)).numpy()  # type: ignore[no-any-return]

    return answer
