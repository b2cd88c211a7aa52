"""What training and evaluation give back. Plain records, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """Fractions from 0 to 1, over n pictures."""

    top1: float
    top5: float
    """Right class among the five best (among all, with fewer than five classes)."""
    log_loss: float
    """Mean negative logarithm of the right class's probability, in nats."""
    n: int
    interval: tuple[float, float]
    """95 % interval of top1 (Wilson 1927): where repeated draws of n such pictures would put it."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "interval": list(self.interval)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Metrics:
        """The metrics among what `to_json` wrote."""
        top1, top5, log_loss, n = (plain[name] for name in ("top1", "top5", "log_loss", "n"))
        return cls(top1, top5, log_loss, n, (plain["interval"][0], plain["interval"][1]))

    def __str__(self) -> str:
        told = f"top-1 {100 * self.top1:.2f} % (95 % interval {percent_range(self.interval)})"
        return f"{told}, top-5 {100 * self.top5:.2f} %, log-loss {self.log_loss:.4f}, n {self.n:,}"


def percent_range(interval: tuple[float, float]) -> str:
    """Two fractions as percentages: 96.40 to 99.23."""
    low, high = (100 * end for end in interval)
    return f"{low:.2f} to {high:.2f}"


@dataclass(frozen=True)
class ClassScore:
    """How one class fares, as fractions from 0 to 1; None where a quotient is 0/0."""

    label: str
    precision: float | None
    """Of the pictures given this name, those that bear it; None where none was."""
    recall: float | None
    """Of the pictures that bear this name, those given it; None where the class has no picture."""
    f1: float | None
    """Harmonic mean of both; None where the class has no picture and no picture was given its name."""
    support: int
    """Pictures of the class."""


@dataclass(frozen=True)
class Bin:
    """Pictures whose probability of the answer lies above `low` and up to `high`."""

    low: float
    high: float
    n: int
    confidence: float | None
    """Their mean probability."""
    accuracy: float | None
    """The share of them that was answered rightly: equal to `confidence` where it can be believed."""


@dataclass(frozen=True)
class Details:
    """A measurement taken apart: by class, by pair of classes, by confidence."""

    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    """(K, K) pictures: the row is the truth, the column the answer."""
    bins: tuple[Bin, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(score.label for score in self.classes)

    def macro(self) -> dict[str, float]:
        """Means over the classes that have pictures; a precision of 0/0 counts as 0, as in scikit-learn."""
        present = [score for score in self.classes if score.support]
        return {
            name: sum(getattr(score, name) or 0.0 for score in present) / len(present)
            for name in ("precision", "recall", "f1")
        }

    def calibration_error(self) -> float:
        """Expected calibration error: the mean distance of confidence from accuracy, over the pictures.

        Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, equation 3, with their 15 equal-width bins.
        """
        gaps = [(part.n, abs((part.confidence or 0.0) - (part.accuracy or 0.0))) for part in self.bins]
        return sum(n * gap for n, gap in gaps) / sum(n for n, _ in gaps)

    def confused(self, most: int) -> list[tuple[str, str, int]]:
        """(truth, answer, pictures) of the pairs that are mistaken most often, worst first."""
        wrong = self.confusion.copy()
        wrong[range(len(wrong)), range(len(wrong))] = 0
        order = (-wrong).argsort(axis=None, kind="stable")[:most]
        cells = [divmod(int(cell), len(wrong)) for cell in order]
        return [(self.labels[i], self.labels[j], int(wrong[i, j])) for i, j in cells if wrong[i, j]]

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where there is nothing to divide by."""
        return {
            "macro": self.macro(),
            "calibration_error": self.calibration_error(),
            "reliability": [part.__dict__ for part in self.bins],
            "classes": [score.__dict__ for score in self.classes],
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True)
class Mistake:
    """A picture that was answered wrongly."""

    name: str
    """Where it lies."""
    truth: str
    answer: str
    probability: float
    """Of the answer."""
    probability_of_truth: float
    pixels: NDArray[np.uint8]
    """(H, W, C) as the network saw it, before the value map."""


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    validation_loss: float
    validation_top1: float
    seconds: float
    images_per_second: float
    """Training only."""

    def __str__(self) -> str:
        train = f"train loss {self.train_loss:.3f} top-1 {100 * self.train_top1:.1f} %"
        validation = f"validation loss {self.validation_loss:.3f} top-1 {100 * self.validation_top1:.1f} %"
        return f"epoch {self.epoch}: {train}, {validation}, {self.images_per_second:.0f} images/s"


def best_epoch(epochs: Sequence[Epoch]) -> Epoch:
    """The one with the most right on validation; of equals, the one with the smaller loss."""
    return max(epochs, key=lambda row: (row.validation_top1, -row.validation_loss))


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    metrics: Metrics
    split: str
    """Part of the data that `metrics` was measured on: test, or validation where there is no test."""
    epochs: list[Epoch]
    minutes: float

    def __str__(self) -> str:
        return f"{self.split}: {self.metrics}\n{self.minutes:.1f} minutes, results in {self.folder}"
