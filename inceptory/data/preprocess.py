"""From a picture to the numbers a network was trained on: one object, one readable line.

    >>> print(Preprocess(size=299, resize=341, mean=(0.5,) * 3, std=(0.5,) * 3))
    resize 341 bicubic | centre crop 299 | RGB | (x / 255 - 0.5) / 0.5

Size, mean and deviation are never defaults: they belong to the weights.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptory.data.images import LARGEST

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


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

    def __str__(self) -> str:
        crop = f"resize {self.resize} {self.filter} | centre crop {self.size}"
        fit = f"squash {self.size}x{self.size} {self.filter}" if self.resize is None else crop
        scaled = "x" if self.divisor == 1 else f"x / {self.divisor:g}"
        return f"{fit} | {self.order} | ({scaled} - {_short(self.mean)}) / {_short(self.std)}"

    def pixels(self, picture: Image.Image) -> NDArray[np.uint8]:
        """The geometric part: an upright 8-bit picture to (size, size, channels) uint8."""
        picture = picture.convert("L" if self.order == "L" else "RGB")
        picture = self._fit(picture)
        array = np.asarray(picture, dtype=np.uint8).reshape(self.size, self.size, -1)
        return array[:, :, ::-1] if self.order == "BGR" else array

    def _fit(self, picture: Image.Image) -> Image.Image:
        kind = FILTERS[self.filter]
        if self.resize is None:
            same = picture.size == (self.size, self.size)
            return picture if same else picture.resize((self.size, self.size), kind)
        picture = _without_far_ends(picture, self.resize)
        shorter = min(picture.size)
        # The longer side is cut to a whole number, not rounded, as torchvision does.
        wide, high = (int(self.resize * side / shorter) for side in picture.size)
        if (wide, high) != picture.size:
            picture = picture.resize((wide, high), kind)
        left, top = round((wide - self.size) / 2), round((high - self.size) / 2)
        return picture.crop((left, top, left + self.size, top + self.size))

    def values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The value map: (N, H, W, C) uint8 to (N, C, H, W) float32."""
        mean, std = (np.asarray(numbers, dtype=np.float32) for numbers in (self.mean, self.std))
        scaled = (pixels.astype(np.float32) / np.float32(self.divisor) - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's card."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Preprocess:
        """The object that `to_json` wrote; raises TypeError or ValueError for anything else."""
        if not isinstance(plain, dict) or not {"size", "mean", "std"} <= plain.keys():
            raise TypeError("preprocessing needs size, mean and std")
        made = cls(**{**plain, "mean": tuple(plain["mean"]), "std": tuple(plain["std"])})
        made._check()
        return made

    def _check(self) -> None:
        if self.filter not in FILTERS or self.order not in ("RGB", "BGR", "L"):
            raise ValueError(f"unknown filter {self.filter!r} or order {self.order!r}")
        for side in (self.size, self.resize):
            if side is not None and (type(side) is not int or side < 1):
                raise ValueError(f"{side!r} is no number of pixels")
        channels = 1 if self.order == "L" else 3
        if {len(self.mean), len(self.std)} != {channels}:
            raise ValueError(f"mean and std need {channels} numbers")
        if not all(math.isfinite(number) for number in (*self.mean, *self.std, self.divisor)):
            raise ValueError("mean, std and divisor must be finite")
        if not all(self.std) or not self.divisor:
            raise ValueError("std and divisor must not be zero")


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
