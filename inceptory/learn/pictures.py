"""From a batch of a feed to what a step learns from: augmented values and mixed targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inceptory.data import augment
from inceptory.data.batches import normalise
from inceptory.data.colour import jitter
from inceptory.data.feed import Batch
from inceptory.data.mixing import cutmix, mixup
from inceptory.data.preprocess import Preprocess
from inceptory.data.trivial import trivial_augment
from inceptory.learn.recipe import Recipe

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
