"""What is measured where a picture shows one class. Plain records, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from inceptory.measure.results import ClassScore, Details, Epoch, Metrics, percent_range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SingleMetrics(Metrics):
    """Metrics of answers that name one class for each picture."""

    top1: float
    top5: float
    """Share of pictures whose class is among the five most probable ones (or among all, if there are fewer)."""
    log_loss: float
    """Mean negative logarithm of the correct class's probability, in nats."""
    n: int
    interval: tuple[float, float]
    """95 % interval of `top1`."""
    precision: str = "fp32"

    def epoch(self, right: float, **columns: Any) -> SingleEpoch:
        """The row of history with these metrics; `right` is the share of correct answers in training."""
        return SingleEpoch(train_top1=right, validation_log_loss=self.log_loss, validation_top1=self.top1, **columns)

    def figures(self, split: str) -> dict[str, str]:
        """Each number under what it means."""
        interval = percent_range(self.interval)
        return {
            f"{split} top-1, 95 % interval {interval}, n {self.n:,}": f"{100 * self.top1:.2f} %",
            "top-5": f"{100 * self.top5:.2f} %",
            "log-loss, nats": f"{self.log_loss:.4f}",
        }

    def told(self) -> str:
        """All numbers in words."""
        top1 = f"top-1 {100 * self.top1:.2f} % (95 % interval {percent_range(self.interval)})"
        return f"{top1}, top-5 {100 * self.top5:.2f} %, log-loss {self.log_loss:.4f}, n {self.n:,}"


@dataclass(frozen=True)
class SingleEpoch(Epoch):
    """One row of history.csv."""

    measure: ClassVar[str] = "top-1"
    choice: ClassVar[str] = "top-1"

    epoch: int
    lr: float
    train_objective: float
    train_log_loss: float
    train_top1: float
    validation_log_loss: float
    validation_top1: float
    seconds: float
    images_per_second: float

    @property
    def right(self) -> tuple[float, float]:
        """Shares of correct answers in training and on validation."""
        return self.train_top1, self.validation_top1


@dataclass(frozen=True)
class Bin:
    """The pictures with a probability of the answer above `low` and up to `high`."""

    low: float
    high: float
    n: int
    confidence: float | None
    """Their mean probability."""
    accuracy: float | None
    """The share of them that was answered correctly: equal to `confidence` if the probabilities are calibrated."""


@dataclass(frozen=True)
class SingleDetails(Details):
    """A measurement in detail: by class, by pair of classes, by confidence."""

    classes: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    """(K, K) pictures: the row is the truth, the column the answer."""
    bins: tuple[Bin, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple(score.label for score in self.classes)

    def figures(self) -> dict[str, str]:
        """Two numbers for the head of the page."""
        return {
            "F1, mean over the classes": f"{100 * self.macro()['f1']:.2f} %",
            "calibration error": f"{100 * self.calibration_error():.1f} %",
        }

    @property
    def wrong(self) -> int:
        """Number of pictures that were answered incorrectly."""
        return int(self.confusion.sum() - self.confusion.trace())

    def macro(self) -> dict[str, float]:
        """Means over the classes with pictures; a precision of 0/0 counts as 0, as in scikit-learn."""
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
        """(truth, answer, pictures) of the pairs that are confused most often, worst first."""
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
