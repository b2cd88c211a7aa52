"""What training and evaluation give back. Plain records, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import msgspec

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
    precision: str = "fp32"
    """Arithmetic of the convolutions; told where it is another."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return _plain(self)

    def epoch(self, right: float, **known: Any) -> Epoch:
        """The row of history in which they stand; `right` is the share of training pictures named right."""
        return Epoch(train_top1=right, validation_log_loss=self.log_loss, validation_top1=self.top1, **known)

    def __str__(self) -> str:
        told = f"top-1 {100 * self.top1:.2f} % (95 % interval {percent_range(self.interval)})"
        told = f"{told}, top-5 {100 * self.top5:.2f} %, log-loss {self.log_loss:.4f}, n {self.n:,}"
        return f"{told}{_computed(self.precision)}"


@dataclass(frozen=True)
class MultiMetrics:
    """The same of multi-label answers: a class is answered where its probability is above 0.5."""

    mean_ap: float
    """Average precision (area under steps of precision over recall), mean over the classes that have pictures."""
    micro_f1: float
    """F1 of all answers, of all classes together."""
    macro_f1: float
    """F1 of each class, mean over the classes that have pictures."""
    exact: float
    """Pictures of which every class is answered and no other."""
    log_loss: float
    """Mean binary cross-entropy over pictures and classes, in nats."""
    n: int
    interval: tuple[float, float]
    """95 % interval of `exact` (Wilson 1927)."""
    precision: str = "fp32"
    """Arithmetic of the convolutions; told where it is another."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return _plain(self)

    def epoch(self, right: float, **known: Any) -> MultiEpoch:
        """The row of history in which they stand; `right` is the share of exact training pictures."""
        known = {**known, "validation_log_loss": self.log_loss, "validation_map": self.mean_ap}
        return MultiEpoch(train_exact=right, validation_exact=self.exact, **known)

    def __str__(self) -> str:
        told = f"mAP {100 * self.mean_ap:.2f} %, exact {100 * self.exact:.2f} %"
        told = f"{told} (95 % interval {percent_range(self.interval)})"
        both = f"F1 micro {100 * self.micro_f1:.2f} % macro {100 * self.macro_f1:.2f} %"
        told = f"{told}, {both}, log-loss {self.log_loss:.4f}, n {self.n:,}"
        return f"{told}{_computed(self.precision)}"


AnyMetrics = Metrics | MultiMetrics


def _plain(metrics: AnyMetrics) -> dict[str, Any]:
    plain = {**metrics.__dict__, "interval": list(metrics.interval)}
    if metrics.precision == "fp32":
        del plain["precision"]
    return plain


def _computed(precision: str) -> str:
    """What is said of results that were not computed in full precision."""
    return "" if precision == "fp32" else f", computed in {precision}"


def metrics_of(plain: dict[str, Any]) -> AnyMetrics:
    """The metrics among those that `to_json` wrote, of whichever kind; raises ValueError for values of another kind."""
    # JSON has no NaN and says null for it.
    numbers = {name: math.nan if value is None else value for name, value in plain.items()}
    kind: type[AnyMetrics] = MultiMetrics if "mean_ap" in plain else Metrics
    return msgspec.convert(numbers, kind)


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
class MultiScore(ClassScore):
    """How one class fares among others that a picture may show too."""

    average_precision: float | None
    """Area under the steps of precision over recall; None where the class has no picture."""


@dataclass(frozen=True)
class MultiDetails:
    """A multi-label measurement taken apart by class."""

    classes: tuple[MultiScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; None where there is nothing to divide by."""
        return {"classes": [score.__dict__ for score in self.classes]}


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


