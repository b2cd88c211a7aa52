"""The strength of a head, chosen by pictures that are held back once, or by parts that take turns. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels
from inceptory.errors import DataError
from inceptory.learn.transfer.head import STRENGTHS, Folded, cross_validated, path
from inceptory.learn.transfer.parts import Parts


@dataclass(frozen=True)
class Choice:
    """A strength, and what spoke for it."""

    strength: float
    tried: tuple[tuple[float, float], ...]
    """(strength, mean log-loss on pictures held back) of every one."""
    folded: Folded | None
    """The answers of the parts that took turns; None where one was held out."""


def chosen(
    vectors: NDArray[np.float32],
    labels: Labels,
    parts: Parts,
    seed: int,
    balanced: bool = False,
    strengths: Sequence[float] = STRENGTHS,
) -> Choice:
    """The strength of the smallest log-loss on pictures held back. `vectors` is (n, views, length)."""
    if parts.folds:
        folded = cross_validated(vectors, labels, parts.folds, seed, balanced, strengths)
        tried = zip(folded.strengths, folded.losses.tolist(), strict=True)
        return Choice(folded.strength, tuple(tried), folded)
    held = vectors[parts.choose, 0], labels[parts.choose]
    every = list(path(vectors[parts.fit], labels[parts.fit], *held, balanced, strengths))
    best = min(every, key=lambda one: one.metrics.log_loss)
    return Choice(best.strength, tuple((one.strength, one.metrics.log_loss) for one in every), None)


def require_varied(vectors: NDArray[np.float32], model: Path) -> None:
    """Raise DataError where all (n, views, length) vectors are the same: nothing can be learnt from them."""
    if not np.ptp(vectors[:, 0], axis=0).any():
        raise DataError(f"{model}: gives every picture the same vector (take other weights, or another --image)")
