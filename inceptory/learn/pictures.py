"""From a batch of a feed to what a step learns from: augmented values and mixed targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from inceptory.data.augment import geometry as augment
from inceptory.data.augment.colour import jitter, light
from inceptory.data.augment.mixing import cutmix, mixup
from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import Batch
from inceptory.data.picture.preprocess import Preprocess
from inceptory.learn.settings.recipe import SMALL, Recipe

CIFAR10_MEAN = (125.307, 122.95, 113.865)
CIFAR10_STD = (62.9932, 62.0887, 66.7048)
"""The tutorial's constants, on the scale 0 to 255."""


@dataclass(frozen=True)
class Targets:
    """What pictures show: the classes `labels` with weight `share`, and the classes `others` with 1 - share."""

    labels: Tensor
    """(n,) int64, or (n, K) uint8 where a picture may show several classes."""
    others: Tensor | None = None
    share: Tensor | None = None
    """(n,) from 0 to 1."""
    counts: Tensor | None = None
    """(n,) how much each picture counts in the objective, where they do not count alike."""

    def to(self, device: str) -> Targets:
        """The same on a device."""
        parts = (self.labels, self.others, self.share, self.counts)
        return Targets(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]

    def told(self, classes: Sequence[str]) -> list[list[tuple[str, float]]]:
        """What each picture shows, as (name, share) of one class, or of two where pictures are mixed."""
        shares = torch.ones(len(self.labels)) if self.share is None else self.share
        parts = [[(_shown(label, classes), share)] for label, share in zip(self.labels, shares.tolist(), strict=True)]
        for row, label in enumerate(() if self.others is None else self.others):
            (name, share), other = parts[row][0], _shown(label, classes)
            parts[row] = [(name, 1.0)] if name == other else [(name, share), (other, 1 - share)]
        return parts


def _shown(label: Tensor, classes: Sequence[str]) -> str:
    """The class name of a label; for a multi-label row the names of all its classes, or "none"."""
    if label.ndim == 0:
        return classes[int(label)]
    return ", ".join(classes[int(row)] for row in label.nonzero()) or "none"


def prepared(
    batch: Batch,
    recipe: Recipe,
    preprocess: Preprocess,
    device: str,
    epoch: int,
    generator: torch.Generator,
    shrink: bool = False,
    counts: Tensor | None = None,
) -> tuple[Tensor, Targets]:
    """(values (n, C, H, W) float32 on the device, targets); all random numbers come from the generator.

    With `shrink` the pictures are made smaller; `counts` (n,) says how much each of them counts.
    """
    pixels, targets = _mixed(_changed(batch, recipe, epoch, generator), batch.labels, recipe, generator)
    values = normalise(pixels, preprocess, device)
    if recipe.shift_kind == "continuous" and recipe.shift:
        # After standardising, as Keras' generator does: the border is filled with the mean, not with black.
        values = augment.keras_shift(values, recipe.shift * values.shape[3], generator)
    if recipe.erase:
        values = augment.erase(values, generator, recipe.erase)
    if recipe.light:
        values = light(values, recipe.light, generator)
    if shrink:
        height, width = (round(SMALL * side) for side in values.shape[2:])
        values = F.interpolate(values, size=(height, width), mode="bilinear", antialias=True)
    return values, replace(targets, counts=counts).to(device)


def _changed(batch: Batch, recipe: Recipe, epoch: int, generator: torch.Generator) -> Tensor:
    """Change the pixels of each picture by itself: geometry, colours. Crops are taken earlier, while decoding."""
    pixels = batch.pixels
    if recipe.flip == "random":
        pixels = augment.flip(pixels, generator)
    elif recipe.flip == "alternate":
        pixels = augment.alternating_flip(pixels, batch.rows, epoch, recipe.seed)
    if recipe.shift_kind != "continuous":
        furthest = int(recipe.shift * pixels.shape[3])
        pixels = augment.shift(pixels, furthest, generator, recipe.shift_kind)
    if recipe.trivial:
        # It brings torchvision, which takes as long to load as torch itself: nobody else waits for that.
        from inceptory.data.augment.trivial import trivial_augment

        pixels = trivial_augment(pixels, generator)
    if recipe.colour:
        # The strengths of SimCLR (arXiv 2002.05709, appendix A): that of the hue is a quarter of the others.
        strength = 0.8 * recipe.colour
        pixels = jitter(pixels, generator, strength, strength, strength, strength / 4)
    return pixels


def _mixed(pixels: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Targets]:
    """Mix pairs of pictures by MixUp or CutMix; with both in the recipe, each batch takes one at random."""
    if not recipe.mixup and not recipe.cutmix:
        return pixels, Targets(labels)
    methods = [(mix, alpha) for mix, alpha in ((mixup, recipe.mixup), (cutmix, recipe.cutmix)) if alpha]
    mix, alpha = methods[int(torch.randint(len(methods), (), generator=generator))]
    mixed = mix(pixels, labels, alpha, generator)
    return mixed.pixels, Targets(mixed.labels, mixed.others, mixed.share)
