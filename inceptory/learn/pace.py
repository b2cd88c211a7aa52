"""How fast this machine trains a network: a few steps and a batch of answers, timed; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice, pairwise, repeat
from pathlib import Path
from statistics import median_low

import numpy as np

from inceptory.data.sources.source import Source
from inceptory.engines.device import choose
from inceptory.learn.fit import ready
from inceptory.learn.loop import Loop
from inceptory.learn.rates import LOWEST
from inceptory.learn.settings.job import Job
from inceptory.learn.validation import looked_over
from inceptory.system import clock
from inceptory.system.ranks import Ranks
from inceptory.system.signals import Stop

STEPS, ENOUGH = 5, 2.0
"""Steps that are timed, and the seconds from which fewer will do."""


@dataclass(frozen=True)
class Pace:
    """Seconds that the parts of a training take."""

    step: float
    """A step."""
    steps: int
    """Their number in an epoch."""
    measuring: float
    """The measurement after an epoch."""

    @property
    def epoch(self) -> float:
        """Seconds of an epoch with its measurement."""
        return self.steps * self.step + self.measuring


def pace_of(job: Job, source: Source, folder: Path, stop: Stop) -> Pace:
    """Time the training of a job on some of its pictures; raises InterruptedRun after a signal.

    The first step is not counted, since it prepares the others; where it takes seconds, that does not show, and it is
    the only one. What comes after the last epoch is left out.
    """
    recipe, splits = job.recipe, source.splits
    some = {name: split.take(np.arange(min(len(split), recipe.batch))) for name, split in splits.items()}
    few, device = replace(source, splits=some), choose(recipe.device, recipe.precision)
    with ready(job, few, device, Ranks(), stop, folder, clock.now(), None) as loop:
        step = _step(loop, stop)
        start = clock.now()
        loop.validation.measure(lambda *_: None)
        each = (clock.now() - start) / len(some["validation"])
        renews = loop.validation.renews
    batches = -(-len(splits["train"]) // recipe.batch)
    measured = len(splits["validation"]) + renews * looked_over(batches) * recipe.batch
    return Pace(step, -(-batches // recipe.accumulate), measured * each)


def _step(loop: Loop, stop: Stop) -> float:
    """Seconds of a step, the median of some."""
    marks = [clock.now()]
    for _ in islice(loop.objectives(repeat(LOWEST), stop), STEPS):
        marks.append(clock.now())
        if marks[-1] - marks[0] > ENOUGH:
            break
    lengths = [after - before for before, after in pairwise(marks)]
    return median_low(lengths[1:] or lengths)
