"""Several processes at one training, as torchrun starts them; alone, everything here does nothing.

Batch norms see each process's own pictures; what they remember is averaged after every step, so
that all processes hold the same network at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from inceptory.errors import ConfigError


@dataclass(frozen=True)
class Ranks:
    """This process among the others."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """This process's share of a batch: neighbours, so that together they are the batch."""
        return rows.tensor_split(self.world)[self.rank]

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over all processes."""
        if self.world == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values)
        return [float(value) for value in values]

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes, one after another, on each of them. (n_r, ...) -> (sum n_r, ...)."""
        if self.world == 1:
            return rows
        found: list[Tensor | None] = [None] * self.world
        dist.all_gather_object(found, rows.cpu())
        return torch.cat([part for part in found if part is not None])

    def share_statistics(self, net: nn.Module) -> None:
        """Average over all processes what batch norms remember."""
        buffers = list(net.buffers())
        if self.world == 1 or not buffers:
            return
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        dist.all_reduce(flat)
        flat /= self.world
        sizes = [buffer.numel() for buffer in buffers]
        for buffer, mean in zip(buffers, flat.split(sizes), strict=True):  # type: ignore[no-untyped-call]
            buffer.copy_(mean.view_as(buffer))

    def wait(self) -> None:
        """Go on only when all processes have come here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes of one torchrun, or this one alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or not dist.is_available():
        yield Ranks()
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(f"process {local}: has no GPU of its own (--nproc-per-node {torch.cuda.device_count()})")
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Ranks(rank, world)
    finally:
        dist.destroy_process_group()
