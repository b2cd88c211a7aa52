"""Pictures unlike anything in training: a distance in feature space, and how rare such a one is among pictures like it.

The distance is what the 32 main directions of the training vectors leave of a vector of length 1: the residual of a
principal component analysis ("Residual" in Wang et al. 2022). It needs no classes and is small for any number of them.
Over seven sets of vectors (benchmarks/README.md) its mean AUROC is 0.78, as Mahalanobis' of such vectors, and 0.51 of
the largest softmax. Relative Mahalanobis is 3 points better with good backbones, and mere chance with weak ones.

A picture counts as unlike the training pictures where its p-value is 1 % at most; where fewer than 99 were held out,
and no p-value is so small, where it is farther than all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inceptory.measure.calibration import check_scores, kept_scores

Vectors = NDArray[np.floating[Any]]
"""(N, D)."""

HALF = np.dtype("<f2")
"""16 bits, as they lie in a card on every machine."""
AXES = 32
"""Main directions at most; 16 do worse, 128 no better (benchmarks/novelty.py)."""
NUMBERS = 90_000
"""Of mean and directions together: 240 KB as base64 of 16 bits. Of vectors of 2,048 numbers all take 180 KB."""
BLOCK = 4_096
"""Vectors that are worked on at once."""
FARTHEST = 2.0
"""Above every distance between vectors of length 1 and a mean of such."""
NO_VARIANCE = 1e-6
"""Share of the largest variance up to which another is nothing but rounding of 32 bits; so is the largest itself up to
the square of this, of vectors of length 1."""
UNLIKE = 0.01
"""p-value up to which a picture counts as unlike those of the training: one in a hundred of those like them does."""


def directions(vectors: Vectors, origin: NDArray[np.float32] | float = 0.0) -> NDArray[np.float32]:
    """(N, D) vectors of length 1 from an origin (D,); a vector that is the origin stays 0."""
    away: NDArray[np.float32] = vectors.astype(np.float32) - origin
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    away /= np.where(lengths > 0, lengths, 1)
    return away


@dataclass(frozen=True, eq=False)
class Novelty:
    """How far pictures may be from those of the training."""

    mean: NDArray[np.float16]
    """(D,) of the training vectors, each of length 1."""
    axes: NDArray[np.float16]
    """(R, D) main directions of these, of length 1, at most 32: bounded for any number of classes."""
    n: int
    """Pictures held out of the training."""
    distances: tuple[float, ...]
    """Theirs, ascending; of more than 1,000 the ranks that `Calibration` keeps, so that no p-value is too small."""

    @classmethod
    def of(cls, vectors: Vectors, held_out: Vectors) -> Novelty:
        """From training vectors (N, D) and those (M, D) of pictures that took no part in the training.

        Raises ValueError without a picture of either.
        """
        if not len(vectors) or not len(held_out):
            raise ValueError("no picture to measure distances from")
        mean, axes = _main_directions(vectors)
        return cls._kept(mean, axes, _distances(held_out, mean, axes))

    @classmethod
    def cross_fitted(cls, vectors: Vectors, parts: NDArray[np.integer[Any]]) -> Novelty:
        """From training vectors (N, D) that all take part; those of `parts` (N,) from 0 on are held out in turn.

        The distances are those of each part from the mean and directions of all other vectors, so no picture is
        measured by what it took part in. Mean and directions that are kept are of all vectors: they know more pictures
        than those of the turns did, so further pictures are rather nearer, and p-values rather too large than too
        small. Raises ValueError where no part is held out, or where one is all there is.
        """
        turns = [parts == number for number in np.unique(parts[parts >= 0])]
        if not turns or any(turn.all() for turn in turns):
            raise ValueError("no picture to measure distances from")
        distances = [_distances(vectors[turn], *_main_directions(vectors[~turn])) for turn in turns]
        return cls._kept(*_main_directions(vectors), np.concatenate(distances))

    @classmethod
    def _kept(cls, mean: NDArray[np.float16], axes: NDArray[np.float16], distances: NDArray[np.float64]) -> Novelty:
        return cls(mean, axes, len(distances), kept_scores(np.minimum(distances, FARTHEST)))

    def distances_of(self, vectors: Vectors) -> NDArray[np.float64]:
        """(N,) distances of vectors (N, D); infinite where a vector is not finite."""
        return _distances(vectors, self.mean, self.axes)

    def p_values(self, vectors: Vectors) -> NDArray[np.float64]:
        """(N,) of vectors (N, D): (1 + held-out pictures at least as far) / (1 + held-out pictures).

        Of pictures like those held out a share p at most has a p-value up to p (conformal p-values; Bates et al. 2023).
        """
        below = np.searchsorted(self.distances, self.distances_of(vectors))
        nearer = -(-self.n * below // len(self.distances))
        found: NDArray[np.float64] = (1 + self.n - nearer) / (1 + self.n)
        return found

    def unlike(self, p_values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) whether pictures of p-values (N,) count as unlike those of the training."""
        return p_values <= max(UNLIKE, 1 / (1 + self.n))

    def to_json(self) -> dict[str, Any]:
        """Plain values, at most 256 KB as text."""
        plain = _Plain(self.mean.tobytes(), self.axes.tobytes(), self.n, list(self.distances))
        return dict(msgspec.to_builtins(plain))

    @classmethod
    def from_json(cls, plain: object) -> Novelty:
        """What `to_json` wrote; raises ValueError for a damaged one."""
        found = msgspec.convert(plain, _Plain)
        length = len(found.mean) // 2
        if not length or len(found.mean) % 2 or len(found.axes) % len(found.mean):
            raise ValueError(f"novelty: {len(found.axes)} bytes of directions for a mean of {len(found.mean)}")
        mean = np.frombuffer(found.mean, HALF)
        axes = np.frombuffer(found.axes, HALF).reshape(-1, length)
        if len(axes) > AXES:
            raise ValueError(f"novelty: {len(axes)} directions")
        if not (np.isfinite(mean).all() and np.isfinite(axes).all()):
            raise ValueError("novelty: a direction that is not finite")
        check_scores("novelty", found.distances, found.n, FARTHEST)
        return cls(mean, axes, found.n, tuple(found.distances))


