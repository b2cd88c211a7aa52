"""What training and evaluation give back, of whichever task. Plain records, without torch.

Each task has its own kinds of `Metrics`, `Details` and `Epoch` (`single_label`, `multi_label`): their fields are
the names on disk.
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
    """The few numbers that everybody asks for, of n pictures; a dataclass of fractions from 0 to 1."""

    log_loss: float
    """Mean loss of the answers, in nats."""
    n: int
    interval: tuple[float, float]
    """95 % interval of the share answered rightly (Wilson 1927): where other draws of n such pictures would put it."""
    precision: str
    """Arithmetic of the convolutions; told where it is not fp32."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {**self.__dict__, "interval": list(self.interval)}
        if self.precision == "fp32":
            del plain["precision"]
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The metrics among those that `to_json` wrote; raises ValueError for values of another kind."""
        # JSON has no NaN and says null for it.
        return msgspec.convert({name: math.nan if value is None else value for name, value in plain.items()}, cls)

    @abstractmethod
    def epoch(self, right: float, **known: Any) -> Epoch:
        """The row of history in which they stand; `right` is the share of training pictures answered rightly."""

    @abstractmethod
    def figures(self, split: str) -> dict[str, str]:
        """The numbers of the page's head, each under what it means; `split` is what was measured."""

    @abstractmethod
    def told(self) -> str:
        """All but the arithmetic, in words."""

    def __str__(self) -> str:
        return self.told() + ("" if self.precision == "fp32" else f", computed in {self.precision}")


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


class Details(ABC):
    """A measurement taken apart; a dataclass."""

    classes: tuple[ClassScore, ...]
    """In the order of the logits."""

    @abstractmethod
    def figures(self) -> dict[str, str]:
        """What it adds to the numbers of the page's head."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values; None where there is nothing to divide by."""


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

    @property
    def file(self) -> str:
        """Its name without the folders."""
        return PurePath(self.name).name or self.name


class Epoch(ABC):
    """One row of history.csv; a dataclass whose fields are its columns."""

    measure: ClassVar[str]
    """What `right` is called."""
    choice: ClassVar[str]
    """What the first of `rank` is called."""

    epoch: int
    lr: float
    train_objective: float
    """What the steps make small: with smoothing, auxiliary heads, weights of classes and the penalty."""
    train_log_loss: float
    """Cross-entropy of augmented pictures, in train mode, by the weights of each step: no average of them."""
    validation_log_loss: float
    """The same of pictures as they are, in eval mode, by the weights that are kept."""
    seconds: float
    images_per_second: float
    """Training only."""

    @property
    @abstractmethod
    def right(self) -> tuple[float, float]:
        """Shares of training and validation pictures that were answered rightly."""

    @property
    def chosen(self) -> float:
        """What the best epoch has most of, on validation."""
        return self.right[1]

    @property
    def rank(self) -> tuple[float, float]:
        """The better epoch is larger: more of what is `chosen` by, or as much with a smaller loss."""
        return self.chosen, _less_is_better(self.validation_log_loss)

    def to_json(self) -> dict[str, Any]:
        """The columns."""
        return dict(self.__dict__)

    def __str__(self) -> str:
        train, validation = self.right
        shares = {self.choice: self.chosen, self.measure: validation}
        told = " ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        return (
            f"epoch {self.epoch}: train log-loss {self.train_log_loss:.3f} {self.measure} {100 * train:.1f} %, "
            f"validation log-loss {self.validation_log_loss:.3f} {told}, {self.images_per_second:.0f} images/s"
        )


def _less_is_better(loss: float) -> float:
    """A loss as a rank; one that is not a number is the worst."""
    return -math.inf if math.isnan(loss) else -loss


Row = TypeVar("Row", bound=Epoch)


def best_epoch(epochs: Sequence[Row]) -> Row:
    """The one that is kept: of the highest rank on validation."""
    return max(epochs, key=lambda row: row.rank)


@dataclass(frozen=True)
class Ending:
    """How far a training went, and what ended it."""

    by: Literal["epochs", "patience", "time", "head"]
    """All epochs were done, validation stood still, the time was over, or a head was all that there was to fit."""
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
        if self.by == "head":
            return "the fit of a head"
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
    metrics: Metrics
    split: str
    """Part of the data that `metrics` was measured on: test, or validation where there is no test."""
    epochs: Sequence[Epoch]
    minutes: float

    def __str__(self) -> str:
        return f"{self.split}: {self.metrics}\n{self.minutes:.1f} minutes, results in {self.folder}"
