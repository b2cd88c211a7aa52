"""What the vectors of pictures say of a network's answers: which pictures are near, and how all lie in a plane.

Plain arrays, without torch. Where vectors come from is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from inceptory.data.sources.labels import Labels

Rows = NDArray[np.int64]
NEAREST = 3
"""Pictures that are shown beside a mistake."""
DRAWN = 2000
"""Pictures up to which all are drawn in the plane or searched; of more these are chosen by a seed."""


@dataclass(frozen=True)
class Neighbour:
    """A training picture near another picture."""

    name: str
    """Where it is."""
    label: str
    similarity: float
    """Cosine of the two vectors, from -1 to 1."""
    pixels: NDArray[np.uint8]
    """(H, W, C) as prepared for the network, before standardising."""

    @property
    def file(self) -> str:
        """Its name without the folders."""
        return PurePath(self.name).name or self.name


@dataclass(frozen=True)
class Reason:
    """What a wrong answer rests on."""

    heat: NDArray[np.float32]
    """(H, W), from 0 on: where in the picture something speaks for the answer (Grad-CAM)."""
    neighbours: tuple[Neighbour, ...]
    """The nearest training pictures, nearest first."""


@dataclass(frozen=True)
class Plane:
    """Pictures as points in two dimensions."""

    points: NDArray[np.float64]
    """(n, 2)."""
    shares: tuple[float, float]
    """Of the variance, along each axis."""
    labels: Rows
    """(n,) the truth."""
    wrong: NDArray[np.bool_]
    """(n,) which were answered incorrectly."""
    of: int
    """Pictures that were measured, of which these are some or all."""


@dataclass(frozen=True)
class Insight:
    """What a finished network's answers rest on."""

    reasons: Sequence[Reason] = ()
    """Of the most confident mistakes, in their order; there may be fewer than mistakes."""
    stage: str = ""
    """After which the heat was taken."""
    searched: int = 0
    """Training pictures among which the nearest were looked for."""
    of: int = 0
    """Training pictures."""
    plane: Plane | None = None
    """None where the vectors say nothing."""


NOTHING = Insight()
"""Nothing was looked into."""


@dataclass(frozen=True)
class Gallery:
    """Pictures with their vectors, among which the nearest are looked for."""

    vectors: NDArray[np.float32]
    """(n, length)."""
    labels: Labels
    """(n,)."""
    names: Sequence[str]
    """(n,) where each is."""
    pixels: Callable[[list[int]], NDArray[np.uint8]]
    """From rows of `vectors` to their pixels (m, H, W, C)."""
    of: int
    """Pictures from which these were taken, or all."""
    own: Rows | None = None
    """(N,) of the measured pictures: where each is among these, or -1; None where none is."""

    def neighbours(
        self, vectors: NDArray[np.float32], measured: Rows, classes: Sequence[str]
    ) -> list[tuple[Neighbour, ...]]:
        """The nearest of each of (m, length) vectors but itself; `classes` are the names of the labels.

        `measured` (m,) are the rows of these vectors' pictures among the measured ones.
        """
        if not len(self.vectors):
            return [()] * len(vectors)
        left_out = np.full(len(vectors), -1) if self.own is None else self.own[measured]
        rows, cosines = nearest(vectors, self.vectors, NEAREST, left_out)
        pictures = iter(self.pixels(rows.ravel().tolist()) if rows.size else ())
        return [
            tuple(
                Neighbour(self.names[row], classes[int(self.labels[row])], cosine, next(pictures))
                for row, cosine in zip(near, alike, strict=True)
            )
            for near, alike in zip(rows.tolist(), cosines.tolist(), strict=True)
        ]


def nearest(
    vectors: NDArray[np.float32], among: NDArray[np.float32], most: int, left_out: Rows
) -> tuple[Rows, NDArray[np.float32]]:
    """(rows (m, k) of `among` (n, length), cosines (m, k)) of the nearest to each of (m, length), nearest first.

    `left_out` (m,) is for each a row that does not count, or -1. k is `most`, or fewer where there are no more.
    """
    cosines = _directions(vectors) @ _directions(among).T
    excluded = np.flatnonzero(left_out >= 0)
    cosines[excluded, left_out[excluded]] = -np.inf
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, : min(most, len(among) - bool(len(excluded)))]
    return rows, np.take_along_axis(cosines, rows, axis=1)


def _directions(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same scaled to length 1; a vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def sampled(count: int, seed: int, most: int = DRAWN) -> Rows:
    """Rows in ascending order: all of so many, or `most` of them that the seed chooses."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def flattened(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], tuple[float, float]] | None:
    """(points (n, 2), shares of the variance) of (n, length) vectors along their first two principal components.

    None of fewer than three, or where they do not vary, or are no numbers. t-SNE would part classes more clearly, but
    takes 6 s for 1,000 vectors of 1,024 numbers and more than a minute for 10,000, and its bits change with the number
    of threads.

    By scipy, as scikit-learn takes a second to load.
    """
    from scipy.sparse.linalg import svds

    if min(vectors.shape) < 3 or not np.isfinite(vectors).all() or not np.ptp(vectors, axis=0).any():
        return None
    centred = vectors - vectors.mean(0, dtype=np.float64)
    # Its own start is drawn anew each time; the smaller one of two comes first.
    start = np.random.default_rng(0).normal(size=min(centred.shape))
    directions, lengths, _ = svds(centred, k=2, v0=start)
    directions, lengths = directions[:, ::-1], lengths[::-1]
    along, across = (lengths**2 / (centred**2).sum()).tolist()
    return directions * lengths, (along, across)
