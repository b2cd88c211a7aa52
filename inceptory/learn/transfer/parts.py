"""Which pictures fit the head, which choose its strength, and which only measure and calibrate it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels, per_class, stratified
from inceptory.data.sources.source import Source
from inceptory.errors import ConfigError, DataError

FEW = 1000
"""Training pictures below which parts are taken in turns instead of held out once."""
FOLDS = 5
CALIBRATION = 0.1
"""Share of each class in the calibration part, where one is held out."""


@dataclass(frozen=True)
class Parts:
    """Rows of the vectors of training and validation pictures, one after the other."""

    fit: NDArray[np.int64]
    """Of those the head is fitted on."""
    choose: NDArray[np.int64]
    """That choose its strength; empty where parts take turns."""
    calibrate: NDArray[np.int64]
    """That had no part in either; empty where parts take turns."""
    folds: int
    """Parts that take turns; 0 where they are held out once."""


def parted(labels: Labels, of_training: int, seed: int, once: bool = False) -> Parts:
    """The parts of (n,) or (n, K) labels, of which the first `of_training` are of the training split.

    The seed chooses the calibration part. Few pictures take turns, unless they must be held out `once`.
    """
    every = np.arange(len(labels))
    if len(labels) < FEW and not once:
        largest = int(per_class(labels).max()) if labels.ndim == 1 else len(labels)
        return Parts(every, every[:0], every[:0], max(min(FOLDS, largest), 2))
    held = stratified(labels[:of_training], CALIBRATION, seed + 1)
    return Parts(np.flatnonzero(~held), every[of_training:], np.flatnonzero(held), 0)


def check_classes(source: Source, labels: Labels) -> list[str]:
    """Notes on classes with one readable picture; raises for too few classes or pictures.

    `labels` are those of the readable training and validation pictures.
    """
    if len(source.classes) < 2 and not source.multi_label:
        raise ConfigError(f"{source.name}: one class only, {source.classes[0]!r} (give pictures of at least two)")
    counts = per_class(labels, len(source.classes))
    for name, count in zip(source.classes, counts.tolist(), strict=True):
        if not count and not source.multi_label:
            raise DataError(f"{source.name}: class {name!r} has no readable picture (add some, or remove the class)")
    if counts.max(initial=0) < 2:
        raise ConfigError(f"{source.name}: no class has two pictures, so nothing can be held back (add pictures)")
    alone = [name for name, count in zip(source.classes, counts.tolist(), strict=True) if count == 1]
    return [f"one picture only, which is never held back: {', '.join(map(repr, alone[:5]))}"] * bool(alone)


def require_every_class(source: Source, labels: Labels) -> None:
    """Raise DataError for a class without a picture among the labels that a head is fitted on: it would have no logit.

    Of several classes a picture, one that no picture shows is answered with no.
    """
    if source.multi_label:
        return
    for name, count in zip(source.classes, per_class(labels, len(source.classes)).tolist(), strict=True):
        if not count:
            raise DataError(f"{source.name}: class {name!r} has no training picture (add some, or remove the class)")
