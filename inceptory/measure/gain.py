"""What a change of a network is worth, from its answers to the same pictures before and after."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    def of(cls, before: NDArray[np.bool_], after: NDArray[np.bool_], choices: int = 1) -> Gain:
        """From which of the pictures (N,) were right before and after.

        The noise is from the lower end of Bonett and Price's interval for paired shares (2012, J. Educ. Behav. Stat.
        37, p. 479): one picture more of each kind of change, so that few pictures are not believed too easily.
        `choices` is the number of candidates of which `after` is the best: the more, the surer one must be
        (Bonferroni).
        """
        n = len(before)
        won, lost = int((after & ~before).sum()), int((before & ~after).sum())
        better, worse = (won + 1) / (n + 2), (lost + 1) / (n + 2)
        z = NormalDist().inv_cdf(1 - 0.025 / choices)
        lowest = better - worse - z * math.sqrt((better + worse - (better - worse) ** 2) / (n + 2))
        return cls(float(before.mean()), float(after.mean()), (won - lost) / n - lowest, n)

    @property
    def is_real(self) -> bool:
        """Whether there is more of it than noise."""
        return self.after - self.before > self.noise

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "kept": self.is_real}

    def __str__(self) -> str:
        points = f"{100 * (self.after - self.before):.1f} ± {100 * self.noise:.1f} points"
        shares = f"{100 * self.before:.1f} to {100 * self.after:.1f} % of {self.n:,} validation pictures"
        rest = "" if self.is_real else ", which may be chance: kept the head alone"
        return f"fine-tuning gained {points} ({shares}){rest}"
