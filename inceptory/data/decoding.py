"""Rows of a split to pixels: one pure function that threads and other processes share. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptory.data.images import Picture, open_picture
from inceptory.data.preprocess import Preprocess
from inceptory.errors import InceptoryError


@dataclass(frozen=True)
class Decoded:
    """Pictures of some rows."""

    pixels: NDArray[np.uint8]
    """(n, C, H, W), only the pictures that could be read."""
    rows: NDArray[np.int64]
    """(n,) their rows."""
    faults: list[tuple[int, str]]
    """Row and fault of each of the others."""


@dataclass(frozen=True)
class Decoder:
    """Everything that decoding takes; can be sent to another process."""

    pictures: Sequence[Picture]
    preprocess: Preprocess

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a picture."""
        return len(self.preprocess.mean), self.preprocess.size, self.preprocess.size

    def into(self, target: NDArray[np.uint8], row: int, name: str) -> str | None:
        """Decode one picture into `target` (C, H, W); gives the fault, with `name`, where it cannot be read."""
        try:
            pixels = self.preprocess.pixels(open_picture(self.pictures[row], name))
        except InceptoryError as fault:
            return str(fault)
        target[:] = pixels.transpose(2, 0, 1)
        return None

    def __call__(self, rows: NDArray[np.int64], names: Sequence[str]) -> Decoded:
        """The pictures of these rows in this order: the same rows, the same answer, wherever it is computed."""
        pixels = np.empty((len(rows), *self.shape), dtype=np.uint8)
        faults = [self.into(*one) for one in zip(pixels, rows.tolist(), names, strict=True)]
        good = np.asarray([fault is None for fault in faults], dtype=bool)
        told = [(int(row), fault) for row, fault in zip(rows, faults, strict=True) if fault is not None]
        return Decoded(pixels if good.all() else pixels[good], rows[good], told)
