"""The learning rate and the momentum of every step, by steps or by the time that is used. Plain numbers."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from statistics import fmean, median_low

from inceptory.learn.settings.recipe import SWING, Recipe

DROP = 0.1
"""Factor on the rate at a drop."""
WHOLE = 1_000_000
"""A timed run is counted in so many parts: so small that rounding to whole parts does not show in its rates."""
UNKNOWN = 1e-3
"""Share of a timed run that each step counts as until the duration of a step is known."""
RECENT = 64
"""Number of latest steps from whose durations the next ones are estimated."""
OUTLIER = 10
"""A step that takes more than so many times the median counts as so many times the median."""
FORWARD = 0.5
"""First estimate of the time to measure a picture, as a share of the time to train on it: there is no backward pass."""


def rate(recipe: Recipe, step: float, steps: float, per_epoch: float, drops: int = 0) -> float:
    """Learning rate of a step, counted from 0, of `steps` in all.

    `drops` counts the times that schedule plateau has lowered the rate so far.
    """
    rising = round(recipe.warmup * steps)
    if step < rising:
        return recipe.lr * (step + 1) / rising
    # From the peak, which the last step of the warm-up has reached, to one step before zero.
    left = min((steps - step) / (steps - rising + (rising > 0)), 1.0)
    match recipe.schedule:
        case "onecycle":
            return recipe.lr * left
        case "cosine":
            return recipe.lr * (1 - math.cos(math.pi * left)) / 2
        case "step":
            # A drop comes at the start of an epoch only.
            epoch, epochs = step // per_epoch, steps / per_epoch
            past = sum(epoch >= round(share * epochs, 6) for share in recipe.drops)
            return recipe.lr * DROP**past
        case "exponential" | "inverse":
            return recipe.lr * _decayed(recipe, step, per_epoch)
        case "plateau":
            return float(recipe.lr * DROP**drops)
        case "constant":
            return recipe.lr


def momentum(recipe: Recipe, step: int, steps: int) -> float:
    """Momentum of a step, counted from 0, of `steps` in all; it moves only under schedule onecycle.

    There it falls from SWING above the recipe's value to SWING below it while the rate rises, and rises again
    while the rate falls. Smith 2018 (arXiv 1803.09820, section 4.3), as torch.optim.lr_scheduler.OneCycleLR counts it.
    """
    if recipe.schedule != "onecycle" or not recipe.momentum:
        return recipe.momentum
    peak = round(recipe.warmup * steps) - 1
    # 1 at the peak of the rate, 0 at both ends of the run; the peak may be at the first step.
    rising, falling = step / max(peak, 1) if peak else 1.0, (steps - 1 - step) / max(steps - 1 - peak, 1)
    share = rising if step <= peak else max(falling, 0.0)
    return recipe.momentum + SWING * (1 - 2 * share)


def timed_rate(recipe: Recipe, share: float, ahead: float, step: int, per_epoch: int, drops: int = 0) -> float:
    """Learning rate of a step in a timed run, which is at `share` of its length before and `share + ahead` after.

    It is the value of the schedule at the middle of the step. Schedules exponential and inverse count epochs or steps:
    `step` is counted from 0, `per_epoch` steps are an epoch. `drops` counts the times that plateau has lowered the
    rate.
    """
    middle, factor = share + ahead / 2, 1.0
    if recipe.schedule in ("exponential", "inverse"):
        factor = _decayed(recipe, step, per_epoch) if middle >= recipe.warmup else 1.0
        recipe = replace(recipe, schedule="constant")
    return factor * rate(recipe, middle * WHOLE, WHOLE, 1, drops)


def _decayed(recipe: Recipe, step: float, per_epoch: float) -> float:
    """What is left of the rate: TensorFlow's staircase, of whole steps each, or Keras' inverse time decay."""
    if recipe.schedule == "inverse":
        return 1 / (1 + recipe.decay * step)
    return float(recipe.decay_rate ** (step // max(int(recipe.decay_epochs * per_epoch), 1)))


def plateaus(scores: list[tuple[float, float]], patience: int) -> int:
    """How many times validation did not improve for `patience` epochs in a row; a larger score is better."""
    best, waited, count = (-math.inf, -math.inf), 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == patience:
            count, waited = count + 1, 0
    return count


@dataclass
class Budget:
    """A length of time, and how it is divided among the steps of a run.

    `share` is how much of the run is done; it grows from 0 to 1 and never falls. Each step adds its part of
    what is left. So after a slow step (the first, which compiles, or one while the machine slept) there are
    fewer steps left, each with a larger part, and the rate does not jump. Time is reserved for what follows
    the last step: its validation, the final measurement and the report.
    """

    seconds: float
    """Length of the whole command, from its start to its last file."""
    per_epoch: int
    """Steps in an epoch."""
    pictures: tuple[int, int, int, int]
    """Numbers of pictures: in a step, a validation, the measurements at the end, the renewal of the norms."""
    most: int | None = None
    """Steps after which the run ends, even if there is time left."""
    share: float = 0.0
    """Share of the run that is done."""
    pace: float = 0.0
    """Seconds for a step; 0 while unknown."""
    renewing: float | None = None
    """Seconds to renew the batch norms' statistics before a validation; None while unknown."""
    looking: float = 0.0
    """Seconds to measure a picture; 0 while unknown."""
    full: float = 0.0
    """Seconds to measure a picture in the measurements at the end, in full precision; 0 while unknown."""
    keeping: float = 0.0
    """Seconds to write the checkpoints of an epoch; reading and calibrating the best one takes about as long."""
    drawing: float = 0.0
    """Seconds for the report."""
    explaining: float = 0.0
    """Seconds for what the mistakes rest on."""
    _lengths: deque[float] | None = field(default=None, init=False, repr=False)
    """Seconds of the latest steps; None before the first step of this process."""

    def took(self, seconds: float) -> None:
        """Note how long a step took.

        The first step of a process is ignored, since it may include compiling. At least two others are needed
        to recognise an outlier.
        """
        if self._lengths is None:
            self._lengths = deque(maxlen=RECENT)
            return
        self._lengths.append(seconds)
        if len(self._lengths) > 1:
            longest = OUTLIER * median_low(self._lengths)
            self.pace = fmean(min(length, longest) for length in self._lengths)

    def measured(self, renewing: float, looking: float, keeping: float) -> None:
        """Note the seconds of a validation: renewing the statistics before it, measuring, writing checkpoints."""
        self.renewing, self.looking, self.keeping = renewing, looking / max(self.pictures[1], 1), keeping

    def left(self, used: float) -> float:
        """Seconds that are left for steps and the validations between them, when `used` seconds are gone."""
        final = self.pictures[2]
        return (
            self.seconds
            - used
            - self._validation()
            - (self.full or self._look()) * final
            - 2 * self.keeping
            - self.drawing
            - self.explaining
        )

    def _validation(self) -> float:
        """Seconds of a validation with the renewal before it, whose cost does not depend on the pictures measured."""
        _, validation, _, renewed = self.pictures
        renewing = self._look() * renewed if self.renewing is None else self.renewing
        return renewing + self._look() * validation

    def _look(self) -> float:
        return self.looking or FORWARD * self.pace / self.pictures[0]

    def steps(self, step: int, used: float) -> float:
        """Number of steps that are left after `step` of them; the pace must be known."""
        left = self.left(used)
        between = self._validation() + self.keeping
        # Without a validation in between if the time ends within this epoch.
        within = min(left / self.pace, self.per_epoch - step % self.per_epoch)
        steps = max(left / (self.pace + between / self.per_epoch), within)
        return steps if self.most is None else min(steps, self.most - step)

    def ahead(self, step: int, used: float) -> float:
        """Share of the run that the next step counts as."""
        return (1 - self.share) / max(self.steps(step, used), 1) if self.pace else UNKNOWN

    def over(self, used: float) -> bool:
        """Whether there is no time for another step."""
        return self.left(used) <= self.pace

    def to_json(self) -> dict[str, float | None]:
        """What a resumed run needs to go on without a jump of the rate."""
        return {name: getattr(self, name) for name in ("share", "pace", "renewing", "looking", "full", "keeping")}
