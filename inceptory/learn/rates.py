"""`train --find-lr`: the learning rate that suits a network and its pictures, by trying all of them. Without torch.

Smith 2017 (arXiv 1506.01186, section 3.3), the range test: a fresh network is trained while the rate
grows with every step. At rates that are too small the network learns nothing, at rates that are too large the
loss rises.
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
"""Range and number of the rates that are tried: twenty for each power of ten."""
FORGET = 0.9
"""Weight of the earlier losses in the running mean of the loss: single batches are noisy."""
DIVERGED = 4.0
"""The search ends when the loss is so many times its smallest value, as in fastai."""
SHARE = 0.25
"""Share of the rate with the smallest loss that is suggested as the peak of a schedule.

Gugger 2018 ("How do you find a good learning rate", fastai) takes a tenth. But the running mean lags by some steps,
and a schedule stays at its peak for a short time only: training ended better with a quarter than with a tenth or with
the full rate (LOG.md).
"""
PNG, TABLE = "find-lr.png", "find-lr.csv"
HEADER = ("lr", "objective", "smoothed_objective")


def searched(folder: Path) -> bool:
    """Whether a folder holds the files of an earlier search."""
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
    """The result of a search: (rate, objective, its running mean) of every step, in order."""

    points: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, steps: Iterable[tuple[float, float]]) -> Search:
        """From (rate, objective) of each step; stops taking steps when the loss has exploded."""
        points, mean, best = list[tuple[float, float, float]](), 0.0, float("inf")
        for step, (rate, objective) in enumerate(steps, 1):
            mean = FORGET * mean + (1 - FORGET) * objective
            smooth = mean / (1 - FORGET**step)  # corrects for the start at 0; Kingma and Ba 2015, section 3
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
        if not loss < start * (1 - 1e-6):  # a smaller difference is rounding
            problem = f"the loss falls at no rate from {LOWEST:g} to {HIGHEST:g}"
            raise DataError(f"--find-lr: {problem} (look at the pictures and labels with `inceptory check`)")
        return rate, loss

    @property
    def suggested(self) -> float:
        """A quarter of the rate with the smallest loss, to two digits: at this rate the loss still falls."""
        return float(f"{SHARE * self.lowest[0]:.1e}")

    def write(self, folder: Path, title: str) -> None:
        """Write find-lr.png and find-lr.csv. They do not make the folder a run: only run.json does."""
        png = plots.rates(title, self.points, self.lowest[0], self.suggested)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows([[f"{number:.6g}" for number in point] for point in self.points])
        files.write(folder / TABLE, text.getvalue())
        files.write(folder / PNG, png)


@dataclass(frozen=True)
class Suggestion:
    """A suggested learning rate, and the command that trains with it."""

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
