"""Labelled pictures in data sets with the interface of Hugging Face's, which need not be installed.

What is handed over stays with this process: it is decoded by its threads and sent to no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inceptory.data.picture.decode import Picture, pixels_of
from inceptory.data.sources.arrays import by_split, pixels_in
from inceptory.data.sources.labels import HIDDEN, IN_LISTS, Cell, Labels, cell_of, hides, several_hot
from inceptory.data.sources.sequences import Frozen, Numbered
from inceptory.data.sources.source import Source, Split, check_classes, numbered
from inceptory.errors import DataError, InceptoryError, MissingError, UsageError
from inceptory.system.files import is_file, read

IMAGES = ("image", "img", "picture", "photo", "pixels")
LABELS = ("label", "labels", "class", "target", "fine_label")
UNSTREAMED = "load it with streaming=False, or give some of it: Dataset.from_list(list(data.take(10_000)))"
LOOKED_AT = 1000
"""Pictures of a data set whose contents are part of its fingerprint; of arrays all are."""


def from_dataset(dataset: Any, *, image: str | None = None, label: str | None = None, name: str = "dataset") -> Source:
    """Labelled pictures out of a Hugging Face Dataset, or of a DatasetDict or dict of them by split.

    Anything with `column_names`, `features`, a length, and items by number and column will do. `image` and
    `label` name the columns; without them the first of the features Image and ClassLabel count, then
    usual names. A sequence of ClassLabel makes it multi-label. Rows whose label is hidden (None, or -1
    where that cannot be a class) are left out, and said in `notes`. The fingerprint is made of all labels
    and the contents of up to 1,000 pictures of each split. Raises DataError, UsageError for a stream without a length.

        found = datasets.load_dataset("cifar10")
        inceptory.train(found, model="cifar_inception_v3", out="runs/x")
    """
    every = dataset if isinstance(dataset, Mapping) else {"train": dataset}
    parts = by_split(name, every)
    for word, part in parts.items():
        if not hasattr(part, "column_names"):
            kind = f"of the type {type(part).__name__} and no data set"
            raise UsageError(f"{name}: {word} is {kind} (give a Dataset, or arrays to from_arrays)")
        if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
            raise UsageError(f"{name}: {word} is a stream, which has no length ({UNSTREAMED})")
    columns = {split: _columns(f"{name}: {split}", part, image, label) for split, part in parts.items()}
    named = {_names(part, columns[split][1]) for split, part in parts.items()}
    if len(named) > 1:
        raise DataError(f"{name}: one of its splits names other classes than the rest (make them agree)")
    names = named.pop()
    cells = {split: _cells(f"{name}: {split}", part, columns[split][1]) for split, part in parts.items()}
    cells = _without_hidden(name, cells, named=names is not None)
    classes, coded = _classes(name, names, cells)
    notes, splits, content = [IN_LISTS] if next(iter(coded.values())).ndim == 2 else [], {}, hashlib.sha256()
    for split, part in parts.items():
        labelled = np.flatnonzero([label is not None for label in cells[split]])
        if hidden := len(part) - len(labelled):
            notes.append(f"{name}: {hidden:,} of {len(part):,} labels of {split} are hidden, those rows are left out")
        if not len(labelled):
            continue
        rows = Rows(part, columns[split][0], f"{name}:{split}")
        whole = Split(rows, coded[split], Numbered([f"{name}:{split}"], [len(part)]))
        splits[split] = whole.take(labelled) if hidden else whole
        content.update(_content(splits[split]))
    return Source(name, classes, splits, tuple(notes), content.hexdigest())


class Rows(Frozen[Picture]):
    """The pictures of one column: encoded where the data set gives bytes or a path, else pixels."""

    LOCAL = True

    def __init__(self, dataset: Any, column: str, name: str) -> None:
        self._column, self._name = column, name
        feature = _feature(dataset, column)
        if hasattr(dataset, "with_format"):
            dataset = dataset.with_format(None)
        if hasattr(dataset, "select_columns"):
            dataset = dataset.select_columns([column])
        if type(feature).__name__ == "Image" and hasattr(dataset, "cast_column"):
            # As it is stored: decoding is ours, and so are its limits and its messages.
            dataset = dataset.cast_column(column, type(feature)(decode=False))
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def item(self, row: int) -> Picture:
        """The bytes of a file, or pixels; raises DataError or MissingError."""
        value, name = self._dataset[row][self._column], f"{self._name}:{row}"
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            if not is_file(value):
                raise MissingError(f"{name}: names {value}, which is not there (embed the pictures in the data set)")
            return read(Path(value))
        if isinstance(value, bytes):
            return value
        if isinstance(value, Image.Image):
            return pixels_of(value, name)
        if value is None:
            raise DataError(f"{name}: holds no picture (remove the row)")
        pixels: NDArray[np.uint8] = pixels_in(name, np.asarray(value)[None])[0]
        return pixels


def _columns(name: str, dataset: Any, image: str | None, label: str | None) -> tuple[str, str]:
    """(image column, label column)."""
    present = list(dataset.column_names)
    for column in filter(None, (image, label)):
        if column not in present:
            raise UsageError(f"{name} has no column {column!r} (it has {', '.join(present)})")
    kinds = {column: _kind(_feature(dataset, column)) for column in present}
    images = [column for column in present if kinds[column] == "Image"]
    images += [column for column in present if column.lower() in IMAGES]
    labels = [column for column in present if kinds[column] == "ClassLabel"]
    labels += [column for column in present if column.lower() in LABELS]
    if not (image or images) or not (label or labels):
        raise DataError(f"{name}: no image and label columns among {present} (name them: from_dataset(image=, label=))")
    return image or images[0], label or labels[0]


def _feature(dataset: Any, column: str) -> Any:
    """What a data set says of a column; None where it says nothing."""
    return (dataset.features or {}).get(column)


def _inner(feature: Any) -> Any:
    """What a sequence is of; None for what is no sequence."""
    return feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)


def _kind(feature: Any) -> str:
    """The name of a feature's type, or of what it is a sequence of."""
    inner = _inner(feature)
    return type(feature if inner is None else inner).__name__


