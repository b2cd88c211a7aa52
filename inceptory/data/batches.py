"""A split decoded once into one uint8 tensor, and batches cut from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.images import open_picture
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Split
from inceptory.data.survey import corrupt_classes
from inceptory.errors import ConfigError, DataError, InceptoryError

SHARE_OF_MEMORY = 0.5
"""Of the machine's memory that decoded pictures may take."""

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
    skipped_labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Their labels."""

    def __len__(self) -> int:
        return len(self.labels)


def decode(split: Split, classes: tuple[str, ...], preprocess: Preprocess, progress: Progress | None = None) -> Images:
    """Decode a split into memory. Unreadable pictures are skipped and named.

    Raises ConfigError where the pictures would not fit, DataError where a class has none left.
    """
    channels = len(preprocess.mean)
    _check_memory(len(split), channels * preprocess.size**2)
    pixels = np.empty((len(split), preprocess.size, preprocess.size, channels), dtype=np.uint8)

    def one(row: int) -> str | None:
        try:
            pixels[row] = preprocess.pixels(open_picture(split.pictures[row], split.names[row]))
        except InceptoryError as fault:
            return str(fault)
        return None

    # Pillow's decoders release the interpreter's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = []
        for row, fault in enumerate(pool.map(one, range(len(split)))):
            faults.append(fault)
            if progress is not None and (row % 500 == 499 or row + 1 == len(split)):
                progress(row + 1, len(split))
    return _readable(split, classes, pixels, faults)


def _check_memory(count: int, each: int) -> None:
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return  # Windows has no sysconf; the allocation itself will tell
    need = count * each
    if need > memory * SHARE_OF_MEMORY:
        raise ConfigError(
            f"{count:,} decoded pictures need {need / 2**30:.1f} GiB of this machine's {memory / 2**30:.1f} "
            "(give a smaller --image or fewer pictures)"
        )


def _readable(split: Split, classes: tuple[str, ...], pixels: NDArray[np.uint8], faults: list[str | None]) -> Images:
    bad = np.asarray([fault is not None for fault in faults], dtype=bool)
    good = np.flatnonzero(~bad)
    for label in np.unique(split.labels):
        if not (split.labels[good] == label).any():
            first = next(fault for row, fault in enumerate(faults) if fault and split.labels[row] == label)
            raise DataError(f"class {classes[label]!r}: none of its pictures can be read, the first: {first}")
    kept = pixels if len(good) == len(pixels) else pixels[good]
    return Images(
        pixels=torch.from_numpy(kept).permute(0, 3, 1, 2).contiguous(),
        labels=torch.from_numpy(split.labels[good]),
        names=[split.names[int(row)] for row in good],
        skipped=[fault for fault in faults if fault],
        skipped_labels=split.labels[bad],
    )


def refuse_corrupt(splits: Iterable[Images], classes: tuple[str, ...]) -> None:
    """Raise DataError where more than a tenth of a class, over all its splits, could not be read.

    Over all of them, because one damaged file is half of a class in a small validation split.
    """
    parts = list(splits)
    lost = np.concatenate([part.skipped_labels for part in parts])
    labels = np.concatenate([lost, *(part.labels.numpy() for part in parts)])
    for label in corrupt_classes(labels, np.arange(len(labels)) < len(lost)):
        first = next(
            fault for part in parts for fault, of in zip(part.skipped, part.skipped_labels, strict=True) if of == label
        )
        share = f"{(lost == label).sum():,} of {(labels == label).sum():,} pictures cannot be read"
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
    """(mean, deviation) of each channel on the scale 0 to 1, rounded to four digits."""
    histogram = torch.stack(
        [torch.bincount(pixels[:, c].flatten().int(), minlength=256) for c in range(pixels.shape[1])]
    )
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = histogram.double() / histogram.sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    std = ((share * levels**2).sum(1) - mean**2).clamp_min(1e-6).sqrt()
    # Pictures of one colour have no deviation to divide by.
    return tuple(round(m, 4) for m in mean.tolist()), tuple(max(round(s, 4), 1e-3) for s in std.tolist())
