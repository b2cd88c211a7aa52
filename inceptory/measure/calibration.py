"""How sure an answer may be, from pictures that training never saw: a temperature, and sets that hold the truth.

A set of classes holds the truth of a further picture with at least the probability asked for, if that picture is
exchangeable with those of the calibration (Vovk, Gammerman, Shafer 2005): whatever the network, however few
pictures. It holds on average over pictures and calibrations, not for each class or each picture by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels
from inceptory.errors import UsageError
from inceptory.measure.metrics import (
    NORMAL_95,
    Logits,
    binary_cross_entropy,
    cross_entropy,
    log_sums,
    wilson,
)
from inceptory.measure.results import percent_range

COLDEST, HOTTEST = 0.05, 20.0
"""Between these a temperature is looked for."""
KEPT = 1_000
"""Scores that are kept of each kind."""
STEPS = 1e7
"""Scores are rounded up to a whole number of such parts: 20 KB of text for both kinds, and no set is too small."""
MOST_PICTURES = 10**12
"""More than anybody has, and few enough that products of their number are exact."""
SLACK = 1e-9
"""0.07 * 100 is 7.000000000000001 in 64 bits, and means the seventh."""

Kind = Literal["held-out", "cross-fitted"]
Method = Literal["lac", "aps"]


def temperature(logits: Logits, labels: Labels) -> float:
    """What logits (N, K) are divided by so that the log-loss of labels (N,) is smallest (Guo et al. 2017).

    Labels (N, K) of 0 and 1 mean a sigmoid of each class. The loss is convex in 1 / T, so one bounded search finds
    its minimum, from 0.05 to 20. Where every picture is answered rightly there is none, however small T gets: such
    pictures cannot say how sure is too sure, and T is 1. Pictures with a logit that is not finite do not count.
    """
    from scipy.optimize import minimize_scalar

    finite = np.isfinite(logits).all(1)
    wide, truths = logits[finite].astype(np.float64), labels[finite]
    if _separated(wide, truths):
        return 1.0
    loss = cross_entropy if truths.ndim == 1 else binary_cross_entropy
    best = minimize_scalar(
        lambda cold: loss(wide * math.exp(cold), truths),
        bounds=(-math.log(HOTTEST), -math.log(COLDEST)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return min(max(math.exp(-best.x), COLDEST), HOTTEST)


def _separated(logits: NDArray[np.float64], labels: Labels) -> bool:
    """Whether every answer is right (of no picture too): the loss then falls for ever as T goes to 0."""
    if labels.ndim == 2:
        return bool((np.where(labels > 0, logits, -logits) > 0).all())
    own = np.take_along_axis(logits, labels[:, None], 1)
    return bool(((logits >= own).sum(1) == 1).all())


@dataclass(frozen=True)
class Calibration:
    """What `n` pictures, which neither trained a network nor chose it, say of its answers."""

    temperature: float
    """What logits are divided by."""
    n: int
    kind: Kind
    """held-out: by the network itself. cross-fitted: by networks of the same making that did not see each picture;
    the network then knows more pictures than they did, so its sets are rather too large than too small."""
    lac: tuple[float, ...]
    """Scores 1 - p of the truths, ascending (Sadinle, Lei, Wasserman 2019). Of several classes a picture 1 - p of
    its least probable truth, so that a set holds all of them, and 0 without a truth."""
    aps: tuple[float, ...]
    """Scores of the truths by adaptive sets, ascending: the probability of all classes down to and including the
    truth, with nothing drawn by lot (Romano, Sesia, Candes 2020). None for several classes a picture.

    Of more than 1,000 pictures both keep the scores of ranks ceil(n j / 1000), j = 1 to 1000. The threshold is the
    next kept score at or above the one wanted: sets are never too small, and coverage is at most 0.1 point more."""
    multi_label: bool = False

    @classmethod
    def of(cls, logits: Logits, labels: Labels, kind: Kind) -> Calibration:
        """From logits (N, K) and labels (N,), or (N, K) where a picture may show several classes.

        Cross-fitted logits are out-of-fold ones. The temperature is of the same pictures: one number, which a
        single further picture would hardly move. Raises ValueError for no picture.
        """
        if not len(labels):
            raise ValueError("no picture to calibrate with")
        heat, several = temperature(logits, labels), labels.ndim == 2
        probabilities = _probabilities(logits, heat, several)
        if several:
            return cls(heat, len(labels), kind, kept_scores(_scores_of_several(probabilities, labels)), (), True)
        lac, aps = (np.take_along_axis(score(probabilities), labels[:, None], 1) for score in SCORES.values())
        return cls(heat, len(labels), kind, kept_scores(lac[:, 0]), kept_scores(aps[:, 0]))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "lac": list(self.lac), "aps": list(self.aps)}

    @classmethod
    def from_json(cls, plain: object) -> Calibration:
        """The calibration that `to_json` wrote; raises ValueError for a damaged one."""
        found = msgspec.convert(plain, cls)
        if not COLDEST <= found.temperature <= HOTTEST:
            raise ValueError(f"calibration: a temperature of {found.temperature}")
        for name, scores, absent in (("lac", found.lac, False), ("aps", found.aps, found.multi_label)):
            if absent and scores:
                raise ValueError(f"calibration: {name} scores of several classes a picture")
            if not absent:
                check_scores(f"calibration: {name}", scores, found.n)
        return found

    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """(N, K) of logits (N, K), at the temperature; NaN throughout where a picture's logits are not finite."""
        return _probabilities(logits, self.temperature, self.multi_label)

    @property
    def largest_coverage(self) -> float:
        """The largest that so few pictures can promise: n / (n + 1)."""
        return self.n / (self.n + 1)

    def reaches(self, coverage: float) -> bool:
        """Whether there are pictures enough to promise this coverage: ceil((n + 1) c) is at most n."""
        return _rank(self.n, coverage) <= self.n

    def sets(self, logits: Logits, coverage: float, method: Method = "lac") -> NDArray[np.bool_]:
        """(N, K) classes that together hold the truth with probability `coverage` at least.

        `lac` gives the smallest sets on average, `aps` larger ones for hard pictures and smaller for easy ones. A set
        may be empty: the picture is unlike all but a share 1 - `coverage` of the calibration's. Raises UsageError.
        """
        if method == "aps" and self.multi_label:
            raise UsageError("aps: not for pictures of several classes (use lac)")
        threshold = self.threshold(coverage, method)
        return SCORES[method](self.probabilities(logits)) <= threshold

    def threshold(self, coverage: float, method: Method = "lac") -> float:
        """The ceil((n + 1) coverage)-th smallest score (Angelopoulos, Bates 2021); raises UsageError."""
        if not 0 < coverage < 1:
            raise UsageError(f"--coverage {coverage:g}: out of range (a share above 0 and below 1, such as 0.9)")
        if not self.reaches(coverage):
            most, needed = math.floor(1000 * self.largest_coverage) / 1000, math.ceil(coverage / (1 - coverage) - SLACK)
            remedy = f"ask for at most {most:g}, or train with {needed:,} pictures for calibration"
            raise UsageError(f"--coverage {coverage:g}: too much for {self.n:,} calibration pictures ({remedy})")
        scores = self.lac if method == "lac" else self.aps
        return scores[(_rank(self.n, coverage) - 1) * len(scores) // self.n]


def _rank(n: int, coverage: float) -> int:
    """Of the score that is the threshold, from 1."""
    return max(math.ceil((n + 1) * coverage - SLACK), 1)


def kept_scores(scores: NDArray[np.float64]) -> tuple[float, ...]:
    """At most 1,000 of the scores (N,), ascending, rounded up: those of ranks ceil(n j / 1000), j = 1 to 1000."""
    n = len(scores)
    most = min(n, KEPT)
    ranks = -(-n * np.arange(1, most + 1) // most)
    return tuple((np.ceil(np.sort(scores)[ranks - 1] * STEPS) / STEPS).tolist())


def check_scores(name: str, scores: Sequence[float], n: int, most: float = 1.0) -> None:
    """Raise ValueError for what `kept_scores` never gives of `n` scores from 0 to `most`."""
    if not 1 <= n <= MOST_PICTURES or len(scores) != min(n, KEPT):
        raise ValueError(f"{name}: {len(scores)} scores of {n} pictures")
    # Written so that NaN, which is neither, does not pass.
    if not all(low <= high for low, high in zip((0.0, *scores), (*scores, most), strict=True)):
        raise ValueError(f"{name}: scores that do not ascend from 0 to {most:g}")


def _probabilities(logits: Logits, heat: float, several: bool) -> NDArray[np.float64]:
    """(N, K) softmax, or sigmoid of each class, of logits divided by the temperature."""
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    wide = np.where(finite, logits, 0).astype(np.float64) / heat
    found = (1 + np.tanh(wide / 2)) / 2 if several else np.exp(wide - log_sums(wide)[:, None])
    return np.where(finite, found, np.nan)


def _lac(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) how strange each class would be as the truth, from 0 to 1; 1 where nothing is answered."""
    return 1 - np.nan_to_num(probabilities, nan=0.0)


def _aps(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) the same by the sum of the probabilities down to each class; of equal ones the first comes first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(probabilities, order, 1), axis=1)
    found = np.empty_like(sums)
    np.put_along_axis(found, order, sums, 1)
    # A sum of all is 1 but for the last digits.
    return np.minimum(np.nan_to_num(found, nan=1.0), 1)


def _scores_of_several(probabilities: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """(N,) the strangest of each picture's truths (N, K)."""
    found: NDArray[np.float64] = np.where(labels > 0, _lac(probabilities), 0).max(1)
    return found


SCORES = {"lac": _lac, "aps": _aps}


@dataclass(frozen=True)
class Coverage:
    """How sets of classes fared on `n` pictures that are not of the calibration; shares from 0 to 1."""

    share: float
    """Pictures whose truth, or every truth, is in the set."""
    interval: tuple[float, float]
    """95 % interval of `share` (Wilson 1927)."""
    size: float
    """Mean number of classes in a set."""
    size_interval: tuple[float, float]
    """95 % interval of `size`, from its standard error."""
    empty: float
    """Share of sets without a class."""
    n: int

    def __str__(self) -> str:
        low, high = self.size_interval
        sets = f"{self.size:.2f} classes a picture (95 % interval {low:.2f} to {high:.2f}), none for"
        share = f"truth in the set {100 * self.share:.2f} % (95 % interval {percent_range(self.interval)})"
        return f"{share}, {sets} {100 * self.empty:.2f} %, n {self.n:,}"


def coverage_of(sets: NDArray[np.bool_], labels: Labels) -> Coverage:
    """What sets (N, K) are worth, of labels (N,), or (N, K) where a picture may show several classes; N at least 1."""
    truths = labels > 0 if labels.ndim == 2 else np.arange(sets.shape[1]) == labels[:, None]
    n, held, sizes = len(sets), int((sets | ~truths).all(1).sum()), sets.sum(1)
    size, half = float(sizes.mean()), NORMAL_95 * float(sizes.std()) / math.sqrt(max(n - 1, 1))
    return Coverage(held / n, wilson(held, n), size, (size - half, size + half), float((sizes == 0).mean()), n)