def _less_is_better(loss: float) -> float:
    """A loss as a rank; one that is no number is the worst."""
    return -math.inf if math.isnan(loss) else -loss


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv."""

    epoch: int
    lr: float
    train_objective: float
    """What the steps make small: with smoothing, auxiliary heads, weights of classes and the penalty."""
    train_log_loss: float
    """Cross-entropy of augmented pictures, in train mode, by the weights of each step: no average of them."""
    train_top1: float
    validation_log_loss: float
    """The same of pictures as they are, in eval mode, by the weights that are kept."""
    validation_top1: float
    seconds: float
    images_per_second: float
    """Training only."""
    measure: ClassVar[str] = "top-1"
    """What `right` is called."""
    choice: ClassVar[str] = "top-1"
    """What the first of `rank` is called."""

    @property
    def right(self) -> tuple[float, float]:
        """Shares of training and validation pictures that were answered rightly."""
        return self.train_top1, self.validation_top1

    @property
    def rank(self) -> tuple[float, float]:
        """The better epoch is larger: more right on validation, or as many with a smaller loss."""
        return self.validation_top1, _less_is_better(self.validation_log_loss)

    def __str__(self) -> str:
        train = f"train log-loss {self.train_log_loss:.3f} top-1 {100 * self.train_top1:.1f} %"
        validation = f"validation log-loss {self.validation_log_loss:.3f} top-1 {100 * self.validation_top1:.1f} %"
        return f"epoch {self.epoch}: {train}, {validation}, {self.images_per_second:.0f} images/s"


@dataclass(frozen=True)
class MultiEpoch:
    """One row of history.csv of a multi-label run."""

    epoch: int
    lr: float
    train_objective: float
    """What the steps make small: with smoothing, auxiliary heads, weights of classes and the penalty."""
    train_log_loss: float
    """Cross-entropy of augmented pictures, in train mode, by the weights of each step: no average of them."""
    train_exact: float
    validation_log_loss: float
    """The same of pictures as they are, in eval mode, by the weights that are kept."""
    validation_exact: float
    validation_map: float
    """Mean average precision."""
    seconds: float
    images_per_second: float
    """Training only."""
    measure: ClassVar[str] = "exact"
    choice: ClassVar[str] = "mAP"

    @property
    def right(self) -> tuple[float, float]:
        """Shares of training and validation pictures that were answered without any error."""
        return self.train_exact, self.validation_exact

    @property
    def rank(self) -> tuple[float, float]:
        """The better epoch is larger: by mean average precision on validation, then by the smaller loss."""
        return self.validation_map, _less_is_better(self.validation_log_loss)

    def __str__(self) -> str:
        train = f"train log-loss {self.train_log_loss:.3f} exact {100 * self.train_exact:.1f} %"
        validation = f"validation log-loss {self.validation_log_loss:.3f} mAP {100 * self.validation_map:.1f} %"
        exact = f"exact {100 * self.validation_exact:.1f} %"
        return f"epoch {self.epoch}: {train}, {validation} {exact}, {self.images_per_second:.0f} images/s"


AnyEpoch = Epoch | MultiEpoch
Row = TypeVar("Row", Epoch, MultiEpoch, AnyEpoch)


def epoch_kind(columns: Iterable[str]) -> type[Epoch] | type[MultiEpoch]:
    """Which kind of row has these columns."""
    return MultiEpoch if "validation_map" in columns else Epoch


def best_epoch(epochs: Sequence[Row]) -> Row:
    """The one that is kept: of the highest rank on validation."""
    return max(epochs, key=lambda row: row.rank)


@dataclass(frozen=True)
class Ending:
    """How far a training went, and what ended it."""

    by: Literal["epochs", "patience", "time"]
    """All epochs were done, validation stood still, or the time was over."""
    steps: int
    per_epoch: int

    def epochs(self) -> str:
        """The length in words: "9 epochs and 37 of the 50 steps of another"."""
        whole, rest = divmod(self.steps, self.per_epoch)
        parts = [f"{whole} epoch{'s' * (whole != 1)}"] * (whole > 0)
        parts += [f"{rest:,} of the {self.per_epoch:,} steps of {'another' if whole else 'an epoch'}"] * (rest > 0)
        return " and ".join(parts)

    def told(self, time: str | None) -> str:
        """The length and what ended it, in words; `time` is what --time said."""
        why = {
            "epochs": f", stopped by --epochs before --time {time}" if time else "",
            "patience": ", stopped early: validation got no better (--stop-after)",
            "time": f", stopped by --time {time}",
        }
        return self.epochs() + why[self.by]


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    metrics: AnyMetrics
    split: str
    """Part of the data that `metrics` was measured on: test, or validation where there is no test."""
    epochs: Sequence[AnyEpoch]
    minutes: float

    def __str__(self) -> str:
        return f"{self.split}: {self.metrics}\n{self.minutes:.1f} minutes, results in {self.folder}"
