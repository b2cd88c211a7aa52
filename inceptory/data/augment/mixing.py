"""Mixtures of two pictures and their labels, as pure functions on batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inceptory.data.augment.geometry import inside


@dataclass(frozen=True)
class Mixed:
    """Pictures of two each; the loss is share * loss(labels) + (1 - share) * loss(others)."""

    pixels: Tensor
    """(N, C, H, W)."""
    labels: Tensor
    """(N,) of the first picture, or (N, K)."""
    others: Tensor
    """(N,) of the second, or (N, K)."""
    share: Tensor
    """(N,) float32, of the first in the mixture."""


def mixup(pixels: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
    """Each picture plus another of the batch, with shares from Beta(alpha, alpha). Zhang et al. 2018.

    (N, C, H, W) uint8, rounded, or float; labels (N,) or (N, K).
    """
    partner, share = _partners(len(pixels), alpha, generator)
    weight = share.view(-1, 1, 1, 1)
    blend = pixels[partner].float().lerp(pixels.float(), weight)
    blend = blend if pixels.is_floating_point() else blend.round_()
    return Mixed(blend.to(pixels.dtype), labels, labels[partner], share)


def cutmix(pixels: Tensor, labels: Tensor, alpha: float, generator: torch.Generator) -> Mixed:
    """Each picture with a box of another of the batch; the box has a share from Beta(alpha, alpha). Yun et al. 2019.

    (N, C, H, W) of any type; labels (N,) or (N, K). A box that reaches over the edge is cut, and the share is
    that of what is left.
    """
    count, _, height, width = pixels.shape
    partner, share = _partners(count, alpha, generator)
    centres = torch.rand(2, count, generator=generator, dtype=torch.float64)
    covered = []
    for centre, length in zip(centres, (height, width), strict=True):
        side = (length * (1 - share.double()).sqrt()).long()
        start = (centre * length).long() - side // 2
        covered.append(inside(start, side, length))
    box = covered[0][:, :, None] & covered[1][:, None, :]
    left = 1 - box.float().mean((1, 2))
    return Mixed(torch.where(box[:, None], pixels[partner], pixels), labels, labels[partner], left)


def _partners(count: int, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(the other picture of each, the share of its own)."""
    partner = torch.randperm(count, generator=generator)
    # torch draws from Beta with its global generator only.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = np.random.default_rng(seed).beta(alpha, alpha, count)
    return partner, torch.from_numpy(share.astype(np.float32))
