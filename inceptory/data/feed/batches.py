"""A split decoded once into one uint8 tensor, and batches cut from it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.decoding import Decoder, Kept
from inceptory.data.picture.crops import Crops
from inceptory.data.picture.decode import size_of
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.labels import showing
from inceptory.data.sources.source import Split
from inceptory.errors import DataError, InceptoryError

PART, REPORT = 100, 500
"""Pictures that a thread decodes in one go, and after how many progress is reported."""
RUNS, RUN = 16, 16
"""Runs of neighbours, evenly spaced, and pictures in each, whose sizes stand for those of a split."""

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (done, total) now and then."""


def decode_all(
    split: Split, preprocess: Preprocess, progress: Progress | None = None
) -> tuple[NDArray[np.uint8], list[str | None]]:
    """(pixels (N, C, H, W), the fault of each picture that could not be read)."""
    decoder = Decoder(split.pictures, preprocess)
    pixels = np.zeros((len(split), *decoder.shape), dtype=np.uint8)
    return pixels, _each(lambda row: decoder.into(pixels[row], row, split.names[row]), len(split), progress)


def keep_all(
    split: Split, preprocess: Preprocess, crops: Crops, progress: Progress | None = None
) -> tuple[list[Kept], list[str | None]]:
    """(pictures as `Decoder.whole` keeps them, the fault of each that could not be read and is of no size)."""
    decoder, nothing = Decoder(split.pictures, preprocess, crops), Kept(np.empty((0, 0), dtype=np.uint8))
    results = _each(lambda row: decoder.whole(row, split.names[row]), len(split), progress)
    faults = [result if isinstance(result, str) else None for result in results]
    return [nothing if isinstance(result, str) else result for result in results], faults


def _each(work: Callable[[int], T], count: int, progress: Progress | None) -> list[T]:
    """What the work gives for each row."""

    def part(first: int) -> list[T]:
        return [work(row) for row in range(first, min(first + PART, count))]

    done: list[T] = []
    # Pillow's decoders release the interpreter's lock, so threads use all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for results in pool.map(part, range(0, count, PART)):
            done += results
            if progress is not None and (len(done) % REPORT == 0 or len(done) == count):
                progress(len(done), count)
    return done


def bytes_of(split: Split, preprocess: Preprocess, crops: Crops | None = None) -> int:
    """Memory that the decoded pictures of a split take; for crops estimated from the sizes of some of them."""
    channels, side = preprocess.channels, preprocess.size
    if crops is None:
        return len(split) * channels * side**2
    areas = [_kept_area(size, crops.spare(size, side), side) for size in _some_sizes(split)]
    return math.ceil(len(split) * channels * sum(areas) / max(len(areas), 1))


def _kept_area(size: tuple[int, int], spare: int, side: int) -> int:
    """Pixels of a picture as it is kept, and of the view that is kept beside a smaller one."""
    return math.prod(-(-length // spare) for length in size) + (side**2 if spare > 1 else 0)


def _some_sizes(split: Split) -> Iterator[tuple[int, int]]:
    """(width, height) of up to 256 readable pictures, in runs: neighbours often lie where one reading gives both."""
    starts = np.linspace(0, max(len(split) - RUN, 0), RUNS).astype(int)
    for row in sorted({row for start in starts.tolist() for row in range(start, min(start + RUN, len(split)))}):
        with contextlib.suppress(InceptoryError):
            yield size_of(split.pictures[row], split.names[row])


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


def pixels_of(values: Tensor, preprocess: Preprocess) -> NDArray[np.uint8]:
    """What a network is given, as pictures again: (N, C, H, W) to (N, H, W, C), in RGB or grey.

    Values beyond black and white, as moves in between pixels can leave them, are cut off.
    """
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (preprocess.mean, preprocess.std))
    pixels = (values.float().cpu() * std + mean) * preprocess.divisor
    upright = pixels.flip(1) if preprocess.order == "BGR" else pixels
    shown: NDArray[np.uint8] = upright.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return shown


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
