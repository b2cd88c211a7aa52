"""Augmentations as pure functions on uint8 batches: the same generator state, the same pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture left to right with probability 1/2. (N, C, H, W) -> same."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each picture by up to `pixels` in both directions; the border mirrors the inside.

    (N, C, H, W) -> same. Whole pixels only, drawn evenly.
    """
    if pixels == 0:
        return images
    count, _, height, width = images.shape
    # Reflection is defined on floats only; uint8 values survive the way exactly.
    padded = F.pad(images.float(), (pixels,) * 4, mode="reflect").to(images.dtype)
    moves = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator)
    rows = moves[0][:, None, None] + torch.arange(height)[None, :, None]
    columns = moves[1][:, None, None] + torch.arange(width)[None, None, :]
    moved = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows, columns]
    return moved.permute(0, 3, 1, 2)
