"""What batch norms remember for eval mode: how fast, of which weights, and whether it still fits them.

In train mode a batch norm standardises by the batch at hand; in eval mode by a running mean and
variance that took in a share of every batch (Ioffe & Szegedy 2015, section 3.1). The share is called
momentum in PyTorch. It sets a memory of 1 / momentum steps, and a network whose weights have moved on
within that memory answers nonsense in eval mode although it learnt well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from inceptory.errors import ConfigError
from inceptory.nets.layers import NORMS, BatchNorm
from inceptory.nets.network import Network

FASTEST = 0.1
"""PyTorch's momentum, with which its own networks are trained in runs of every length."""
MEMORY = 0.01
"""Share of a run's steps that its batch norms may remember at most: the weights hardly move within it."""


def momentum(setting: str | float, origin: float, steps: int | None) -> float:
    """Share of each batch in the running statistics, for a run of so many steps (None: not known beforehand).

    origin: as the weights' origin trained, for hundreds of thousands of steps. auto: the origin's, but
    never remembering more than a hundredth of the run, and nothing faster than PyTorch's 0.1 for that.

    >>> momentum("auto", origin=0.0003, steps=126), momentum("auto", origin=0.01, steps=200_000)
    (0.1, 0.01)
    """
    if setting == "origin":
        return origin
    if setting == "auto":
        needed = FASTEST if steps is None else min(FASTEST, 1 / (MEMORY * steps))
        return max(origin, needed)
    return float(setting)


class Norm(Protocol):
    """A batch norm, ours or torch's synchronised one; None, a mean over all batches, is no momentum of ours."""

    momentum: float

    def train(self, mode: bool = True) -> object:
        """Standardise by the batch, and remember it."""


def norms_of(net: nn.Module) -> Iterator[Norm]:
    """Every batch norm of a network that learns: a frozen one, without gradients, remembers what it does for good."""
    norms = (module for module in net.modules() if isinstance(module, NORMS))
    return (cast(Norm, norm) for norm in norms if any(tensor.requires_grad for tensor in norm.parameters()))


def remembered(net: nn.Module) -> list[Tensor]:
    """The running statistics of the norms that learn."""
    return [buffer for norm in norms_of(net) for buffer in cast(nn.Module, norm).buffers()]


def choose_variance(net: nn.Module, kind: Literal["biased", "unbiased"]) -> None:
    """Which variance every batch norm remembers; raises ConfigError where one cannot."""
    for norm in norms_of(net):
        if isinstance(norm, BatchNorm):
            norm.biased = kind == "biased"
        elif kind == "biased":
            told = "SyncBatchNorm knows the unbiased variance only (give unbiased, or leave the network unconverted)"
            raise ConfigError(f"--moving-variance biased: {told}")


@torch.no_grad()
def renew(net: Network, batches: Iterable[Tensor]) -> None:
    """Set running statistics to the mean over batches of values (n, C, H, W); the network is left in eval mode.

    Averaged weights need statistics of their own: those of the weights that were averaged are not
    those of their average (Izmailov et al. 2018, section 3.2).
    """
    with _by_batch(net) as norms:
        for number, values in enumerate(batches):
            for norm in norms:
                norm.momentum = 1 / (number + 1)
            net.heads(values)


@torch.no_grad()
def both_answers(net: Network, values: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n, classes) by the statistics of this batch, of which nothing is remembered, and by the running ones."""
    with _by_batch(net) as norms:
        for norm in norms:
            norm.momentum = 0.0
        by_batch = net(values)
    return by_batch, net(values)


def right(
    net: Network, batches: Iterable[tuple[Tensor, Tensor]], hits: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float, float]:
    """(pictures, those answered rightly by the statistics of their batch, those by the running statistics).

    Of batches of (values, labels); `hits` counts the right answers of logits to labels.
    """
    seen = by_batch = running = 0.0
    for values, labels in batches:
        one, other = both_answers(net, values)
        seen += len(labels)
        by_batch += float(hits(one, labels))
        running += float(hits(other, labels))
    return seen, by_batch, running


def memory(net: Network) -> str:
    """Why running statistics may not fit the weights, and what to do."""
    steps = max((1 / norm.momentum if norm.momentum else math.inf for norm in norms_of(net)), default=0)
    return f"these remember {steps:,.0f} steps and lag behind the weights (leave --norm-momentum at auto)"


@contextmanager
def _by_batch(net: nn.Module) -> Iterator[list[Norm]]:
    """Only the norms are in train mode inside; their momenta are as before afterwards, and all is in eval mode."""
    norms = list(norms_of(net))
    momenta = [norm.momentum for norm in norms]
    net.eval()
    try:
        for norm in norms:
            norm.train()
        yield norms
    finally:
        net.eval()
        for norm, before in zip(norms, momenta, strict=True):
            norm.momentum = before
