"""From a picture to the numbers a network was trained on: one object, one readable line.

    >>> print(Preprocess(size=299, resize=341, mean=(0.5,) * 3, std=(0.5,) * 3))
    resize 341 bicubic | centre crop 299 | RGB | (x / 255 - 0.5) / 0.5

Size, mean and deviation are never defaults: they belong to the weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
        width, height = picture.size
        factor = self.resize / min(width, height)
        # The longer side is cut, not rounded, as torchvision and timm do.
        wide, high = (max(int(side * factor), self.resize) for side in (width, height))
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
        made = cls(**{**plain, "mean": tuple(plain["mean"]), "std": tuple(plain["std"])})
        channels = 1 if made.order == "L" else 3
        if made.filter not in FILTERS or made.order not in ("RGB", "BGR", "L"):
            raise ValueError(f"unknown filter {made.filter!r} or order {made.order!r}")
        if {len(made.mean), len(made.std)} != {channels} or not all(made.std) or not made.divisor:
            raise ValueError(f"mean and std need {channels} numbers, none of std or divisor zero")
        return made


def _short(numbers: tuple[float, ...]) -> str:
    """One number where all are equal, else the list."""
    texts = [f"{number:.4g}" for number in numbers]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
