"""What training and evaluation give back. Plain records, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        low, high = (100 * end for end in self.interval)
        told = f"top-1 {100 * self.top1:.2f} % (95 % interval {low:.2f} to {high:.2f})"
        return f"{told}, top-5 {100 * self.top5:.2f} %, log-loss {self.log_loss:.4f}, n {self.n:,}"


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
