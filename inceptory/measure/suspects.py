"""Pictures of a data set that want a look: probably mislabelled, twice in other parts, or unlike the rest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptory.measure.novelty import Novelty, Vectors, directions

Rows = NDArray[np.int64]

HEATS = 5 ** np.linspace(-1, 1, 25)
"""Temperatures that are tried, each 14 % above the one before."""
HEAT = 0.3
"""Deviation of the temperature's logarithm that is taken for likely beforehand: networks whose strength was chosen by
the log-loss are about as sure as they should be; of few pictures a wrong label would else pass for a hot network."""
HALVINGS = 30
FALSE_SHARE = 0.05
"""Of the pictures listed as unlike the rest, so many at most are like it, on average."""
NEAR = 0.1
"""Of the distance that is usual; a near duplicate is nearer than that."""
ALIKE = 1e-5
"""Distance up to which vectors are the same but for the arithmetic."""
BULK, NORMAL_BULK = 0.9, 1.2816
"""Share of the pictures that is surely like the rest, and how many deviations of a normal variable are above it."""
ROWS, COLUMNS = 1_024, 8_192
"""Of the products that are in memory at once: 32 MB."""


class LabelSuspects(NamedTuple):
    """Pictures that are probably under the wrong label."""

    rows: Rows
    """(M,) the likeliest first."""
    scores: NDArray[np.float64]
    """(M,) how probable it is that the label is wrong."""
    expected: int
    """Wrong labels in the whole set."""


def label_suspects(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> LabelSuspects:
    """Pictures probably under the wrong label (N,), by logits (N, K) of networks that did not see each picture.

    A label that was given with care is drawn from softmax(logits / T), one that was not from the shares of the labels
    in the set, and so is a share e of them: T and e are the likeliest, with T near 1 beforehand. It tells a hard
    picture, of which there are as many as the network says, from a wrong label, which it did not expect. The sum of
    the probabilities that labels are wrong is the number expected, and as many are listed, but none whose label is the
    likeliest class. A few labels that are all wrong in one way, such as three dogs among the cats of a small set, may
    pass for an overlap of the two classes.
    Confident learning (Northcutt, Jiang, Chuang 2021) takes a network's own mistakes for wrong labels: of 5,000
    pictures of CIFAR-10, of which a weak one names 75 % rightly, it calls 1,053 wrong, this two
    (benchmarks/README.md).
    """
    n, every = len(labels), np.arange(len(labels))
    prior = (np.bincount(labels, minlength=logits.shape[1]) / max(n, 1))[labels]
    own, share = _mixture(logits.astype(np.float64), labels, prior)
    # Given without care, and not right by chance.
    wrong = share * prior / ((1 - share) * own + share * prior) * (1 - own)
    expected = round(float(wrong.sum()))
    order = np.argsort(-wrong, kind="stable")[:expected]
    rows = order[logits[order].max(1) > logits[every, labels][order]]
    return LabelSuspects(rows, wrong[rows], expected)


def _mixture(
    logits: NDArray[np.float64], labels: NDArray[np.integer[Any]], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """((N,) probability of each label by softmax(logits / T), share of labels from `prior` (N,)), the likeliest."""
    gaps = logits - logits[np.arange(len(labels)), labels][:, None]
    best = (-np.inf, prior, 0.0)
    for heat in HEATS:
        own = np.maximum(np.exp(-np.logaddexp.reduce(gaps / heat, axis=1)), np.finfo(np.float64).tiny)
        share = _share(own, prior)
        likelihood = float(np.log((1 - share) * own + share * prior).sum()) - (np.log(heat) / HEAT) ** 2 / 2
        best = max(best, (likelihood, own, share), key=lambda one: one[0])
    return best[1:]


def _share(own: NDArray[np.float64], prior: NDArray[np.float64]) -> float:
    """The share of labels from `prior` that makes all likeliest: the sum of logarithms has one summit."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        rising = ((prior - own) / ((1 - share) * own + share * prior)).sum() > 0
        low, high = (share, high) if rising else (low, share)
    return low


class NearDuplicates(NamedTuple):
    """Pairs of pictures in different parts that are nearly the same to a network."""

    pairs: Rows
    """(M, 2) rows, the nearest first."""
    scores: NDArray[np.float64]
    """(M,) their cosines."""


