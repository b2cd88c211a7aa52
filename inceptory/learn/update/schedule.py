"""The learning rate and the momentum of every step, by steps or by the time that is used. Plain numbers."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import fmean, median_low

from inceptory.learn.settings.recipe import SWING, Recipe

DROP = 0.1
"""What a drop leaves of the rate."""
WHOLE = 1_000_000
"""A timed run in parts so small that rounding to whole ones cannot be seen in its rates."""
UNKNOWN = 1e-3
"""Share of a timed run that a step is taken for until it is known how long steps take."""
RECENT = 64
"""Steps whose lengths tell how long the next ones will be."""
OUTLIER = 10
"""A step that takes so many times the usual counts as so many."""
FORWARD = 0.5
"""Seconds to measure a picture, of those to train on it, until they are known: of forward and backward the first."""


def rate(recipe: Recipe, step: float, steps: float, per_epoch: float, drops: int = 0) -> float:
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
        case "exponential" | "inverse":
            return recipe.lr * _decayed(recipe, step, per_epoch)
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


def timed_rate(recipe: Recipe, share: float, ahead: float, step: int, per_epoch: int, drops: int = 0) -> float:
    """Learning rate of a step that leads a run from one share of its length to `share + ahead`.

    The recipe's schedule over the whole run, at the middle of the step; drops come with their shares. Schedules
    exponential and inverse go by steps, counted from 0, all the same.
    """
    middle, factor = share + ahead / 2, 1.0
    if recipe.schedule in ("exponential", "inverse"):
        factor = _decayed(recipe, step, per_epoch) if middle >= recipe.warmup else 1.0
        recipe = replace(recipe, schedule="constant")
    return factor * rate(recipe, middle * WHOLE, WHOLE, 1, drops)


def _decayed(recipe: Recipe, step: float, per_epoch: float) -> float:
    """What is left of the rate: TensorFlow's staircase, of whole steps a decay, or Keras' inverse time decay."""
    if recipe.schedule == "inverse":
        return 1 / (1 + recipe.decay * step)
    return float(recipe.decay_rate ** (step // max(int(recipe.decay_epochs * per_epoch), 1)))


def _passed(recipe: Recipe, epoch: float, epochs: float) -> int:
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
    """A length of time, and how the steps of a run share it.

    `share` goes from 0 to 1 and never back: each step leads on by its part of what is left, so that a
    slow step (the first, which compiles, or one while the machine slept) makes the later ones longer
    and none of them leap. What comes after the last step is kept free: its validation, the final
    measurement and the report.
    """

    seconds: float
    """From the start of the command to its last file."""
    per_epoch: int
    """Steps in an epoch."""
    pictures: tuple[int, int, int, int]
    """Of a step, of a validation, of the final measurement, of the statistics renewed before a validation."""
    most: int | None = None
    """Steps after which the run ends even with time left."""
    share: float = 0.0
    """Of the run, done."""
    pace: float = 0.0
    """Seconds a step; 0 while unknown."""
    renewing: float | None = None
    """Seconds to renew the batch norms' statistics before a validation; None while unknown."""
    looking: float = 0.0
    """Seconds to measure a picture; 0 while unknown."""
    full: float = 0.0
    """Seconds to measure one as at the end: in full precision, a batch at once; 0 while unknown."""
    keeping: float = 0.0
    """Seconds to write the checkpoints of an epoch; reading the best one again takes about as long."""
    drawing: float = 0.0
    """Seconds for the report."""
    _lengths: deque[float] | None = field(default=None, init=False, repr=False)
    """Of recent steps; None before the first of this process."""

    def took(self, seconds: float) -> None:
        """Note how long a step took.

        The first of a process tells nothing: it may have compiled. Of the others two are needed to see
        which of them is the usual.
        """
        if self._lengths is None:
            self._lengths = deque(maxlen=RECENT)
            return
        self._lengths.append(seconds)
        if len(self._lengths) > 1:
            longest = OUTLIER * median_low(self._lengths)
            self.pace = fmean(min(length, longest) for length in self._lengths)

    def measured(self, renewing: float, looking: float, keeping: float) -> None:
        """Note how long a validation, what precedes it and the writing of its checkpoints took."""
        self.renewing, self.looking, self.keeping = renewing, looking / max(self.pictures[1], 1), keeping

    def left(self, used: float) -> float:
        """Seconds for steps and for the validations between them, after `used` seconds of the command."""
        final = self.pictures[2]
        return (
            self.seconds
            - used
            - self._validation()
            - (self.full or self._look()) * final
            - 2 * self.keeping
            - self.drawing
        )

    def _validation(self) -> float:
        """Seconds of a validation, with what precedes it: renewing costs the same however few pictures follow."""
        _, validation, _, renewed = self.pictures
        renewing = self._look() * renewed if self.renewing is None else self.renewing
        return renewing + self._look() * validation

    def _look(self) -> float:
        return self.looking or FORWARD * self.pace / self.pictures[0]

    def steps(self, step: int, used: float) -> float:
        """Steps that are left after `step` of them, once the length of a step is known."""
        left = self.left(used)
        between = self._validation() + self.keeping
        # A validation between them only where this epoch ends before the time does.
        within = min(left / self.pace, self.per_epoch - step % self.per_epoch)
        found = max(left / (self.pace + between / self.per_epoch), within)
        return found if self.most is None else min(found, self.most - step)

    def ahead(self, step: int, used: float) -> float:
        """Share of the run by which the next step leads on."""
        return (1 - self.share) / max(self.steps(step, used), 1) if self.pace else UNKNOWN

    def over(self, used: float) -> bool:
        """Whether the next step would come too late."""
        return self.left(used) <= self.pace

    def to_json(self) -> dict[str, float | None]:
        """What a resumed run must know to go on smoothly."""
        return {name: getattr(self, name) for name in ("share", "pace", "renewing", "looking", "full", "keeping")}
