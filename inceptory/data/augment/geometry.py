"""Augmentations that move or cover, as pure functions on batches: the same generator state, the same pictures.

On uint8 pictures (N, C, H, W), but for `keras_shift`. Colours: `colour.py`, mixtures of two
pictures: `mixing.py`, one operation of many: `trivial.py`, random crops: `crops.py`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ATTEMPTS = 10
"""Boxes that are drawn for a picture before it is left as it is, as in torchvision."""


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture left to right with probability 1/2. (N, C, H, W) -> same."""
    return _mirrored(images, torch.rand(len(images), generator=generator) < 0.5)


def alternating_flip(images: Tensor, rows: Tensor, epoch: int, seed: int) -> Tensor:
    """Mirror each picture in every other epoch; which ones in the first is drawn once by seed and row.

    (N, C, H, W), rows (N,) -> same. Two epochs that follow each other show both sides of every
    picture, where independent flips show half of them twice. Jordan 2024, "94% on CIFAR-10 in 3.29
    seconds on a single GPU", section 3.6.
    """
    return _mirrored(images, _coin(rows, seed) ^ bool(epoch % 2))


def _mirrored(images: Tensor, which: Tensor) -> Tensor:
    return torch.where(which.view(-1, 1, 1, 1), images.flip(3), images)


def _coin(rows: Tensor, seed: int) -> Tensor:
    """A bit for each row number, as good as drawn: the first of splitmix64's output. Steele, Lea, Flood 2014."""
    mixed = (rows.to(torch.int64) + 1) * -0x61C8864680B583EB + seed
    for right, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        mixed = (mixed ^ _shifted(mixed, right)) * factor
    return (mixed ^ _shifted(mixed, 31)) < 0


def _shifted(numbers: Tensor, right: int) -> Tensor:
    """Logical shift: torch's own repeats the sign."""
    return (numbers >> right) & ((1 << (64 - right)) - 1)


def shift(
    images: Tensor, pixels: int, generator: torch.Generator, border: Literal["reflect", "zero"] = "reflect"
) -> Tensor:
    """Move each picture by up to `pixels` in both directions; the border mirrors the inside or is 0.

    (N, C, H, W) -> same. Whole pixels only, drawn evenly.
    """
    if pixels == 0:
        return images
    count, _, height, width = images.shape
    if border == "reflect":
        # Reflection is defined on floats only; uint8 values survive the way exactly.
        padded = F.pad(images.float(), (pixels,) * 4, mode="reflect").to(images.dtype)
    else:
        padded = F.pad(images, (pixels,) * 4)
    moves = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator)
    rows = moves[0][:, None, None] + torch.arange(height)[None, :, None]
    columns = moves[1][:, None, None] + torch.arange(width)[None, None, :]
    moved = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows, columns]
    return moved.permute(0, 3, 1, 2)


def keras_shift(values: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Move each picture by uniform(-reach, reach) pixels in each direction, bilinear, filled with 0.

    (N, C, H, W) float, standardised -> same. What ImageDataGenerator's width_shift_range and
    height_shift_range do with fill_mode "constant" and cval 0: a place whose source lies beyond the
    outermost pixels' centres is 0, not a mixture with 0 (scipy.ndimage.affine_transform, order 1).
    """
    moves = (2 * torch.rand(2, len(values), generator=generator, dtype=torch.float64) - 1) * reach
    return moved(values, moves[0], moves[1])


def moved(values: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Pictures (N, C, H, W) float read at (row + down, column + right), bilinear, 0 beyond the edge; moves (N,)."""
    height, width = values.shape[2:]
    rows = torch.arange(height) + down[:, None].double()
    columns = torch.arange(width) + right[:, None].double()
    within = [((at >= 0) & (at <= length - 1))[:, :, None] for at, length in ((rows, height), (columns, width))]
    return _sampled(values, _weights(rows, height) * within[0], _weights(columns, width) * within[1])


def _weights(at: Tensor, length: int) -> Tensor:
    """Linear interpolation as a matrix: places (N, M) among `length` pixels -> (N, M, length)."""
    return (1 - (at[:, :, None] - torch.arange(length)).abs()).clamp_min(0)


def _sampled(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """rows (N, M, H) x pictures (N, C, H, W) x columns (N, K, W) transposed -> (N, C, M, K)."""
    rows, columns = (weights.to(values) for weights in (rows, columns))
    return torch.einsum("nmh,nchw,nkw->ncmk", rows, values, columns)


def _boxes(
    images: Tensor, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(heights, widths, whether one fits) of the first of ten boxes for each picture that fits; each (N,)."""
    count, _, height, width = images.shape
    area, aspect = torch.rand(2, count, ATTEMPTS, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + area * (scale[1] - scale[0]))
    low, high = (math.log(end) for end in ratio)
    aspect = torch.exp(low + aspect * (high - low))
    wides, highs = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (wides > 0) & (highs > 0) & (wides < width) & (highs < height)
    first = fits.long().argmax(1, keepdim=True)
    return highs.gather(1, first)[:, 0], wides.gather(1, first)[:, 0], fits.any(1)


def _places(highs: Tensor, wides: Tensor, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(tops, lefts), drawn evenly among those at which the boxes lie inside."""
    drawn = torch.rand(2, len(highs), generator=generator, dtype=torch.float64)
    tops, lefts = drawn[0] * (height - highs + 1), drawn[1] * (width - wides + 1)
    return tops.long(), lefts.long()


def erase(
    images: Tensor,
    generator: torch.Generator,
    probability: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Tensor:
    """Cover a box of each picture, with `probability`, by zeros: of standardised values, their mean.

    (N, C, H, W) -> same. Boxes are drawn as torchvision's RandomErasing draws them. Zhong et al. 2017, whose boxes
    hold noise: behind a whitened convolution, which strengthens what pictures have little of, noise drowns the
    pictures (LOG.md, "Erased by noise").
    """
    height, width = images.shape[2:]
    highs, wides, fits = _boxes(images, scale, ratio, generator)
    tops, lefts = _places(highs, wides, height, width, generator)
    chosen = fits & (torch.rand(len(images), generator=generator) < probability)
    covered = inside(tops, highs, height)[:, :, None] & inside(lefts, wides, width)[:, None, :] & chosen[:, None, None]
    return images.masked_fill(covered[:, None].to(images.device), 0)


def inside(starts: Tensor, lengths: Tensor, size: int) -> Tensor:
    """(N, size): whether each place lies in the part of this start and length; starts and lengths (N,)."""
    places = torch.arange(size) - starts[:, None]
    return (places >= 0) & (places < lengths[:, None])
