"""A network's tensors as another dialect of the same graph has them: with or without gamma.

tf-slim and Keras train some networks without batch norm's factor. Folding it away is exact: with
y' = gamma * y, whose mean is gamma * mean, (y' - mean') / deviation is gamma * (y - mean) / deviation,
so the factor goes into the kernel and the mean. Adding it back is a row of ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inceptory.nets.catalogue import Plan
from inceptory.weights.identify import shapes_of


def express(state: dict[str, Tensor], target: Plan) -> dict[str, Tensor]:
    """The tensors of `state` under the names of the target's dialect, which has the same graph."""
    shapes = shapes_of(target)
    tensors = dict(state)
    for name in [name for name in state if name.endswith(".bn.weight") and name not in shapes]:
        _fold_gamma(tensors, name.removesuffix(".bn.weight"))
    for name, shape in shapes.items():
        if name not in tensors and name.endswith(".bn.weight"):
            tensors[name] = torch.ones(shape)
    return {name: tensors[name] for name in shapes}


def _fold_gamma(state: dict[str, Tensor], layer: str) -> None:
    gamma = state.pop(f"{layer}.bn.weight")
    kernel = f"{layer}.conv.weight"
    state[kernel] = state[kernel] * gamma.view(-1, 1, 1, 1)
    if f"{layer}.conv.bias" in state:
        state[f"{layer}.conv.bias"] = state[f"{layer}.conv.bias"] * gamma
    state[f"{layer}.bn.running_mean"] = state[f"{layer}.bn.running_mean"] * gamma
