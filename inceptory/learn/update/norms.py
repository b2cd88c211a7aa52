"""What batch norms remember for eval mode: how fast, of which weights, and whether it still fits them.

In train mode a batch norm standardises with the mean and variance of the present batch; in eval mode with running
averages of them, into which a share of every batch goes (Ioffe & Szegedy 2015, section 3.1). PyTorch calls this share
momentum. The averages cover about the last 1 / momentum steps; if the weights have changed much within those steps,
the network answers nonsense in eval mode although it learnt well.
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
"""PyTorch's default momentum, with which its own networks are trained in runs of any length."""
MEMORY = 0.01
"""Largest share of a run's steps that the running statistics may cover: in so few steps the weights hardly change."""


def momentum(setting: str | float, origin: float, steps: int | None) -> float:
    """Share of each batch in the running statistics, for a run of so many steps (None: not known beforehand).

    origin: the value with which the network was first trained, for hundreds of thousands of steps. auto: at
    least that, and so large that the statistics cover a hundredth of the run, but for that no more than
    PyTorch's 0.1.

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
    """A batch norm, ours or torch's synchronised one. Its momentum is a number: None, for a mean, is not used here."""

    momentum: float

    def train(self, mode: bool = True) -> object:
        """Standardise with the statistics of the batch, and update the running ones."""


def norms_of(net: nn.Module) -> Iterator[Norm]:
    """Every batch norm of a network that learns: a frozen one, without gradients, remembers what it does for good."""
    norms = (module for module in net.modules() if isinstance(module, NORMS))
    return (cast(Norm, norm) for norm in norms if any(tensor.requires_grad for tensor in norm.parameters()))


def remembered(net: nn.Module) -> list[Tensor]:
    """The running statistics of the norms that learn."""
    return [buffer for norm in norms_of(net) for buffer in cast(nn.Module, norm).buffers()]


def choose_variance(net: nn.Module, kind: Literal["biased", "unbiased"]) -> None:
    """Choose the variance that goes into all running statistics; raises ConfigError where a norm has no choice."""
    for norm in norms_of(net):
        if isinstance(norm, BatchNorm):
            norm.biased = kind == "biased"
        elif kind == "biased":
            problem = "SyncBatchNorm knows the unbiased variance only (give unbiased, or leave the network unconverted)"
            raise ConfigError(f"--moving-variance biased: {problem}")


@torch.no_grad()
def renew(net: Network, batches: Iterable[Tensor]) -> None:
    """Set running statistics to the mean over batches of values (n, C, H, W); the network is left in eval mode.

    Averaged weights need statistics of their own, since those of the single networks do not fit their average
    (Izmailov et al. 2018, section 3.2).
    """
    with _by_batch(net) as norms:
        for number, values in enumerate(batches):
            for norm in norms:
                norm.momentum = 1 / (number + 1)
            net.heads(values)


@torch.no_grad()
def both_answers(net: Network, values: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (n, classes) with the statistics of this batch, and with the running ones, which are not changed."""
    with _by_batch(net) as norms:
        for norm in norms:
            norm.momentum = 0.0
        by_batch = net(values)
    return by_batch, net(values)


def right(
    net: Network, batches: Iterable[tuple[Tensor, Tensor]], hits: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float, float]:
    """(pictures, correct answers with the statistics of each batch, correct answers with the running statistics).

    `batches` are (values, labels); `hits` counts the correct answers of logits and labels.
    """
    count = by_batch = running = 0.0
    for values, labels in batches:
        batch_logits, running_logits = both_answers(net, values)
        count += len(labels)
        by_batch += float(hits(batch_logits, labels))
        running += float(hits(running_logits, labels))
    return count, by_batch, running


def memory(net: Network) -> str:
    """Why running statistics may not fit the weights, and what to do."""
    steps = max((1 / norm.momentum if norm.momentum else math.inf for norm in norms_of(net)), default=0)
    return f"these remember {steps:,.0f} steps and lag behind the weights (leave --norm-momentum at auto)"


@contextmanager
def _by_batch(net: nn.Module) -> Iterator[list[Norm]]:
    """Inside, only the norms are in train mode; afterwards all is in eval mode and the momenta are as before."""
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
