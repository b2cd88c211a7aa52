"""What scikit-learn hands over, X and y, as pictures and labels; every fault of theirs in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.arrays import pixels_in
from inceptory.data.sources.built_in import Pixels
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.sequences import Numbered, Texts, paths
from inceptory.data.sources.source import Split
from inceptory.errors import DataError, InceptoryError
from inceptory.features.extract import Extractor
from inceptory.system.files import is_file

GIVE = "give a list of paths, or an array (N, H, W, 3) or (N, H, W) of uint8"
UNLABELLED = -1


class InputError(DataError, ValueError):
    """X or y is not what it must be.

    Also a ValueError, for that is scikit-learn's contract: its own tools and people's code catch ValueError where
    an estimator refuses data. Faults of weights, disk and settings are no X, and remain what they are elsewhere.
    """


@contextmanager
def as_input_errors() -> Iterator[None]:
    """What other rooms find wrong in X and y, as an InputError; words stay."""
    try:
        yield
    except InceptoryError as fault:
        raise InputError(str(fault)) from None


def pictures_in(X: Any) -> Split:  # noqa: N803
    """The pictures of X, each of the class -1. Raises InputError."""
    if isinstance(X, str | bytes | os.PathLike):
        raise InputError(f"X: one path, not a list of them ({GIVE})")
    given = list(X) if isinstance(X, list | tuple) else X
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(first, str | os.PathLike) or (not isinstance(given, list) and np.ndim(given) == 1):
        return _files(list(given))
    if isinstance(given, list) and not given:
        raise InputError(f"X: no pictures ({GIVE})")
    with as_input_errors():
        pixels = pixels_in("X", given)
    return Split(Pixels(pixels), np.full(len(pixels), UNLABELLED), Numbered(["X"], [len(pixels)]))


def _files(given: list[Any]) -> Split:
    """Files by their paths, all of which are there."""
    if not given:
        raise InputError(f"X: no pictures ({GIVE})")
    for row, one in enumerate(given):
        if not isinstance(one, str | os.PathLike):
            raise InputError(f"X: row {row} is of type {type(one).__name__}, not a path ({GIVE})")
    names = Texts("", (str(Path(one)) for one in given))
    absent = next((name for name in names if not is_file(name)), None)
    if absent is not None:
        raise InputError(f"{absent}: no such file (X is a list of paths; check this one)")
    return Split(paths(names), np.full(len(given), UNLABELLED), names)


def size_of(split: Split) -> int | None:
    """Numbers in a picture of an array; None for files, each of which has a size of its own."""
    first = split.pictures[0]
    return first.size if isinstance(first, np.ndarray) else None


def vectors_of(extractor: Extractor, split: Split, views: int = 1) -> NDArray[np.float32]:
    """(n, views, length) of all pictures. Raises InputError for one that cannot be read: each row has an answer."""
    with as_input_errors():
        vectors = extractor.split(split, "X", views)
    if vectors.faults:
        raise InputError(vectors.faults[0])
    return vectors.values


def labels_in(y: Any, count: int) -> tuple[NDArray[Any], Labels]:
    """(classes, the labels of so many pictures by their places in these, or an indicator matrix (n, K)).

    Raises InputError.
    """
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import column_or_1d

    if y is None:
        raise InputError("y: is None, but fit requires y to be passed, but the target y is None (give a label each)")
    labels: Labels
    try:
        check_classification_targets(y)
        several = type_of_target(y, input_name="y") == "multilabel-indicator"
        array = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if several:
            classes, labels = np.arange(array.shape[1]), array.astype(np.uint8)
        else:
            classes, labels = np.unique(column_or_1d(array, warn=True), return_inverse=True)
    except (ValueError, TypeError) as fault:
        raise InputError(f"y: {fault}") from None
    if len(labels) != count:
        raise InputError(f"X and y: {count:,} pictures and {len(labels):,} labels (give as many)")
    return classes, labels
