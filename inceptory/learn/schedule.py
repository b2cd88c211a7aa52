"""The learning rate and the momentum of every step, and how many steps a length of time holds. Plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inceptory.learn.recipe import SWING, Recipe

DROP = 0.1
"""What a drop leaves of the rate."""


def rate(recipe: Recipe, step: int, steps: int, per_epoch: int, drops: int = 0) -> float:
    """Learning rate of a step, counted from 0, of `steps` in all.

    `drops` counts the times that schedule plateau has lowered the rate so far.
    """
    rising = round(recipe.warmup * steps)
    if step < rising:
        return recipe.lr * (step + 1) / rising
    # From the peak, which the last rising step had already, to one step before zero.
    left = min((steps - step) / (steps - rising + (rising > 0)), 1.0)
    match recipe.schedule:
        case "onecycle":
            return recipe.lr * left
        case "cosine":
            return recipe.lr * (1 - math.cos(math.pi * left)) / 2
        case "step":
            return recipe.lr * DROP ** _passed(recipe, step // per_epoch, steps / per_epoch)
        case "exponential":
            return float(recipe.lr * recipe.decay_rate ** (step // max(int(recipe.decay_epochs * per_epoch), 1)))
        case "plateau":
            return float(recipe.lr * DROP**drops)
        case "constant":
            return recipe.lr


def momentum(recipe: Recipe, step: int, steps: int) -> float:
    """Momentum of a step, counted from 0, of `steps` in all; it moves only under schedule onecycle.

    There it falls from SWING above the recipe's to SWING below while the rate rises, and rises while the
    rate falls. Smith 2018 (arXiv 1803.09820, section 4.3), as torch.optim.lr_scheduler.OneCycleLR counts it.
    """
    if recipe.schedule != "onecycle" or not recipe.momentum:
        return recipe.momentum
    peak = round(recipe.warmup * steps) - 1
    # 1 at the peak of the rate, 0 at both ends of the run; the first step may be the peak already.
    rising, falling = step / max(peak, 1) if peak else 1.0, (steps - 1 - step) / max(steps - 1 - peak, 1)
    share = rising if step <= peak else max(falling, 0.0)
    return recipe.momentum + SWING * (1 - 2 * share)


def _passed(recipe: Recipe, epoch: int, epochs: float) -> int:
    """Drops that lie behind the start of an epoch, counted from 0; a drop holds for whole epochs."""
    return sum(epoch >= round(share * epochs, 6) for share in recipe.drops)


def plateaus(scores: list[tuple[float, float]], patience: int) -> int:
    """How often validation stood still for `patience` epochs; scores are compared, larger is better."""
    best, waited, found = (-math.inf, -math.inf), 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == patience:
            found, waited = found + 1, 0
    return found


@dataclass
class Budget:
    """A length of time as a number of steps, estimated anew from how long steps have taken."""

    seconds: float
    """All that may be used."""
    reserve: float = 0.0
    """Seconds of the last validation, which comes after the last step."""

    def steps(self, step: int, used: float) -> int:
        """Steps that the run will have in all, after `step` of them in `used` seconds.

        All costs so far, validation too, are shared among the steps so far. At least one more.
        """
        if step == 0:
            return 1 + round(self.seconds)  # a second each until one is measured
        left = self.seconds - used - self.reserve
        return step + max(math.floor(left / (used / step)), 0) if left > 0 else step
