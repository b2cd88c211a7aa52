"""Several processes in one training, as torchrun starts them; in a single process, all of this does nothing.

Batch norms see each process's own pictures; what they remember is averaged after every step, so
that all processes hold the same network at any time. Tensors on GPUs go over nccl, which takes no
others; counters and answers are on the CPU and go over gloo.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from inceptory.errors import ConfigError
from inceptory.system.streams import processes

BACKENDS = {"cuda": "cpu:gloo,cuda:nccl"}
"""The backend for tensors of each device; for any other device it is gloo."""


@dataclass(frozen=True)
class Ranks:
    """This process among the others."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
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

    def of_first(self, *numbers: float) -> list[float]:
        """The first process' numbers, on each of them."""
        return self.total(*(numbers if self.first else [0.0] * len(numbers)))

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes, one after another, on the CPU of each. (n_r, ...) -> (sum n_r, ...)."""
        if self.world == 1:
            return rows
        # Lengths first: collectives take tensors of one shape, so the shorter ones are filled up.
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(lengths, torch.tensor([len(rows)]))
        longest = max(int(length) for length in lengths)
        filled = rows.new_zeros(longest, *rows.shape[1:], device="cpu")
        filled[: len(rows)] = rows
        parts = [torch.empty_like(filled) for _ in range(self.world)]
        dist.all_gather(parts, filled)
        return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)])

    def share_statistics(self, buffers: Sequence[Tensor]) -> None:
        """Average over all processes what batch norms remember, in place."""
        if self.world == 1 or not buffers:
            return
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        dist.all_reduce(flat)
        flat /= self.world
        sizes = [buffer.numel() for buffer in buffers]
        for buffer, mean in zip(buffers, flat.split(sizes), strict=True):  # type: ignore[no-untyped-call]
            buffer.copy_(mean.view_as(buffer))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.total(0.0)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes of one torchrun, or this one alone."""
    world = processes()
    if world == 1 or not dist.is_available():
        yield Ranks()
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(f"process {local}: has no GPU of its own (--nproc-per-node {torch.cuda.device_count()})")
        torch.cuda.set_device(local)
    # The wrapper loads this when it is made; loaded while there is a group it keeps that, and gloo's threads, for good.
    importlib.import_module("torch._dynamo")
    dist.init_process_group(BACKENDS.get(device, "gloo"))
    try:
        yield Ranks(rank, world)
    finally:
        # The wrapper that exchanged gradients is in reference cycles, so only the collector frees it. While it holds
        # the group, gloo's threads live on, and one that frees a Python object while Python exits aborts the process.
        gc.collect()
        dist.destroy_process_group()
