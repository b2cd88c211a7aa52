"""Labelled pictures in arrays. What is handed over stays with this process: its threads prepare the pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inceptory.data.sources.built_in import Pixels
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.layout import words
from inceptory.data.sources.sequences import Numbered
from inceptory.data.sources.source import Source, Split, check_classes, numbered
from inceptory.errors import DataError, UsageError

WHOLE = 2**53
"""Below it every whole number has a fraction of its own."""
T = TypeVar("T")


def from_arrays(
    pictures: ArrayLike | Mapping[str, ArrayLike],
    labels: ArrayLike | Mapping[str, ArrayLike],
    *,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
) -> Source:
    """Labelled pictures out of arrays, for `train` and `evaluate`.

    `pictures` is (N, H, W) or (N, H, W, C), uint8, with 1 or 3 channels in the order RGB. `labels` is (N,) or
    (N, 1) numbers or names of classes, or (N, K) of 0 and 1: with one 1 in every row a picture has one of
    K classes, else it may show several, or none. For 1 may stand 1.0 or True. Both may be dicts with an
    array for each of train, validation, test; where there is no validation, `train` holds a part of the
    training out. Numbers mean places in `classes`; without it the labels themselves are the names. The
    fingerprint is made of all pixels, so a run can be resumed with equal arrays from anywhere:
    `train(data, resume="runs/x")`. Raises DataError.

        x, y = np.zeros((100, 32, 32, 3), np.uint8), np.arange(100) % 2
        inceptory.train((x, y), model="cifar_inception_v3", out="runs/x")
        inceptory.evaluate("runs/x", inceptory.from_arrays(x, y, classes=["cat", "dog"]))
    """
    pictures_of = pictures if isinstance(pictures, Mapping) else {"train": pictures}
    labels_of = labels if isinstance(labels, Mapping) else {"train": labels}
    if set(pictures_of) != set(labels_of):
        one, other = (sorted(map(str, words)) for words in (pictures_of, labels_of))
        raise DataError(f"{name}: splits {one} have pictures and {other} have labels (give both)")
    arrays = {split: pixels_in(f"{name}: {split}", array) for split, array in by_split(name, pictures_of).items()}
    cells = {split: _cells(f"{name}: {split}", array) for split, array in by_split(name, labels_of).items()}
    for split, array in arrays.items():
        if len(array) != len(cells[split]):
            raise DataError(
                f"{name}: {split} has {len(array):,} pictures and {len(cells[split]):,} labels (give as many)"
            )
    names, coded = _coded(name, cells, classes)
    content = hashlib.sha256()
    for split, array in sorted(arrays.items()):
        content.update(f"{split} {array.shape}".encode())
        for picture in array:
            content.update(np.ascontiguousarray(picture).data)
    splits = {
        split: Split(Pixels(array), coded[split], Numbered([f"{name}:{split}"], [len(array)]))
        for split, array in arrays.items()
    }
    return Source(name, names, splits, content=content.hexdigest())


def pixels_in(name: str, given: ArrayLike) -> NDArray[np.uint8]:
    """The array as (N, H, W) or (N, H, W, 3); raises DataError for what is no array of pictures."""
    array = _array(name, given, "pictures of different shapes (bring them to one size, or store them as files)")
    if array.dtype != np.uint8:
        raise DataError(f"{name}: pictures of type {array.dtype}, not uint8 (give levels from 0 to 255 as uint8)")
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)) or 0 in array.shape:
        raise DataError(f"{name}: pictures of shape {array.shape} (give (N, H, W), or (N, H, W, C) with C = 1 or 3)")
    return array


def _array(name: str, given: ArrayLike, uneven: str) -> NDArray[Any]:
    """What is given as an array; raises DataError, with `uneven` where its parts are of different sizes."""
    try:
        return np.asarray(given)
    except ValueError:
        raise DataError(f"{name}: {uneven}") from None
    except (TypeError, RuntimeError) as fault:  # a tensor on another device, or with a gradient
        raise DataError(f"{name}: cannot be read, {fault} (give arrays of numpy)") from None


def _cells(name: str, given: ArrayLike) -> NDArray[Any]:
    """Labels as whole numbers or as text: (N,), or (N, K) of 0 and 1."""
    remedy = "give (N,) whole numbers or names, or (N, K) of 0 and 1"
    array = _array(name, given, f"labels of different lengths ({remedy})")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and bool(((abs(array) < WHOLE) & (array % 1 == 0)).all())):
        array = array.astype(np.int64)
    several = array.ndim == 2 and array.dtype.kind in "iu" and bool(((array == 0) | (array == 1)).all())
    one = array.ndim == 1 and (
        array.dtype.kind in "iuU" or (array.dtype == object and all(isinstance(label, str) for label in array))
    )
    if not (one or several):
        problem = f"{name}: labels of type {array.dtype} and shape {array.shape}"
        raise DataError(f"{problem} ({remedy})")
    return array


def _coded(
    name: str, cells: Mapping[str, NDArray[Any]], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """(class names, the labels of each split by their numbers)."""
    if len({(array.ndim, array.dtype.kind in "UO", array.shape[1:]) for array in cells.values()}) > 1:
        raise DataError(f"{name}: its splits have labels of different kinds (make them agree)")
    first = next(iter(cells.values()))
    classes = None if classes is None else tuple(map(str, classes))
    if classes is not None and len(set(classes)) < len(classes):
        raise DataError(f"{name}: names a class twice (each class once)")
    if first.ndim == 2:
        names = tuple(map(str, range(first.shape[1]))) if classes is None else classes
        if len(names) != first.shape[1]:
            raise DataError(f"{name}: {len(names)} classes for labels of {first.shape[1]} columns (give as many)")
        check_classes(Path(name), names)
        if all(bool((array.sum(1) == 1).all()) for array in cells.values()):
            return names, {split: array.argmax(1).astype(np.int64) for split, array in cells.items()}
        return names, {split: array.astype(np.uint8) for split, array in cells.items()}
    named = first.dtype.kind in "UO" or classes is None
    if classes is None and first.dtype.kind == "i" and min(array.min() for array in cells.values()) < 0:
        raise DataError(f"{name}: negative labels (leave those rows out)")
    if classes is None:
        names, code = numbered(Path(name), (str(label) for array in cells.values() for label in np.unique(array)))
    else:
        names = classes
        check_classes(Path(name), names)
        code = {label: number for number, label in enumerate(names)}
    coded: dict[str, Labels] = {}
    for split, array in cells.items():
        unique, places = np.unique(array, return_inverse=True)
        numbers = [code.get(str(label), -1) if named else int(label) for label in unique]
        for label, number in zip(unique, numbers, strict=True):
            if not 0 <= number < len(names):
                raise DataError(
                    f"{name}: the label {label!s} of {split} is not one of the {len(names)} classes (fix it)"
                )
        coded[split] = np.asarray(numbers, dtype=np.int64)[places.reshape(-1)]
    return names, coded


def by_split(name: str, given: Mapping[Any, T]) -> dict[str, T]:
    """What a dict holds by the splits that its keys mean; raises UsageError for a key that means none, DataError."""
    parts: dict[str, T] = {}
    for word, one in given.items():
        splits = list(words(str(word)))
        if len(splits) != 1:
            raise UsageError(f"{word!r}: no name of a split (use train, validation or test)")
        if splits[0] in parts:
            keys = sorted(map(str, given))
            raise DataError(f"{name}: two of {keys} mean the same split (keep one of them)")
        parts[splits[0]] = one
    if not parts:
        raise DataError(f"{name}: an empty dict (give at least train)")
    return parts
