"""What is measured where a picture may show several classes, or none. Plain records, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from inceptory.measure.results import ClassScore, Details, Epoch, Metrics, percent_range


@dataclass(frozen=True)
class MultiMetrics(Metrics):
    """Metrics of multi-label answers: all classes with a probability above 0.5."""

    mean_ap: float
    """Average precision (area under precision over recall, without interpolation), mean over classes with pictures."""
    micro_f1: float
    """F1 of the answers of all classes together."""
    macro_f1: float
    """F1 of each class, mean over the classes with pictures."""
    exact: float
    """Share of pictures of which all classes are answered and no other."""
    log_loss: float
    """Mean binary cross-entropy over pictures and classes, in nats."""
    n: int
    interval: tuple[float, float]
    """95 % interval of `exact`."""
    precision: str = "fp32"

    def epoch(self, right: float, **columns: Any) -> MultiEpoch:
        """The row of history with these metrics; `right` is the share of exact answers in training."""
        columns = {**columns, "validation_log_loss": self.log_loss, "validation_map": self.mean_ap}
        return MultiEpoch(train_exact=right, validation_exact=self.exact, **columns)

    def figures(self, split: str) -> dict[str, str]:
        """Each number under what it means."""
        interval = percent_range(self.interval)
        return {
            f"{split} mean average precision": f"{100 * self.mean_ap:.2f} %",
            f"exact, 95 % interval {interval}, n {self.n:,}": f"{100 * self.exact:.2f} %",
            "F1, all classes together": f"{100 * self.micro_f1:.2f} %",
            "F1, mean over the classes": f"{100 * self.macro_f1:.2f} %",
            "log-loss, nats": f"{self.log_loss:.4f}",
        }

    def told(self) -> str:
        """All numbers in words."""
        shares = f"mAP {100 * self.mean_ap:.2f} %, exact {100 * self.exact:.2f} %"
        both = f"F1 micro {100 * self.micro_f1:.2f} % macro {100 * self.macro_f1:.2f} %"
        interval = f"95 % interval {percent_range(self.interval)}"
        return f"{shares} ({interval}), {both}, log-loss {self.log_loss:.4f}, n {self.n:,}"


@dataclass(frozen=True)
class MultiEpoch(Epoch):
    """One row of history.csv."""

    measure: ClassVar[str] = "exact"
    choice: ClassVar[str] = "mAP"

    epoch: int
    lr: float
    train_objective: float
    train_log_loss: float
    train_exact: float
    validation_log_loss: float
    validation_exact: float
    validation_map: float
    """Mean average precision."""
    seconds: float
    images_per_second: float

    @property
    def right(self) -> tuple[float, float]:
        """Shares of exact answers in training and on validation."""
        return self.train_exact, self.validation_exact

    @property
    def chosen(self) -> float:
        """Mean average precision on validation."""
        return self.validation_map


@dataclass(frozen=True)
class MultiScore(ClassScore):
    """How well one class is recognised, among others that a picture may show as well."""

    average_precision: float | None
    """Area under precision over recall, without interpolation; None where the class has no picture."""


@dataclass(frozen=True)
class MultiDetails(Details):
    """A measurement for each class; there is no confusion matrix, since each class is a question by itself."""

    classes: tuple[MultiScore, ...]

    def figures(self) -> dict[str, str]:
        """Nothing: the metrics already contain the means over the classes."""
        return {}

    def mean(self, name: str) -> float:
        """Mean of a number over the classes with pictures, where None counts as 0; 0 if no class has pictures."""
        present = [getattr(score, name) or 0.0 for score in self.classes if score.support]
        return sum(present) / max(len(present), 1)

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where there is nothing to divide by."""
        return {"classes": [score.__dict__ for score in self.classes]}
