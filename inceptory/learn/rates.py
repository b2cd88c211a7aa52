"""`train --find-lr`: the learning rate that suits a network and its pictures, by trying all of them. Without torch.

Smith 2017 (arXiv 1506.01186, section 3.3), the range test: a fresh network is trained while the rate
grows with every step. Where it is too small nothing is learnt, where it is too large the loss rises.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inceptory.errors import DataError
from inceptory.report import plots
from inceptory.system import files

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 140
"""Rates that are tried, twenty in each power of ten."""
FORGET = 0.9
"""What the running mean of the loss keeps of itself at each step: single batches are noisy."""
DIVERGED = 4.0
"""So many times the smallest loss, and no larger rate is tried; as fastai does it."""
SHARE = 0.25
"""Of the rate with the smallest loss, what is suggested: the peak of a schedule.

Gugger 2018 ("How do you find a good learning rate", fastai) takes a tenth of it. The running mean lies behind
by some steps and a peak is not held for long: trainings at a quarter ended better than at a tenth or at it (LOG.md).
"""
PNG, TABLE = "find-lr.png", "find-lr.csv"
HEADER = ("lr", "objective", "smoothed_objective")


def searched(folder: Path) -> bool:
    """Whether a folder holds what an earlier search left."""
    try:
        with open(folder / TABLE, "rb") as file:
            return file.readline(64).decode(errors="replace").strip() == ",".join(HEADER)
    except OSError:
        return False


def tried() -> list[float]:
    """The rates, each larger than the one before by the same factor."""
    return [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]


@dataclass(frozen=True)
class Search:
    """What was found: (rate, objective, its running mean) of every step, in the order of the steps."""

    points: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, found: Iterable[tuple[float, float]]) -> Search:
        """From (rate, objective) of one step after another; takes no more when the loss has exploded."""
        points, mean, best = list[tuple[float, float, float]](), 0.0, float("inf")
        for step, (rate, objective) in enumerate(found, 1):
            mean = FORGET * mean + (1 - FORGET) * objective
            smooth = mean / (1 - FORGET**step)  # it began at nothing; Kingma and Ba 2015, section 3
            points.append((rate, objective, smooth))
            best = min(best, smooth)
            if smooth > DIVERGED * best:
                break
        return cls(tuple(points))

    @property
    def lowest(self) -> tuple[float, float]:
        """(rate, loss) where the running mean is smallest; raises DataError where it never falls."""
        start = self.points[0][2] if self.points else 0.0
        rate, _, loss = min(self.points, key=lambda point: point[2], default=(LOWEST, 0.0, start))
        if not loss < start * (1 - 1e-6):  # less is rounding
            told = f"the loss falls at no rate from {LOWEST:g} to {HIGHEST:g}"
            raise DataError(f"--find-lr: {told} (look at the pictures and labels with `inceptory check`)")
        return rate, loss

    @property
    def suggested(self) -> float:
        """A quarter of the rate with the smallest loss, to two digits: there the loss still falls."""
        return float(f"{SHARE * self.lowest[0]:.1e}")

    def write(self, folder: Path, title: str) -> None:
        """Leave find-lr.png and find-lr.csv; neither makes a folder a run, which run.json does."""
        png = plots.rates(title, self.points, self.lowest[0], self.suggested)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows([[f"{number:.6g}" for number in point] for point in self.points])
        files.write(folder / TABLE, text.getvalue())
        files.write(folder / PNG, png)


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, and the line that trains with it."""

    search: Search
    folder: Path
    command: str

    @property
    def lr(self) -> float:
        """The rate."""
        return self.search.suggested

    def __str__(self) -> str:
        rate, loss = self.search.lowest
        return (
            f"--lr {self.lr:g}: a quarter of {rate:.2g}, where the smoothed objective was smallest ({loss:.3f})\n"
            f"{len(self.search.points)} rates tried: drawn in {self.folder / PNG}, numbers in {self.folder / TABLE}\n"
            f"{self.command}"
        )