class _Plain(msgspec.Struct):
    """As it lies in a card; bytes are little-endian 16-bit numbers, base64 in JSON."""

    mean: bytes
    axes: bytes
    n: int
    distances: list[float]


def _blocks(vectors: Vectors) -> Iterator[NDArray[np.float32]]:
    """All vectors by and by, of length 1."""
    return (directions(vectors[start : start + BLOCK]) for start in range(0, len(vectors), BLOCK))


def _main_directions(vectors: Vectors) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """(mean (D,), the R directions of largest variance (R, D)) of vectors brought to length 1.

    R is no more than half of the pictures, that something is left of them to be far from, and no direction is without
    variance.
    """
    from scipy.linalg import eigh

    n, length = vectors.shape
    most = min(AXES, n // 2, length // 2, max(NUMBERS // length - 1, 0))
    total, square = np.zeros(length), np.zeros((min(n, length),) * 2)
    if n < length:
        # The directions lie in the space that the vectors span, and are found there: of few pictures in no time.
        few = directions(vectors).astype(np.float64)
        total = few.sum(0)
        few -= total / n
        square = few @ few.T
    else:
        # From a point amid them, or 32 bits would lose the variance of vectors that are nearly alike.
        amid = directions(vectors[:BLOCK]).mean(0)
        for part in _blocks(vectors):
            part -= amid
            total += part.sum(0, dtype=np.float64)
            square += part.T @ part
        square -= np.outer(total, total) / n
        total += n * amid
    mean = (total / n).astype(HALF)
    if not most:
        return mean, np.empty((0, length), HALF)
    variances, columns = eigh(square, subset_by_index=(len(square) - most, len(square) - 1))
    whole = variances > NO_VARIANCE * max(variances[-1], NO_VARIANCE * n)
    main = columns[:, whole] if n >= length else few.T @ (columns[:, whole] / np.sqrt(variances[whole]))
    return mean, main.T.astype(HALF)


def _distances(vectors: Vectors, mean: NDArray[np.float16], axes: NDArray[np.float16]) -> NDArray[np.float64]:
    """(N,) lengths of what is left of vectors of length 1, less mean and directions."""
    found, start = np.full(len(vectors), np.inf), 0
    main = axes.astype(np.float32)
    with np.errstate(invalid="ignore"):
        for part in _blocks(vectors):
            part -= mean.astype(np.float32)
            part -= (part @ main.T) @ main
            found[start : start + len(part)] = np.linalg.norm(part, axis=1)
            start += len(part)
    found[np.isnan(found)] = np.inf
    return found