def near_duplicates(vectors: Vectors, splits: NDArray[Any]) -> NearDuplicates:
    """Pairs across the parts `splits` (N,) whose vectors (N, D) are ten times nearer than is usual.

    Nearness is 1 - cosine of vectors less their mean, without which all pictures of a network are alike. Of each
    picture the nearest one in every other part is looked at, so a picture with copies is listed with each of them. The
    pair counts if it is ten times nearer than the median picture to its nearest, and than the second nearest one to
    this picture: where a network sees little difference between many pictures, none is a copy for being near. Vectors
    that are equal but for the arithmetic always count.
    Of 200 CIFAR-10 pictures saved once more as JPEG of quality 75 a small backbone finds 191 among 4,000, and of 4,000
    and 1,000 without copies it lists 3 pairs (370 without the second nearest); few copies that were cropped, made
    brighter or turned over does it know again (benchmarks/README.md).
    Blocks of 1,024 x 8,192 products are in memory at once, and vectors may lie on disk (np.memmap).
    """
    mean: NDArray[np.float32] = np.asarray(vectors.mean(axis=0, dtype=np.float64), dtype=np.float32)
    near = [_nearest(vectors, mean, *rows) for rows in _parts(splits)]
    if not near:
        return NearDuplicates(np.empty((0, 2), np.int64), np.empty(0))
    pairs, cosines = (np.concatenate(parts) for parts in zip(*near, strict=True))
    nearest, second = (1 - cosines).T
    usual = np.minimum(np.median(nearest), second)
    kept = nearest <= np.maximum(NEAR * usual, ALIKE)
    pairs, places = np.unique(np.sort(pairs[kept], axis=1), axis=0, return_index=True)
    scores = cosines[kept, 0][places]
    order = np.argsort(-scores, kind="stable")
    return NearDuplicates(pairs[order], scores[order])


def _parts(splits: NDArray[Any]) -> Iterator[tuple[Rows, Rows]]:
    """The rows of every two parts."""
    names = np.unique(splits)
    return combinations((np.flatnonzero(splits == name) for name in names), 2)


def _nearest(vectors: Vectors, mean: NDArray[np.float32], left: Rows, right: Rows) -> tuple[Rows, NDArray[np.float64]]:
    """(pairs (M, 2), cosines (M, 2)) of each picture with its nearest in the other part, from both sides; the second
    cosine is that of the second nearest, and minus infinity where there is none."""
    best = [np.full((len(rows), 2), -np.inf, np.float32) for rows in (left, right)]
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
    """Take for each row what is nearer than the two best so far; columns count from `start`."""
    columns = cosines.argmax(1)
    largest = np.take_along_axis(cosines, columns[:, None], 1)
    place[:] = np.where(largest[:, 0] > best[:, 0], columns + start, place)
    two = np.partition(cosines, -2, axis=1)[:, -2:] if cosines.shape[1] > 1 else largest
    best[:] = np.sort(np.concatenate([best, two], 1), axis=1)[:, :-3:-1]


def strangeness(vectors: Vectors, part: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) how many deviations farther than the median each picture is, of vectors (N, D) in parts (N,).

    The distance is that of `Novelty` from the pictures of all other parts; at least two parts are wanted. Its logarithm
    is taken for normal, and the deviation is the one that its 90 % quantile tells, so that a tenth of the pictures may
    be strange and widen nothing: a rank among the same pictures is never rare. Where the upper tail is heavier more
    are far away than this says: of 4,000 CIFAR-10 pictures by a small backbone none is listed, of 1,438 digits ten
    (benchmarks/README.md). 0 where nothing varies.
    """
    distances = np.empty(len(vectors))
    for number in np.unique(part):
        held = vectors[part == number]
        distances[part == number] = Novelty.of(vectors[part != number], held).distances_of(held)
    logs = np.log(np.maximum(distances, ALIKE))
    median, bulk = np.quantile(logs, [0.5, BULK])
    away: NDArray[np.float64] = (logs - median) * (NORMAL_BULK / (bulk - median) if bulk > median else 0.0)
    return away


def unlike_the_rest(p_values: NDArray[np.float64]) -> Rows:
    """(M,) rows of pictures unlike the rest, the strangest first, of p-values (N,).

    As many as Benjamini and Hochberg (1995) allow: at most 5 % of those listed belong to the rest, on average. It
    holds for the p-values of one calibration too (Bates et al. 2023). A p-value of n pictures is at least
    1 / (n + 1), so one strange picture among N is listed only where n is at least 20 N; for pictures of one set take
    the normal p-values of `strangeness`.
    """
    order = np.argsort(p_values, kind="stable")
    allowed = FALSE_SHARE * np.arange(1, len(order) + 1) / max(len(order), 1)
    passed = np.flatnonzero(p_values[order] <= allowed)
    return order[: passed[-1] + 1] if len(passed) else order[:0]
