"""What training and evaluation give back, of whichever task. Plain records, without torch.

Each task has its own classes for `Metrics`, `Details` and `Epoch` (in `single_label`, `multi_label`); the names of
their fields are the names in the files.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Metrics(ABC):
    """The main numbers of a measurement on n pictures; a dataclass of fractions from 0 to 1."""

    log_loss: float
    """Mean loss of the answers, in nats."""
    n: int
    interval: tuple[float, float]
    """95 % interval of the share of correct answers (Wilson 1927): how far n other such pictures may change it."""
    precision: str
    """Arithmetic of the convolutions; shown only if it is not fp32."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {**self.__dict__, "interval": list(self.interval)}
        if self.precision == "fp32":
            del plain["precision"]
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The metrics from the values of `to_json`; raises ValueError for values of another type."""
        # JSON has no NaN: null stands for it.
        return msgspec.convert({name: math.nan if value is None else value for name, value in plain.items()}, cls)

    @abstractmethod
    def epoch(self, right: float, **columns: Any) -> Epoch:
        """The row of history with these metrics; `right` is the share of correct answers in training."""

    @abstractmethod
    def figures(self, split: str) -> dict[str, str]:
        """The numbers for the head of the page, by their meaning; `split` is the measured part of the data."""

    @abstractmethod
    def told(self) -> str:
        """All numbers in words, without the precision."""

    def __str__(self) -> str:
        return self.told() + ("" if self.precision == "fp32" else f", computed in {self.precision}")


def percent_range(interval: tuple[float, float]) -> str:
    """Two fractions as percentages, such as 96.40 to 99.23."""
    low, high = (100 * end for end in interval)
    return f"{low:.2f} to {high:.2f}"


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognised, as fractions from 0 to 1; None where a quotient is 0/0."""

    label: str
    precision: float | None
    """Share of the pictures answered with this class that show it; None where there are none."""
    recall: float | None
    """Share of the pictures of this class that were answered with it; None where the class has no picture."""
    f1: float | None
    """Harmonic mean of both; None where the class has no picture and is never the answer."""
    support: int
    """Number of pictures of the class."""


class Details(ABC):
    """A measurement in detail; a dataclass."""

    classes: tuple[ClassScore, ...]
    """In the order of the logits."""

    @abstractmethod
    def figures(self) -> dict[str, str]:
        """Numbers for the head of the page, after those of the metrics."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values; None where there is nothing to divide by."""


@dataclass(frozen=True)
class Mistake:
    """A picture that was answered incorrectly."""

    name: str
    """Where the picture is."""
    truth: str
    answer: str
    probability: float
    """Probability of the answer."""
    probability_of_truth: float
    pixels: NDArray[np.uint8]
    """(H, W, C) as prepared for the network, before standardising."""

    @property
    def file(self) -> str:
        """Its name without the folders."""
        return PurePath(self.name).name or self.name


class Epoch(ABC):
    """One row of history.csv; a dataclass whose fields are its columns."""

    measure: ClassVar[str]
    """Name of `right`."""
    choice: ClassVar[str]
    """Name of `chosen`."""

    epoch: int
    lr: float
    train_objective: float
    """The objective of the steps: with label smoothing, auxiliary heads, class weights and penalty."""
    train_log_loss: float
    """Cross-entropy of augmented pictures, in train mode, with the weights of each step, not with averaged weights."""
    validation_log_loss: float
    """Cross-entropy of unchanged pictures, in eval mode, with the weights that are saved."""
    seconds: float
    images_per_second: float
    """Training only."""

    @property
    @abstractmethod
    def right(self) -> tuple[float, float]:
        """Shares of correct answers in training and on validation."""

    @property
    def chosen(self) -> float:
        """The number on validation by which the best epoch is chosen; larger is better."""
        return self.right[1]

    @property
    def rank(self) -> tuple[float, float]:
        """Larger for a better epoch: by `chosen`, and where that is equal by a smaller loss."""
        return self.chosen, _less_is_better(self.validation_log_loss)

    def to_json(self) -> dict[str, Any]:
        """The columns."""
        return dict(self.__dict__)

    def __str__(self) -> str:
        train, validation = self.right
        shares = {self.choice: self.chosen, self.measure: validation}
        figures = " ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        return (
            f"epoch {self.epoch}: train log-loss {self.train_log_loss:.3f} {self.measure} {100 * train:.1f} %, "
            f"validation log-loss {self.validation_log_loss:.3f} {figures}, {self.images_per_second:.0f} images/s"
        )


def _less_is_better(loss: float) -> float:
    """A loss as a rank, where larger is better; NaN is the worst."""
    return -math.inf if math.isnan(loss) else -loss


Row = TypeVar("Row", bound=Epoch)


def best_epoch(epochs: Sequence[Row]) -> Row:
    """The epoch with the highest rank on validation, whose network is kept."""
    return max(epochs, key=lambda row: row.rank)


@dataclass(frozen=True)
class Ending:
    """How long a training was, and what ended it."""

    by: Literal["epochs", "patience", "time", "head"]
    """All epochs were done, validation stopped improving, the time was over, or there was only a head to fit."""
    steps: int
    per_epoch: int

    def epochs(self) -> str:
        """The length in words, such as "9 epochs and 37 of the 50 steps of another"."""
        whole, rest = divmod(self.steps, self.per_epoch)
        parts = [f"{whole} epoch{'s' * (whole != 1)}"] * (whole > 0)
        parts += [f"{rest:,} of the {self.per_epoch:,} steps of {'another' if whole else 'an epoch'}"] * (rest > 0)
        return " and ".join(parts)

    def told(self, time: str | None) -> str:
        """The length and what ended it, in words; `time` is the value of --time."""
        if self.by == "head":
            return "the fit of a head"
        reasons = {
            "epochs": f", stopped by --epochs before --time {time}" if time else "",
            "patience": ", stopped early: validation got no better (--stop-after)",
            "time": f", stopped by --time {time}",
        }
        return self.epochs() + reasons[self.by]


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    metrics: Metrics
    split: str
    """Part of the data that `metrics` was measured on: test, or validation where there is no test."""
    epochs: Sequence[Epoch]
    minutes: float

    def __str__(self) -> str:
        return f"{self.split}: {self.metrics}\n{self.minutes:.1f} minutes, results in {self.folder}"
