"""What a change of a network is worth, from its answers to the same pictures before and after."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.measure.metrics import NORMAL_95


@dataclass(frozen=True)
class Gain:
    """Shares of right answers before and after, and how far chance alone may have moved them apart."""

    before: float
    after: float
    noise: float
    """How far the gain may be below what was seen, at the level of 95 %."""
    n: int
    """Pictures."""

    @classmethod
    def of(cls, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Gain:
        """From which of the pictures (N,) were right before and after; they must not have chosen either.

        The noise is from the lower end of Bonett and Price's interval for paired shares (2012, J. Educ. Behav. Stat.
        37, p. 479): one picture more of each kind of change, so that few pictures are not believed too easily.
        """
        n = len(before)
        won, lost = int((after & ~before).sum()), int((before & ~after).sum())
        better, worse = (won + 1) / (n + 2), (lost + 1) / (n + 2)
        lowest = better - worse - NORMAL_95 * math.sqrt((better + worse - (better - worse) ** 2) / (n + 2))
        return cls(float(before.mean()), float(after.mean()), (won - lost) / n - lowest, n)

    @property
    def is_real(self) -> bool:
        """Whether there is more of it than noise."""
        return self.after - self.before > self.noise

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "kept": self.is_real}

    def __str__(self) -> str:
        gain = self.after - self.before
        points = f"{'lost' if gain < 0 else 'gained'} {100 * abs(gain):.1f} ± {100 * self.noise:.1f} points"
        shares = f"{100 * self.before:.1f} to {100 * self.after:.1f} % of {self.n:,} validation pictures"
        doubt = "" if gain < 0 else ", which may be chance"
        return f"fine-tuning {points} ({shares}){'' if self.is_real else f'{doubt}: kept the head alone'}"
