"""From a picture to the numbers a network was trained on: one object, one readable line.

    >>> print(Preprocess(size=299, resize=341, mean=(0.5,) * 3, std=(0.5,) * 3))
    resize 341 bicubic | centre crop 299 | RGB | (x / 255 - 0.5) / 0.5

Size, mean and deviation are never defaults: they belong to the weights.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptory.data.picture.crops import Box
from inceptory.data.picture.decode import LARGEST
from inceptory.data.picture.resample import GRIDS, Grid, bilinear, positions
from inceptory.nets.variant import LARGEST_IMAGE

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Views = Literal["1", "flip", "ten"]
VIEWS: dict[Views, int] = {"1": 1, "flip": 2, "ten": 10}
"""Views of a picture by what they are called."""
MARGIN = 256 / 224
"""Side of a squashed picture over that of the corners that are cut out of it; GoogLeNet's own figures."""

AT_ONCE = 2**30
"""Bytes of the float32 values of pictures that are answered together; the maps of a network take some times as much."""


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture, in this order."""

    size: int
    """Height and width of the result in pixels."""
    mean: tuple[float, ...]
    """Subtracted from each channel, after the division by `divisor`."""
    std: tuple[float, ...]
    """What each channel is divided by last."""
    resize: int | None = None
    """Shorter side after resizing, aspect kept, before the centre crop. None squashes the whole
    picture to size x size."""
    filter: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    order: Literal["RGB", "BGR", "L"] = "RGB"
    """Channels and their order; L is grey."""
    divisor: float = 255.0
    antialias: bool = True
    """Whether a picture is smoothed as it is shrunk, as Pillow does. Without, a new pixel is mixed of
    four old ones, as F.interpolate and TensorFlow do by default; bilinear only."""
    grid: Grid = "half_pixel"
    """Where new pixels lie among the old ones. asymmetric is the grid of TensorFlow 1 (source =
    destination * old / new), which knows no antialias."""
    central_fraction: float = 1.0
    """Share of both sides that is kept, from the middle and before all else, by the rule of
    tf.image.central_crop."""
    views: Views = "1"
    """What is seen of a picture: 1, the picture as above; flip, that and its mirror image; ten, the middle and the four
    corners, and their mirror images (Krizhevsky et al. 2012, section 4.1). Corners are cut out of the whole resized
    picture, as torchvision's TenCrop does after Resize; where the picture is squashed, out of one squashed to 256/224
    of the size, and its middle view is the whole picture as ever. (Of an odd margin TenCrop's mirrored middle lies one
    pixel beside the mirrored one.) No network is trained so: no card holds it."""

    def __post_init__(self) -> None:
        self._check()

    def __str__(self) -> str:
        plain = "" if self.antialias else " without antialias"
        how = f"{self.filter}{plain}{_GRID_WORDS[self.grid]}"
        crop = f"resize {self.resize} {how} | centre crop {self.size}"
        fit = f"squash {self.size}x{self.size} {how}" if self.resize is None else crop
        if self.central_fraction != 1:
            fit = f"central {100 * self.central_fraction:g} % | {fit}"
        scaled = "x" if self.divisor == 1 else f"x / {self.divisor:g}"
        fit = fit if self.views == "1" else f"{fit} | views {self.views}"
        return f"{fit} | {self.order} | ({scaled} - {_short(self.mean)}) / {_short(self.std)}"

    @property
    def channels(self) -> int:
        """Channels of all views together."""
        return len(self.mean) * VIEWS[self.views]

    def at_a_time(self, most: int) -> int:
        """How many pictures are given to a network together, `most` views at most: their values take AT_ONCE bytes."""
        return max(min(most // VIEWS[self.views], AT_ONCE // (self.size**2 * self.channels * 4)), 1)

    def pixels(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The geometric part: an upright 8-bit picture to (size, size, channels) uint8.

        The channels of several views stand one behind the other, the middle as it is first.
        """
        picture = picture.convert(self._mode)
        if self.central_fraction != 1:
            picture = picture.crop(_central_box(picture.size, self.central_fraction))
        views = [self._array(self._fit(picture))]
        if self.views == "ten":
            views += map(self._array, self._corners(picture))
        if self.views != "1":
            views += [view[:, ::-1] for view in views]
        return views[0] if len(views) == 1 else np.concatenate(views, axis=2)

    def cropped(self, picture: Image.Image, box: Box) -> NDArray[np.uint8]:
        """`pixels` of the part in the box alone, resized as torchvision's resized_crop: bilinear with antialias."""
        part = picture.crop(box)
        # `convert` copies where there is nothing to convert.
        part = part if part.mode == self._mode else part.convert(self._mode)
        return self._array(part.resize((self.size, self.size), Image.Resampling.BILINEAR))

    @property
    def _mode(self) -> str:
        return "L" if self.order == "L" else "RGB"

    def _array(self, picture: Image.Image) -> NDArray[np.uint8]:
        array = np.asarray(picture, dtype=np.uint8).reshape(self.size, self.size, -1)
        return array[:, :, ::-1] if self.order == "BGR" else array

    def _fit(self, picture: Image.Image) -> Image.Image:
        if self.resize is None:
            return self._resized(picture, (self.size, self.size), (0, 0))
        picture, (wide, high) = _whole(picture, self.resize)
        return self._resized(picture, (wide, high), (_corner(wide, self.size), _corner(high, self.size)))

    def _corners(self, picture: Image.Image) -> list[Image.Image]:
        """The four corners, the upper ones first; in the middle where there is nothing to spare."""
        if self.resize is None:
            whole = (round(self.size * MARGIN),) * 2
        else:
            picture, whole = _whole(picture, self.resize)
        if self.antialias and whole != picture.size:
            picture = picture.resize(whole, FILTERS[self.filter])
        high, wide = (
            (0, side - self.size) if side > self.size else (_corner(side, self.size),) * 2 for side in reversed(whole)
        )
        return [self._resized(picture, whole, (left, top)) for top, left in product(high, wide)]

    def _resized(self, picture: Image.Image, whole: tuple[int, int], corner: tuple[int, int]) -> Image.Image:
        """The square of `size` at this corner of the picture resized to `whole`; black where it stands out."""
        if whole != picture.size and not self.antialias:
            picture, corner = self._sampled(picture, whole, corner)
        elif whole != picture.size:
            picture = picture.resize(whole, FILTERS[self.filter])
        left, top = corner
        return picture.crop((left, top, left + self.size, top + self.size))

    def _sampled(
        self, picture: Image.Image, whole: tuple[int, int], corner: tuple[int, int]
    ) -> tuple[Image.Image, tuple[int, int]]:
        """The part of the resized picture that the square sees, and the square's corner in that part."""
        starts = [max(start, 0) for start in corner]
        columns, rows = (
            positions(old, new, self.grid)[start : start + self.size]
            for old, new, start in zip(picture.size, whole, starts, strict=True)
        )
        sampled = Image.fromarray(bilinear(np.asarray(picture), rows, columns))
        return sampled, (min(corner[0], 0), min(corner[1], 0))

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The value map: (N, H, W, C) uint8 to (N, C, H, W) float32."""
        mean, std = (np.asarray(numbers, dtype=np.float32) for numbers in (self.mean, self.std))
        scaled = (pixels.astype(np.float32) / np.float32(self.divisor) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's card."""
        plain = asdict(self)
        if self.views == "1":
            del plain["views"]
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Preprocess:
        """The object that `to_json` wrote; raises TypeError or ValueError for anything else."""
        if not isinstance(plain, dict) or not {"size", "mean", "std"} <= plain.keys():
            raise TypeError("preprocessing needs size, mean and std")
        return cls(**{**plain, "mean": tuple(plain["mean"]), "std": tuple(plain["std"])})

    def _check(self) -> None:
        if self.filter not in FILTERS or self.order not in ("RGB", "BGR", "L"):
            raise ValueError(f"unknown filter {self.filter!r} or order {self.order!r}")
        if self.views not in VIEWS:
            raise ValueError(f"unknown views {self.views!r}")
        self._check_sampling()
        for side in (self.size, self.resize):
            if side is not None and (type(side) is not int or side < 1):
                raise ValueError(f"{side!r} is not a number of pixels")
        if max(self.size, (self.resize or 0) // 2) > LARGEST_IMAGE:
            sides = f"{self.size:,}" if self.resize is None else f"{self.size:,} and {self.resize:,}"
            raise ValueError(f"pictures of {sides} pixels take gigabytes of memory (at most {LARGEST_IMAGE:,} are fed)")
        channels = 1 if self.order == "L" else 3
        if {len(self.mean), len(self.std)} != {channels}:
            raise ValueError(f"mean and std need {channels} numbers")
        if not all(math.isfinite(number) for number in (*self.mean, *self.std, self.divisor)):
            raise ValueError("mean, std and divisor must be finite")
        if not all(self.std) or not self.divisor:
            raise ValueError("std and divisor must not be zero")

    def _check_sampling(self) -> None:
        if type(self.antialias) is not bool or self.grid not in GRIDS:
            raise ValueError(f"unknown antialias {self.antialias!r} or grid {self.grid!r}")
        if not self.antialias and self.filter != "bilinear":
            raise ValueError(f"{self.filter} is not done without antialias")
        if self.antialias and self.grid == "asymmetric":
            raise ValueError("the asymmetric grid has no antialias")
        if type(self.central_fraction) not in (int, float) or not 0 < self.central_fraction <= 1:
            raise ValueError(f"{self.central_fraction!r} is not a share of a picture")


_GRID_WORDS: dict[Grid, str] = {"half_pixel": "", "asymmetric": " on TensorFlow 1's grid"}


def _central_box(size: tuple[int, int], fraction: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the middle of a picture, cut equally on opposite sides."""
    left, top = (int((side - side * fraction) / 2) for side in size)
    return left, top, size[0] - left, size[1] - top


def _corner(length: int, size: int) -> int:
    """Where a centre crop begins on a side, as torchvision's; below zero where it stands out."""
    return round((length - size) / 2) if length >= size else -((size - length) // 2)


def _whole(picture: Image.Image, resize: int) -> tuple[Image.Image, tuple[int, int]]:
    """A picture, and the width and height that it is resized to so that its shorter side is `resize`."""
    picture = _without_far_ends(picture, resize)
    shorter = min(picture.size)
    # The longer side is cut to a whole number, not rounded, as torchvision does.
    wide, high = (int(resize * side / shorter) for side in picture.size)
    return picture, (wide, high)


def _without_far_ends(picture: Image.Image, resize: int) -> Image.Image:
    """A picture so thin that resizing it whole would ask for too much, cut to its middle."""
    longer, shorter = max(picture.size), min(picture.size)
    if resize * (resize * longer / shorter) <= LARGEST:
        return picture
    # Sixteen times its short side is more than any centre crop can see.
    keep = 16 * shorter
    width, height = (min(side, keep) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _short(numbers: tuple[float, ...]) -> str:
    """One number where all are equal, else the list."""
    texts = [f"{number:.4g}" for number in numbers]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