def _names(dataset: Any, column: str) -> tuple[str, ...] | None:
    """The names of classes, where the feature has them."""
    feature = _feature(dataset, column)
    inner = _inner(feature)
    names = getattr(feature if inner is None else inner, "names", None)
    return None if names is None else tuple(map(str, names))


def _cells(name: str, dataset: Any, column: str) -> list[Cell | None]:
    """The label of each row; raises DataError."""
    # Of a data set in another format the column comes as its arrays.
    labels = (dataset.with_format(None) if hasattr(dataset, "with_format") else dataset)[column]
    cells: list[Cell | None] = []
    for row, label in enumerate(labels):
        try:
            cells.append(cell_of(label))
        except ValueError as fault:
            raise DataError(f"{name}: row {row} {fault}") from None
    return cells


def _each(cells: Iterable[Cell | None]) -> set[int | str]:
    """All labels that occur, those of lists one by one."""
    present = {cell for cell in cells if cell is not None}
    return {one for cell in present for one in (cell if isinstance(cell, tuple) else (cell,))}


def _without_hidden(name: str, labels: dict[str, list[Cell | None]], *, named: bool) -> dict[str, list[Cell | None]]:
    """The same with None for every label that is hidden; raises DataError where all are."""
    if hides(map(_each, labels.values()), named=named):
        hidden = (HIDDEN, (HIDDEN,))
        labels = {split: [None if cell in hidden else cell for cell in cells] for split, cells in labels.items()}
    if all(cell is None for cells in labels.values() for cell in cells):
        raise DataError(f"{name}: every label is hidden, None or {HIDDEN} (give pictures with labels)")
    return labels


def _classes(
    name: str, names: tuple[str, ...] | None, labels: Mapping[str, Sequence[Cell | None]]
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """(class names, labels of each split by number; those of hidden rows mean nothing)."""
    several = any(isinstance(cell, tuple) for cells in labels.values() for cell in cells)
    each = set[int | str]().union(*map(_each, labels.values()))
    if names is None:
        classes, code = numbered(Path(name), map(str, each))
    else:
        classes, code = names, {word: number for number, word in enumerate(names)}
        check_classes(Path(name), classes)
    numbers = {
        one: code.get(one, -1) if isinstance(one, str) else int(one) if names else code[str(one)] for one in each
    }
    for one, number in numbers.items():
        if not 0 <= number < len(classes):
            raise DataError(f"{name}: the label {one!r} is not one of its {len(classes)} classes (fix it)")
    coded: dict[str, Labels] = {}
    for split, cells in labels.items():
        if several:
            sets = [cell if isinstance(cell, tuple) else () if cell is None else (cell,) for cell in cells]
            coded[split] = several_hot([[numbers[one] for one in row] for row in sets], len(classes))
        else:
            single = (0 if cell is None or isinstance(cell, tuple) else numbers[cell] for cell in cells)
            coded[split] = np.fromiter(single, np.int64, len(cells))
    return classes, coded


def _content(split: Split) -> bytes:
    """sha256 of evenly spaced pictures; one that cannot be read counts by its message."""
    digest = hashlib.sha256()
    for row in np.unique(np.linspace(0, len(split) - 1, LOOKED_AT).round().astype(np.int64)).tolist():
        try:
            picture = split.pictures[row]
        except InceptoryError as fault:
            picture = str(fault).encode()
        content = picture if isinstance(picture, bytes) else np.ascontiguousarray(picture).tobytes()
        digest.update(f"{len(content)}\n".encode())
        digest.update(content)
    return digest.digest()
