"""A linear head on vectors: logistic regression, its strength chosen along a path. No torch.

The head makes mean log-loss + strength / 2 * |weights|^2 small, on vectors brought to mean 0 and deviation 1; that
scaling is folded into the weights afterwards. The optimum is unique, so neither order nor start matters. Where there
are fewer vectors than numbers in each, the problem is turned into the space that the vectors span, which changes
nothing about the optimum and is as much smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels
from inceptory.learn.transfer.logistic import Logistic
from inceptory.measure.results import Metrics
from inceptory.measure.tasks import task_of
from inceptory.system.machine import calm

STRENGTHS = tuple(float(f"{10.0 ** (-half / 2):.3g}") for half in range(13))
"""1 to 1e-6 by half decades, the strongest first: each fit starts from the one before."""
PATIENCE = 3
"""Strengths without a smaller log-loss after which the path ends."""
EXACT = 2**24
"""Numbers up to which the fit is in 64 bits; more are fitted in 32, in half the time."""
TOLERANCE = 1e-5
"""Largest gradient of the mean loss at which a fit on the path has arrived."""
ARRIVED = 1e-4
"""The same of the head that is kept, as a share of the strength: about how far its weights are from the optimum."""


@dataclass(frozen=True)
class Linear:
    """From vectors to logits, with all scaling inside."""

    weight: NDArray[np.float64]
    """(K, length)."""
    bias: NDArray[np.float64]
    """(K,)."""

    def __call__(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(n, K) logits of (n, length) vectors."""
        logits: NDArray[np.float64] = vectors @ self.weight.T + self.bias
        return logits


@dataclass(frozen=True)
class Tried:
    """One strength on the path."""

    strength: float
    head: Linear
    training: float
    """Mean log-loss on the pictures that it was fitted on."""
    metrics: Metrics
    """On pictures that it was not fitted on."""
    logits: NDArray[np.float64]
    """Of those."""


class Fitter:
    """Vectors made ready for fits of several strengths, each of which starts from the one before."""

    def __init__(self, vectors: NDArray[np.float32], labels: Labels, balanced: bool = False) -> None:
        """`vectors` is (n, views, length), each view weighing the views-th part of a picture; `labels` (n,), or (n, K)
        where a picture may show several classes; every class has a picture. `balanced` weighs classes against their
        numbers of pictures.
        """
        count, views, length = vectors.shape
        flat = vectors.reshape(count * views, length)
        kind = np.float64 if flat.size <= EXACT else np.float32
        self._mean, deviation = flat.mean(0, dtype=np.float64), flat.std(0, dtype=np.float64)
        # A number that never changes tells nothing, and is left alone.
        self._scale = np.where(deviation > 1e-12, deviation, 1.0)
        scaled = ((flat - self._mean) / self._scale).astype(kind)
        self._basis = None
        if len(scaled) < length:
            with calm(scaled.size):
                self._basis, triangle = np.linalg.qr(scaled.T)
            scaled = np.ascontiguousarray(triangle.T)
        self._scaled = scaled
        self._several, self._count = labels.ndim == 2, count
        columns = list(labels.T) if self._several else [labels]
        self._problems = [self._problem(np.repeat(column, views), balanced) for column in columns]

    def _problem(self, labels: Labels, balanced: bool) -> Logistic | float:
        """What is fitted: all classes, or one against its absence; its logit where every picture shows it, or none."""
        present, numbers = np.unique(labels, return_inverse=True)
        if len(present) == 1:
            # There is nothing to tell apart, and Laplace's rule says how sure that is.
            return float(np.log(self._count + 1.0) * (1 if present[0] else -1))
        weights = np.full(len(labels), 1 / len(labels))
        if balanced:
            weights = 1 / (len(present) * np.bincount(numbers))[numbers]
        return Logistic(self._scaled, numbers, weights)

    def fit(self, strength: float, tolerance: float = TOLERANCE) -> Linear:
        """The head of this strength."""
        heads = [self._fitted(problem, strength, tolerance) for problem in self._problems]
        if not self._several:
            return heads[0]
        return Linear(np.concatenate([one.weight for one in heads]), np.concatenate([one.bias for one in heads]))

    def square(self, head: Linear) -> float:
        """The sum of squares that a fit holds small: of the weights before the scaling was folded in."""
        return float(((head.weight * self._scale) ** 2).sum())

    def _fitted(self, problem: Logistic | float, strength: float, tolerance: float) -> Linear:
        """One problem's head, of the vectors as they were."""
        if not isinstance(problem, Logistic):
            return Linear(np.zeros((1, len(self._mean))), np.array([problem]))
        with calm(self._scaled.size):
            coefficients, intercept = problem.fit(strength, tolerance)
        if self._basis is not None:
            coefficients = coefficients @ self._basis.T
        coefficients = coefficients / self._scale
        intercept = intercept - coefficients @ self._mean
        if not self._several and problem.logits == 1:
            coefficients, intercept = np.stack([0 * coefficients[0], coefficients[0]]), np.array([0.0, intercept[0]])
        return Linear(coefficients, intercept)


