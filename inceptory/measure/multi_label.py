"""How good multi-label answers are, from logits and truths of shape (N, K). Numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inceptory.measure.results import MultiScore

Scores = NDArray[np.float64]
Truths = NDArray[np.bool_]


def average_precision(scores: Scores, truths: Truths) -> float | None:
    """Sum of precision times the step of recall, over all thresholds; (N,) each. None without a true one.

    As scikit-learn's `average_precision_score`: pictures of one score pass the threshold together,
    nothing is interpolated.
    """
    if not truths.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = truths[order].cumsum()
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    precision = hits[last] / (last + 1)
    return float((precision * np.diff(hits[last], prepend=0)).sum() / hits[-1])


def class_scores(logits: Scores, truths: Truths, classes: Sequence[str]) -> tuple[MultiScore, ...]:
    """Average precision, and precision, recall and F1 of answers above probability 0.5, of every class."""
    answers = logits > 0
    right, support, answered = ((part).sum(0) for part in (truths & answers, truths, answers))
    return tuple(
        MultiScore(
            label=label,
            precision=quotient(right[k], answered[k]),
            recall=quotient(right[k], support[k]),
            f1=quotient(2 * right[k], answered[k] + support[k]),
            support=int(support[k]),
            average_precision=average_precision(logits[:, k], truths[:, k]),
        )
        for k, label in enumerate(classes)
    )


def mean_over_present(scores: Sequence[MultiScore], name: str) -> float:
    """Mean of a number over the classes that have pictures; 0 where none has."""
    present = [getattr(score, name) or 0.0 for score in scores if score.support]
    return sum(present) / max(len(present), 1)


def micro_f1(logits: Scores, truths: Truths) -> float:
    """F1 of all classes together; 0 where nothing is true and nothing answered, as in scikit-learn."""
    answers = logits > 0
    return quotient(2 * (truths & answers).sum(), answers.sum() + truths.sum()) or 0.0


def quotient(part: float, whole: float) -> float | None:
    """None where there is nothing to divide by."""
    return float(part / whole) if whole else None
