"""A network's training step compiled by torch: for `--compile`, where a run is long enough to pay for the wait."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from inceptory.errors import ConfigError
from inceptory.nets.network import Network

Heads = Callable[[Tensor], dict[str, Tensor]]
REMEDY = "leave --compile out, or install a C++ compiler such as g++, and Python's headers"


def compiled(net: Network, batch: int) -> Heads:
    """`net.heads`, compiled for training on batches of this size; the first call takes minutes.

    Other sizes (the last batch of an epoch) and eval mode are not compiled: that would take longer than it
    saves. The compiled function trains the parameters of `net` itself. Raises ConfigError where torch
    cannot compile.
    """
    _try(next(net.parameters()).device)
    fast: Heads = torch.compile(net.heads, dynamic=False)

    def heads(images: Tensor) -> dict[str, Tensor]:
        return fast(images) if net.training and len(images) == batch else net.heads(images)

    return heads


def _try(device: torch.device) -> None:
    """Compile a tiny function, so that a missing compiler is reported now and not at the first step."""
    try:
        torch.compile(torch.neg, dynamic=False)(torch.zeros(8, device=device))
    except RuntimeError as fault:
        # Some versions of torch put "backend='inductor' raised:" before the reason.
        reason = next((line for line in str(fault).splitlines() if line and not line.startswith("backend=")), "")
        raise ConfigError(f"--compile: torch cannot compile here: {reason} ({REMEDY})") from fault
