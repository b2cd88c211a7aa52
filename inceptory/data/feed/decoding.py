"""Rows of a split to pixels: one pure function that threads and other processes share. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.crops import Crops
from inceptory.data.picture.decode import Picture, open_picture
from inceptory.data.picture.preprocess import Preprocess
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


class Kept(NamedTuple):
    """A picture to cut crops from."""

    picture: NDArray[np.uint8]
    """(H, W) or (H, W, 3)."""
    view: NDArray[np.uint8] | None = None
    """(C, size, size), what the preprocessing sees of the whole one, where `picture` is a smaller one."""


@dataclass(frozen=True)
class Decoder:
    """Everything that decoding takes."""

    pictures: Sequence[Picture]
    preprocess: Preprocess
    crops: Crops | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a picture."""
        return self.preprocess.channels, self.preprocess.size, self.preprocess.size

    def into(self, target: NDArray[np.uint8], row: int, name: str, draws: Sequence[float] | None = None) -> str | None:
        """Decode one picture into `target` (C, H, W); gives the fault, with `name`, where it cannot be read.

        The part of it that `draws` choose, or without them all that `preprocess` sees.
        """
        try:
            picture = open_picture(self.pictures[row], name)
        except InceptoryError as fault:
            return str(fault)
        if draws is None:
            pixels = self.preprocess.pixels(picture)
        else:
            assert self.crops is not None, "draws choose crops"
            pixels = self.preprocess.cropped(picture, self.crops.box(picture.size, draws))
        target[:] = pixels.transpose(2, 0, 1)
        return None

    def whole(self, row: int, name: str) -> Kept | str:
        """One picture at the size that its crops need, or the fault where it cannot be read.

        A picture with pixels to spare is averaged over squares of them.
        """
        assert self.crops is not None, "only crops need more than the preprocessing sees"
        try:
            picture = open_picture(self.pictures[row], name)
        except InceptoryError as fault:
            return str(fault)
        if self.preprocess.order == "L":
            picture = picture.convert("L")
        spare = self.crops.spare(picture.size, self.preprocess.size)
        if spare == 1:
            return Kept(np.array(picture))
        return Kept(np.array(picture.reduce(spare)), self.preprocess.pixels(picture).transpose(2, 0, 1).copy())

    def __call__(
        self, rows: NDArray[np.int64], names: Sequence[str], draws: NDArray[np.float64] | None = None
    ) -> Decoded:
        """The pictures of these rows in this order: the same rows, the same answer, wherever it is computed.

        `draws` (n, DRAWS) choose a part of each picture.
        """
        pixels = np.empty((len(rows), *self.shape), dtype=np.uint8)
        each = repeat(None, len(rows)) if draws is None else draws.tolist()
        faults = [self.into(*one) for one in zip(pixels, rows.tolist(), names, each, strict=True)]
        good = np.asarray([fault is None for fault in faults], dtype=bool)
        failures = [(int(row), fault) for row, fault in zip(rows, faults, strict=True) if fault is not None]
        return Decoded(pixels if good.all() else pixels[good], rows[good], failures)


def sample(
    pictures: Sequence[Picture], names: Sequence[object], preprocess: Preprocess, most: int
) -> NDArray[np.uint8]:
    """Pixels (n, C, H, W) of `most` pictures from all over, or fewer: those that can be read."""
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(most, len(pictures))).astype(np.int64))
    return Decoder(pictures, preprocess)(rows, [str(names[row]) for row in rows.tolist()]).pixels
