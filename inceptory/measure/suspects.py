"""Pictures of a data set that want a look: probably mislabelled, twice in other parts, or unlike the rest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptory.measure.novelty import Vectors, directions

Rows = NDArray[np.int64]

FALSE_SHARE = 0.05
"""Of the pictures listed as unlike the rest, so many at most are like it, on average."""
NEAR = 0.1
"""Of the median distance to the nearest picture of another part; a near duplicate is nearer than that."""
ALIKE = 1e-5
"""Distance up to which vectors are the same but for the arithmetic."""
ROWS, COLUMNS = 1_024, 8_192
"""Of the products that are in memory at once: 32 MB."""


class LabelSuspects(NamedTuple):
    """Pictures that are probably under the wrong label."""

    rows: Rows
    """(M,) the likeliest first."""
    scores: NDArray[np.float64]
    """(M,) from 0.5 to 1: half of 1 + the probability of the best other class - that of the label."""
    expected: int
    """Wrong labels in the whole set, by the confident joint."""


def label_suspects(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> LabelSuspects:
    """Pictures probably under the wrong label, of probabilities (N, K) by networks that did not see each picture.

    Confident learning (Northcutt, Jiang, Chuang 2021). A picture counts as of class j where its probability reaches
    the mean of j among the pictures labelled j; of several such classes as of the likeliest. Those counts by label
    and class, each row scaled to the pictures of its label, are the confident joint; what lies off its diagonal is
    the number of wrong labels `expected`. As many pictures are listed, those with the least margin between the label
    and the best other class first, but none whose label is the likeliest class.
    """
    n, every = len(labels), np.arange(len(labels))
    own = probabilities[every, labels]
    others = probabilities.astype(np.float64)
    others[every, labels] = -np.inf
    margins = own - others.max(1)
    expected = _expected_errors(probabilities, labels)
    order = np.argsort(margins, kind="stable")[: min(expected, n)]
    rows = order[margins[order] < 0]
    return LabelSuspects(rows, (1 - margins[rows]) / 2, expected)


def _expected_errors(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> int:
    """Off the diagonal of the confident joint, scaled to the pictures of each label."""
    classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = probabilities[np.arange(len(labels)), labels]
    sums = np.bincount(labels, weights=own, minlength=classes)
    # A class without a picture has no mean, and no picture counts as of it.
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    sure = reached.max(1) >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure], reached[sure].argmax(1)), 1)
    wrong = 1 - np.diag(joint) / np.maximum(joint.sum(1), 1)
    return round(float((np.where(joint.sum(1) > 0, wrong, 0) * counts).sum()))


class NearDuplicates(NamedTuple):
    """Pairs of pictures in different parts that are nearly the same to a network."""

    pairs: Rows
    """(M, 2) rows, the nearest first."""
    scores: NDArray[np.float64]
    """(M,) their cosines."""
    threshold: float
    """The least cosine of a pair."""


def near_duplicates(vectors: Vectors, splits: NDArray[Any], threshold: float | None = None) -> NearDuplicates:
    """Pairs across the parts `splits` (N,) whose vectors (N, D) have a cosine of `threshold` or more.

    Cosines are of vectors less their mean, without which all pictures of a network are alike. Of each picture the
    nearest one in every other part is looked at, so a picture with copies is listed with each of them. Without a
    `threshold` it is the one by which a pair is ten times nearer (1 - cosine) than the median picture to its nearest.
    Of 200 CIFAR-10 pictures saved once more as JPEG of quality 75 it finds 189, of 1,000 others it lists one; a small
    backbone does not know copies again that were shifted, made brighter or turned over.
    Blocks of 1,024 x 8,192 products are in memory at once, and vectors may lie on disk (np.memmap).
    """
    mean: NDArray[np.float32] = np.asarray(vectors.mean(axis=0, dtype=np.float64), dtype=np.float32)
    near = [_nearest(vectors, mean, *rows) for rows in _parts(splits)]
    if not near:
        return NearDuplicates(np.empty((0, 2), np.int64), np.empty(0), 1.0)
    pairs, cosines = (np.concatenate(parts) for parts in zip(*near, strict=True))
    if threshold is None:
        threshold = 1 - max(NEAR * float(np.median(1 - cosines)), ALIKE)
    kept = cosines >= threshold
    pairs, places = np.unique(np.sort(pairs[kept], axis=1), axis=0, return_index=True)
    scores = cosines[kept][places]
    order = np.argsort(-scores, kind="stable")
    return NearDuplicates(pairs[order], scores[order], threshold)


def _parts(splits: NDArray[Any]) -> Iterator[tuple[Rows, Rows]]:
    """The rows of every two parts."""
    names = np.unique(splits)
    return combinations((np.flatnonzero(splits == name) for name in names), 2)


def _nearest(vectors: Vectors, mean: NDArray[np.float32], left: Rows, right: Rows) -> tuple[Rows, NDArray[np.float64]]:
    """(pairs (M, 2), cosines (M,)) of each picture with its nearest in the other part, from both sides."""
    best = [np.full(len(rows), -np.inf, np.float32) for rows in (left, right)]
    place = [np.zeros(len(rows), np.int64) for rows in (left, right)]
    for i in range(0, len(left), ROWS):
        part = directions(vectors[left[i : i + ROWS]], mean)
        for j in range(0, len(right), COLUMNS):
            cosines = part @ directions(vectors[right[j : j + COLUMNS]], mean).T
            _better(best[0][i : i + ROWS], place[0][i : i + ROWS], cosines, j)
            _better(best[1][j : j + COLUMNS], place[1][j : j + COLUMNS], cosines.T, i)
    pairs = np.concatenate([np.stack([left, right[place[0]]], 1), np.stack([left[place[1]], right], 1)])
    return pairs, np.concatenate(best).astype(np.float64)


def _better(best: NDArray[np.float32], place: Rows, cosines: NDArray[np.float32], start: int) -> None:
    """Take for each row what is nearer than the best so far; columns count from `start`."""
    columns = cosines.argmax(1)
    largest = np.take_along_axis(cosines, columns[:, None], 1)[:, 0]
    nearer = largest > best
    best[nearer], place[nearer] = largest[nearer], columns[nearer] + start


def unlike_the_rest(p_values: NDArray[np.float64]) -> Rows:
    """(M,) rows of pictures unlike the rest, the strangest first, of p-values (N,).

    As many as Benjamini and Hochberg (1995) allow: at most 5 % of those listed belong to the rest, on average. It
    holds for the p-values of one calibration too (Bates et al. 2023). A p-value of n pictures is at least
    1 / (n + 1), so one strange picture among N is listed only where n is at least 20 N.
    """
    order = np.argsort(p_values, kind="stable")
    allowed = FALSE_SHARE * np.arange(1, len(order) + 1) / max(len(order), 1)
    passed = np.flatnonzero(p_values[order] <= allowed)
    return order[: passed[-1] + 1] if len(passed) else order[:0]
