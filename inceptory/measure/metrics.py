"""How good answers are, of numpy arrays. Without torch.

scikit-learn takes a second to load, which is longer than most measurements, and is much slower at some of them. Seconds
on two cores for 50,000 x 1,000 logits, scikit-learn's first: top-5 7.3 and 0.3, log-loss 12.7 and 0.7, counts of
multi-label answers 10 and 0.5. Average precision is left to scikit-learn: 17.6 and 15.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels
from inceptory.measure.multi_label import MultiScore
from inceptory.measure.results import ClassScore
from inceptory.measure.single_label import Bin

Logits = NDArray[np.floating[Any]]
"""(N, K)."""

NORMAL_95 = 1.959963984540054
"""The normal distribution has 95 % between minus and plus this value."""
BINS = 15
"""Bins of equal width in which confidence is compared with accuracy. Guo et al. 2017."""
BLOCK = 2**14
"""Number of logits that are processed at once: they fit into the cache of a processor."""
LARGEST = 1e300
"""A number larger than any logit of a network."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion. Wilson 1927."""
    share, z2 = right / n, NORMAL_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def among_best(logits: Logits, labels: Labels, most: int) -> float:
    """The share of pictures whose label (N,) is among the `most` largest logits; of equal logits the first is ahead.

    scikit-learn's `top_k_accuracy_score` sorts every row, which is slow, and puts the last of equal ones ahead.
    """
    hits, number = 0, np.arange(logits.shape[1])
    for rows in _blocks(logits):
        part, label = logits[rows], labels[rows, None]
        own = np.take_along_axis(part, label, 1)
        # Not `part > own`: NaN must be ahead of every number, and a label whose logit is NaN behind all of them.
        ahead = ~(part <= own) | ((part == own) & (number < label))
        hits += int((ahead.sum(1) < most).sum())
    return hits / len(labels)


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Mean negative logarithm of the probability of each label (N,), in nats; NaN if a logit is NaN.

    From logits, not from probabilities: with those, as in scikit-learn's `log_loss`, a confident wrong answer costs
    36 nats at most, since smaller probabilities are cut off.
    """
    total = 0.0
    for rows in _blocks(logits):
        part = logits[rows].astype(np.float64)
        total += float((log_sums(part) - np.take_along_axis(part, labels[rows, None], 1)[:, 0]).sum())
    return total / len(labels)


def binary_cross_entropy(logits: Logits, labels: Labels) -> float:
    """Mean over pictures and classes of the negative logarithm of each answer's probability; labels (N, K)."""
    total = 0.0
    for rows in _blocks(logits):
        part = logits[rows].astype(np.float64)
        with np.errstate(invalid="ignore"):
            losses = np.maximum(part, 0) - part * labels[rows] + np.log1p(np.exp(-np.abs(part)))
        total += float(losses.sum())
    return total / logits.size


def log_sums(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) the logarithm of the sum of exponentials of each row."""
    top = logits.max(1)
    with np.errstate(invalid="ignore"):
        sums: NDArray[np.float64] = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return sums


def _blocks(logits: Logits) -> Iterator[slice]:
    """Slices of rows to process at once: all logits of ImageNet's validation would take 400 MB in 64 bits."""
    step = max(BLOCK // logits.shape[1], 1)
    return (slice(start, start + step) for start in range(0, len(logits), step))


def probabilities(logits: Logits, columns: Labels) -> NDArray[np.float64]:
    """(N,) softmax of one class of each picture, which `columns` (N,) names; 0 where the logits are NaN."""
    wide = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        chosen: NDArray[np.float64] = np.exp(np.take_along_axis(wide, columns[:, None], 1)[:, 0] - log_sums(wide))
    return np.nan_to_num(chosen, nan=0.0)


def class_scores(labels: Labels, answers: Labels, classes: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class, from labels and answers (N,)."""
    counts = (np.bincount(rows, minlength=len(classes)) for rows in (labels[labels == answers], labels, answers))
    return tuple(ClassScore(label, **_shares(*numbers)) for label, *numbers in zip(classes, *counts, strict=True))


def confusion(labels: Labels, answers: Labels, classes: int) -> NDArray[np.int64]:
    """(K, K) pictures by label (N,), the row, and answer (N,), the column."""
    return np.bincount(labels * classes + answers, minlength=classes**2).reshape(classes, classes)


def _shares(right: int, support: int, answered: int) -> dict[str, Any]:
    """Of a class that so many pictures show, and so many are answered with, rightly or not."""
    return {
        "precision": _quotient(right, answered),
        "recall": _quotient(right, support),
        "f1": _quotient(2 * right, answered + support),
        "support": int(support),
    }


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Confidence and accuracy in 15 bins of equal width; a border belongs to the bin below it."""
    # ceil(x * 15) - 1, except that 0 belongs to the first bin.
    rows = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    n, sums, hits = (np.bincount(rows, weights=weights, minlength=BINS) for weights in (None, confidence, right))
    return tuple(
        Bin(k / BINS, (k + 1) / BINS, int(n[k]), _quotient(sums[k], n[k]), _quotient(hits[k], n[k]))
        for k in range(BINS)
    )


def scores_of_several(logits: Logits, labels: Labels, classes: Sequence[str]) -> tuple[MultiScore, ...]:
    """Average precision of every class, and precision, recall and F1 of its answers above probability 0.5."""
    truths, answers = labels > 0, logits > 0
    right, support, answered = (part.sum(0) for part in (truths & answers, truths, answers))
    return tuple(
        MultiScore(
            label,
            **_shares(right[k], support[k], answered[k]),
            average_precision=average_precision(logits[:, k], truths[:, k]),
        )
        for k, label in enumerate(classes)
    )


def average_precision(scores: NDArray[np.floating[Any]], truths: NDArray[np.bool_]) -> float | None:
    """Sum over all thresholds of precision times the increase of recall, of arrays (N,); None if no truth is true.

    Pictures with equal scores pass the threshold together; there is no interpolation.
    """
    from sklearn.metrics import average_precision_score

    if not truths.any():
        return None
    # scikit-learn refuses infinity and NaN; NaN counts as the lowest score.
    finite = np.nan_to_num(scores.astype(np.float64), nan=-LARGEST, posinf=LARGEST, neginf=-LARGEST)
    return float(average_precision_score(truths, finite))


def micro_f1(logits: Logits, labels: Labels) -> float:
    """F1 of all classes together; 0 where no class is true and none is answered, as in scikit-learn."""
    truths, answers = labels > 0, logits > 0
    return _quotient(2 * (truths & answers).sum(), answers.sum() + truths.sum()) or 0.0


def _quotient(part: float, whole: float) -> float | None:
    """None where there is nothing to divide by."""
    return float(part / whole) if whole else None
