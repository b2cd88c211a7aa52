"""TrivialAugment: one operation for each picture, of random strength. Müller and Hutter 2021, wide space."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

STEPS = 31
"""Strengths of an operation, 0 to 30."""

Operation = Callable[[Tensor, float], Tensor]


def _affine(right: float = 0.0, down: float = 0.0, x: float = 0.0, y: float = 0.0) -> Operation:
    """A move by these amounts times the strength; `x` and `y` shear around the first pixel."""

    def move(images: Tensor, strength: float) -> Tensor:
        moved: Tensor = V.affine(
            images,
            angle=0.0,
            translate=[int(right * strength), int(down * strength)],
            scale=1.0,
            shear=[math.degrees(math.atan(way * strength)) for way in (x, y)],
            center=[0.0, 0.0],
        )
        return moved

    return move


OPERATIONS: dict[str, tuple[Operation, float, bool]] = {
    "identity": (lambda images, _: images, 0.0, False),
    "shear x": (_affine(x=1), 0.99, True),
    "shear y": (_affine(y=1), 0.99, True),
    "translate x": (_affine(right=1), 32.0, True),
    "translate y": (_affine(down=1), 32.0, True),
    "rotate": (lambda images, strength: V.rotate(images, strength), 135.0, True),
    "brightness": (lambda images, strength: V.adjust_brightness(images, 1 + strength), 0.99, True),
    "colour": (lambda images, strength: V.adjust_saturation(images, 1 + strength), 0.99, True),
    "contrast": (lambda images, strength: V.adjust_contrast(images, 1 + strength), 0.99, True),
    "sharpness": (lambda images, strength: V.adjust_sharpness(images, 1 + strength), 0.99, True),
    "posterize": (lambda images, strength: V.posterize(images, 8 - round(strength)), 6.0, False),
    "solarize": (lambda images, strength: V.solarize(images, 255 - strength), 255.0, False),
    "autocontrast": (lambda images, _: V.autocontrast(images), 0.0, False),
    "equalize": (lambda images, _: V.equalize(images), 0.0, False),
}
"""Each with its greatest strength, and whether it goes both ways. Table 6 of the paper, as torchvision has it."""


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) uint8, RGB or grey -> same; what moves in from outside is black."""
    names = list(OPERATIONS)
    limits = torch.tensor([[len(names)], [STEPS], [2]])
    drawn = (torch.rand(3, len(images), generator=generator, dtype=torch.float64) * limits).long().T.tolist()
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, choice in enumerate(drawn):
        groups.setdefault(tuple(choice), []).append(row)
    out = images.clone()
    for (kind, step, sign), rows in groups.items():
        operation, most, both = OPERATIONS[names[kind]]
        strength = most * step / (STEPS - 1)
        out[rows] = operation(images[rows], -strength if both and sign else strength)
    return out
