"""Muon: kernels move by a momentum whose singular values are made alike, all else by AdamW.

A kernel's gradient is mostly of low rank, so that a plain step moves it along few directions. Muon takes the nearest
matrix with orthogonal rows (or columns) instead, which moves all directions alike. Jordan et al. 2024 ("Muon: an
optimizer for hidden layers", kellerjordan.github.io/posts/muon).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of s -> a s + b s^3 + c s^5, which brings singular values from nearly 0 to 0.7 to 1.2; the post above."""
ROUNDS = 3
"""Times that this is done, as in airbench94_muon."""
SHARES = {"matrix": 1.0, "linear": 1 / 200, "kernel": 1 / 24, "vector": 1 / 24}
"""Rates as shares of Muon's, by the kind of tensor: AdamW's is 0.01 beside 0.24, and 0.001 for a linear layer beside
0.2, which with small first weights of that layer was better on CIFAR-10 (LOG.md).
"""


def orthogonal(matrix: Tensor) -> Tensor:
    """(m, n) -> about U V^T of its singular value decomposition U S V^T, by Newton and Schulz' iteration in bf16."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)  # singular values of at most 1, where the iteration holds
    for _ in range(ROUNDS):
        squares = x @ x.T
        x = a * x + (b * squares + c * squares @ squares) @ x
    return (x.T if tall else x).to(matrix.dtype)


def kind_of(weight: Tensor) -> str:
    """A key of SHARES: a `matrix`, which moves by Muon, is the kernel of a convolution, seen as (filters, inputs), but
    not a depthwise one; that is a `kernel`.
    """
    if weight.ndim == 4:
        return "matrix" if weight.shape[1] > 1 else "kernel"
    return "linear" if weight.ndim == 2 else "vector"


class Muon(torch.optim.AdamW):
    """Groups with `matrix` move by Muon, the others by AdamW at a share of the rate.

    b = momentum * b + g;  w = w * sqrt(filters) / |w|;  w = w - lr * orthogonal(g + momentum * b).
    Kernels have a fixed length, as batch norms behind them make their own length meaningless; so `lr` is an angle, and
    weight decay has no part in it. Source: airbench94_muon (github.com/KellerJordan/cifar10-airbench).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.6,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, (momentum, decay), epsilon, weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every tensor that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if group["matrix"] and weight.grad is not None:
                    self._turn(weight, weight.grad, group)
                    weight.grad = None  # AdamW passes by what has no gradient
        super().step()
        return loss

    def _turn(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[weight], group["betas"][0]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        ahead = gradient.add(buffer, alpha=momentum)
        weight.mul_(len(weight) ** 0.5 / weight.norm())
        weight.sub_(orthogonal(ahead.flatten(1)).view_as(weight), alpha=group["lr"])
