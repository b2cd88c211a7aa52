"""From a batch of a feed to what a step learns from: augmented values and mixed targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inceptory.data.augment import geometry as augment
from inceptory.data.augment.colour import jitter
from inceptory.data.augment.mixing import cutmix, mixup
from inceptory.data.augment.trivial import trivial_augment
from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import Batch
from inceptory.data.picture.preprocess import Preprocess
from inceptory.learn.settings.recipe import Recipe

CIFAR10_MEAN = (125.307, 122.95, 113.865)
CIFAR10_STD = (62.9932, 62.0887, 66.7048)
"""The tutorial's constants, on the scale 0 to 255."""


@dataclass(frozen=True)
class Targets:
    """What pictures show: the classes `labels`, and to the part 1 - share the classes `others`."""

    labels: Tensor
    """(n,) int64, or (n, K) uint8 where a picture may show several classes."""
    others: Tensor | None = None
    share: Tensor | None = None
    """(n,) from 0 to 1."""

    def to(self, device: str) -> Targets:
        """The same on a device."""
        return Targets(*(None if part is None else part.to(device) for part in (self.labels, self.others, self.share)))  # type: ignore[arg-type]

    def told(self, classes: Sequence[str]) -> list[list[tuple[str, float]]]:
        """What each picture shows, as (name, share) of one class, or of two where pictures are mixed."""
        shares = torch.ones(len(self.labels)) if self.share is None else self.share
        found = [[(_shown(label, classes), share)] for label, share in zip(self.labels, shares.tolist(), strict=True)]
        for row, label in enumerate(() if self.others is None else self.others):
            (name, share), other = found[row][0], _shown(label, classes)
            found[row] = [(name, 1.0)] if name == other else [(name, share), (other, 1 - share)]
        return found


def _shown(label: Tensor, classes: Sequence[str]) -> str:
    """The class of a label; the classes of a row of several, or "none"."""
    if label.ndim == 0:
        return classes[int(label)]
    return ", ".join(classes[int(row)] for row in label.nonzero()) or "none"


def prepared(
    batch: Batch, recipe: Recipe, preprocess: Preprocess, device: str, epoch: int, generator: torch.Generator
) -> tuple[Tensor, Targets]:
    """(values (n, C, H, W) float32 on the device, targets); all chance comes from the generator."""
    pixels, targets = _mixed(_changed(batch, recipe, epoch, generator), batch.labels, recipe, generator)
    values = normalise(pixels, preprocess, device)
    if recipe.shift_kind == "continuous" and recipe.shift:
        # After standardising, as Keras' generator does: what moves in is the mean, not black.
        values = augment.keras_shift(values, recipe.shift * values.shape[3], generator)
    return values, targets.to(device)


def _changed(batch: Batch, recipe: Recipe, epoch: int, generator: torch.Generator) -> Tensor:
    """Each picture by itself: geometry, then colours, then holes; the crop was taken where it was decoded."""
    pixels = batch.pixels
    if recipe.flip == "random":
        pixels = augment.flip(pixels, generator)
    elif recipe.flip == "alternate":
        pixels = augment.alternating_flip(pixels, batch.rows, epoch, recipe.seed)
    if recipe.shift_kind != "continuous":
        moves = int(recipe.shift * pixels.shape[3])
        pixels = augment.shift(pixels, moves, generator, recipe.shift_kind)
    if recipe.trivial:
        pixels = trivial_augment(pixels, generator)
    if recipe.colour:
        # The strengths of SimCLR (arXiv 2002.05709, appendix A), where the hue moves by a quarter of the rest.
        strength = 0.8 * recipe.colour
        pixels = jitter(pixels, generator, strength, strength, strength, strength / 4)
    return augment.erase(pixels, generator, recipe.erase) if recipe.erase else pixels


def _mixed(pixels: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Targets]:
    """Pictures of two classes each; of MixUp and CutMix both, a coin decides."""
    if not recipe.mixup and not recipe.cutmix:
        return pixels, Targets(labels)
    ways = [(way, alpha) for way, alpha in ((mixup, recipe.mixup), (cutmix, recipe.cutmix)) if alpha]
    way, alpha = ways[int(torch.randint(len(ways), (), generator=generator))]
    found = way(pixels, labels, alpha, generator)
    return found.pixels, Targets(found.labels, found.others, found.share)
