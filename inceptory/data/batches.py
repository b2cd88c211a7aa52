"""A split decoded once into one uint8 tensor, and batches cut from it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.decoding import Decoder
from inceptory.data.labels import showing
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Split
from inceptory.errors import DataError

SHARE_OF_MEMORY = 0.5
"""Of the machine's memory that decoded pictures may take."""
PART, TOLD = 100, 500
"""Pictures that a thread decodes in one go, and after how many progress is told."""

Progress = Callable[[int, int], None]
"""Called with (done, total) now and then."""


def decode_all(
    split: Split, preprocess: Preprocess, progress: Progress | None = None
) -> tuple[NDArray[np.uint8], list[str | None]]:
    """(pixels (N, C, H, W), the fault of each picture that could not be read)."""
    decoder = Decoder(split.pictures, preprocess)
    pixels = np.zeros((len(split), *decoder.shape), dtype=np.uint8)

    def part(first: int) -> list[str | None]:
        rows = range(first, min(first + PART, len(split)))
        return [decoder.into(pixels[row], row, split.names[row]) for row in rows]

    faults: list[str | None] = []
    # Pillow's decoders release the interpreter's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(part, range(0, len(split), PART)):
            faults += found
            if progress is not None and (len(faults) % TOLD == 0 or len(faults) == len(split)):
                progress(len(faults), len(split))
    return pixels, faults


def bytes_of(split: Split, preprocess: Preprocess) -> int:
    """Memory that the decoded pictures of a split take."""
    return len(split) * len(preprocess.mean) * preprocess.size**2


def machine_memory() -> float:
    """Bytes of this machine's memory; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf  # Windows has no sysconf; the allocation itself will tell


def check_classes(split: Split, classes: Sequence[str], faults: Sequence[str | None]) -> None:
    """Raise DataError where a class has pictures and none of them could be read."""
    good = np.asarray([fault is None for fault in faults], dtype=bool)
    for label, name in enumerate(classes):
        inside = showing(split.labels, label)
        if inside.any() and not (inside & good).any():
            first = next(fault for row, fault in enumerate(faults) if fault and inside[row])
            raise DataError(f"class {name!r}: none of its pictures can be read, the first: {first}")


def normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device | str = "cpu") -> Tensor:
    """The value map on a batch: (N, C, H, W) uint8 to float32 in channels-last order on the device."""
    mean, std = (
        torch.tensor(numbers, device=device).view(1, -1, 1, 1) for numbers in (preprocess.mean, preprocess.std)
    )
    moved = pixels.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last).float()
    return moved.div_(preprocess.divisor).sub_(mean).div_(std)


def histogram(pixels: Tensor) -> Tensor:
    """How often each level occurs in each channel: (N, C, H, W) uint8 to (C, 256) int64."""
    return torch.stack([torch.bincount(pixels[:, c].flatten().int(), minlength=256) for c in range(pixels.shape[1])])


def statistics_of(histogram: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, deviation) of each channel on the scale 0 to 1, rounded to four digits."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = histogram.double() / histogram.sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    std = ((share * levels**2).sum(1) - mean**2).clamp_min(1e-6).sqrt()
    # Pictures of one colour have no deviation to divide by.
    return tuple(round(m, 4) for m in mean.tolist()), tuple(max(round(s, 4), 1e-3) for s in std.tolist())