def path(
    vectors: NDArray[np.float32],
    labels: Labels,
    held: NDArray[np.float32],
    truth: Labels,
    balanced: bool = False,
    strengths: Sequence[float] = STRENGTHS,
    patience: int = PATIENCE,
) -> Iterator[Tried]:
    """One strength after another, until the log-loss on the (m, length) vectors held back no longer falls.

    `vectors` (n, views, length) and `labels` are what the heads are fitted on.
    """
    task = task_of(labels.ndim == 2)
    fitter, losses = Fitter(vectors, labels, balanced), list[float]()
    for strength in strengths:
        head = fitter.fit(strength)
        logits = head(held)
        training = task.measure(head(vectors[:, 0]), labels).log_loss
        tried = Tried(strength, head, training, task.measure(logits, truth), logits)
        losses.append(tried.metrics.log_loss)
        yield tried
        if len(losses) - 1 - int(np.argmin(losses)) >= patience:
            return


def folds(labels: Labels, count: int, seed: int) -> NDArray[np.int64]:
    """(n,) the part in which each picture is held back, each class dealt evenly; -1: the only picture of its class,
    which is never held back."""
    chance = np.random.default_rng(seed)
    groups = labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    part, dealt = np.full(len(labels), -1, dtype=np.int64), 0
    for group in np.unique(groups):
        rows = chance.permutation(np.flatnonzero(groups == group))
        if len(rows) == 1 and labels.ndim == 1:
            continue
        part[rows] = (np.arange(len(rows)) + dealt) % count
        dealt += len(rows)
    return part


@dataclass(frozen=True)
class Folded:
    """A path over several parts: every picture is answered by heads that were fitted without it."""

    strengths: tuple[float, ...]
    losses: NDArray[np.float64]
    """(strengths,) mean log-loss over all pictures that were held back once."""
    strength: float
    """Of the smallest."""
    logits: NDArray[np.float64]
    """(n, K) of each picture, by a head that neither saw it nor was chosen by it; NaN where it was never held back."""
    part: NDArray[np.int64]
    """(n,) as `folds` gave it."""


def cross_validated(
    vectors: NDArray[np.float32],
    labels: Labels,
    count: int,
    seed: int,
    balanced: bool = False,
    strengths: Sequence[float] = STRENGTHS,
) -> Folded:
    """`count` paths, each on all parts but one, and the strength that the parts held back choose.

    The strength by which a part is answered is chosen by the losses of the others, so that its answers measure and
    calibrate honestly.
    """
    part = folds(labels, count, seed)
    classes = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    every = np.full((len(strengths), len(labels), classes), np.nan)
    losses, sizes = np.zeros((count, len(strengths))), np.zeros(count)
    for number in range(count):
        kept, held = part != number, part == number
        rest = (vectors[held, 0], labels[held])
        tried = path(vectors[kept], labels[kept], *rest, balanced, strengths, len(strengths))
        sizes[number] = held.sum()
        for place, one in enumerate(tried):
            every[place, held], losses[number, place] = one.logits, one.metrics.log_loss
    summed = losses * sizes[:, None]
    logits = np.full((len(labels), classes), np.nan)
    for number in range(count):
        best = int((summed.sum(0) - summed[number]).argmin())
        logits[part == number] = every[best, part == number]
    total: NDArray[np.float64] = summed.sum(0) / sizes.sum()
    return Folded(tuple(strengths), total, strengths[int(total.argmin())], logits, part)
