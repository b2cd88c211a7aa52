"""A split decoded once into one uint8 tensor, and batches cut from it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.decoding import Decoder
from inceptory.data.labels import showing
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Split
from inceptory.data.survey import corrupt_classes
from inceptory.errors import ConfigError, DataError

SHARE_OF_MEMORY = 0.5
"""Of the machine's memory that decoded pictures may take."""
PART, TOLD = 100, 500
"""Pictures that a thread decodes in one go, and after how many progress is told."""

Progress = Callable[[int, int], None]
"""Called with (done, total) now and then."""


@dataclass(frozen=True)
class Images:
    """Decoded pictures of one split."""

    pixels: Tensor
    """(N, C, H, W) uint8."""
    labels: Tensor
    """(N,) int64."""
    names: list[str]
    skipped: list[str]
    """One line for each picture that could not be read."""

    def __len__(self) -> int:
        return len(self.labels)


def decode(split: Split, classes: tuple[str, ...], preprocess: Preprocess, progress: Progress | None = None) -> Images:
    """Decode a split into memory. Unreadable pictures are skipped and named.

    Raises ConfigError where the pictures would not fit, DataError where more than a tenth of a class
    cannot be read.
    """
    need, memory = bytes_of(split, preprocess), machine_memory()
    if need > memory * SHARE_OF_MEMORY:
        raise ConfigError(
            f"{len(split):,} decoded pictures need {need / 2**30:.1f} GiB of this machine's {memory / 2**30:.1f} "
            "(give a smaller --image or fewer pictures)"
        )
    pixels, faults = decode_all(split, preprocess, progress)
    check_classes(split, classes, faults)
    good = np.asarray([fault is None for fault in faults])
    return Images(
        pixels=torch.from_numpy(pixels if good.all() else pixels[good]),
        labels=torch.from_numpy(split.labels[good]),
        names=[split.names[int(row)] for row in np.flatnonzero(good)],
        skipped=[fault for fault in faults if fault],
    )


def decode_all(
    split: Split, preprocess: Preprocess, progress: Progress | None = None
) -> tuple[NDArray[np.uint8], list[str | None]]:
    """(pixels (N, C, H, W), the fault of each picture that could not be read)."""
    decoder = Decoder(split.pictures, split.names, preprocess)
    pixels = np.zeros((len(split), *decoder.shape), dtype=np.uint8)

    def part(first: int) -> list[str | None]:
        return [decoder.into(pixels[row], row) for row in range(first, min(first + PART, len(split)))]

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
    """Raise DataError where more than a tenth of a class could not be read."""
    bad = np.asarray([fault is not None for fault in faults], dtype=bool)
    for label in corrupt_classes(split.labels, bad):
        inside = showing(split.labels, label)
        first = next(fault for row, fault in enumerate(faults) if fault and inside[row])
        share = f"{(inside & bad).sum():,} of {inside.sum():,} pictures cannot be read"
        raise DataError(f"class {classes[label]!r}: {share} (`inceptory check` names them all), the first: {first}")


def shuffled(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row numbers of each batch of one epoch, every row once, in random order.

    A last batch of one row is left out: batch norm has no variance of one vector.
    """
    for rows in torch.randperm(count, generator=generator).split(batch):  # type: ignore[no-untyped-call]
        if len(rows) > 1:
            yield rows


def count_batches(count: int, batch: int) -> int:
    """Batches that `shuffled` gives for one epoch."""
    return count // batch + (count % batch > 1)


def normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device | str = "cpu") -> Tensor:
    """The value map on a batch: (N, C, H, W) uint8 to float32 in channels-last order on the device."""
    mean, std = (
        torch.tensor(numbers, device=device).view(1, -1, 1, 1) for numbers in (preprocess.mean, preprocess.std)
    )
    moved = pixels.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last).float()
    return moved.div_(preprocess.divisor).sub_(mean).div_(std)


def channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, deviation) of each channel on the scale 0 to 1, rounded to four digits. pixels: (N, C, H, W) uint8."""
    return statistics_of(histogram(pixels))


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
