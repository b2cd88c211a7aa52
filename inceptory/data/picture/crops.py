"""Random parts of a picture, as torchvision's RandomResizedCrop takes them. No torch.

Whoever trains draws numbers; whoever decodes knows the picture's size and makes a box of both. So a
part depends on the picture and its numbers alone, and not on who decodes it, or when.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ATTEMPTS = 10
"""Boxes that are tried for a picture before its middle is taken, as in torchvision."""
DRAWS = 2 * ATTEMPTS + 2
"""Numbers from 0 to 1 that a part takes: the area and the aspect of each attempt, then its place down and across."""
RATIO = (3 / 4, 4 / 3)
"""Least and greatest width over height."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, the last two outside."""


@dataclass(frozen=True)
class Crops:
    """Parts of at least a share of a picture's area, and of aspect 3/4 to 4/3. Szegedy et al. 2014, section 6."""

    least: float
    """Share of the area, above 0, at most 1."""

    def box(self, size: tuple[int, int], draws: Sequence[float]) -> Box:
        """The part of a picture of this (width, height) that DRAWS even numbers from [0, 1) give.

        RandomResizedCrop.get_params of torchvision, with its draws handed in: the first attempt that
        fits, and where none does all of the picture, as far as the aspect allows, from its middle.
        """
        width, height = size
        low, high = map(math.log, RATIO)
        for share, slant in zip(draws[:ATTEMPTS], draws[ATTEMPTS : 2 * ATTEMPTS], strict=True):
            area = width * height * (self.least + share * (1 - self.least))
            aspect = math.exp(low + slant * (high - low))
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                down, across = draws[2 * ATTEMPTS :]
                top, left = int(down * (height - tall + 1)), int(across * (width - wide + 1))
                return left, top, left + wide, top + tall
        aspect = min(max(width / height, RATIO[0]), RATIO[1])
        wide, tall = min(width, round(height * aspect)), min(height, round(width / aspect))
        left, top = (width - wide) // 2, (height - tall) // 2
        return left, top, left + wide, top + tall

    def spare(self, size: tuple[int, int], side: int) -> int:
        """How many pixels may become one before the smallest part has fewer than `side` on its shorter side."""
        width, height = size
        shorter = min(math.sqrt(self.least * width * height * RATIO[0]), width, height)
        return max(int(shorter / side), 1)
