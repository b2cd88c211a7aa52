"""CSV and TSV files: one picture a line, its path (from the table's folder), its label, perhaps its split.

Where the label of one line or more is several names joined by "|", the table is multi-label: every
line may name several classes, and an empty label names none.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inceptory.data.labels import Labels, several_hot
from inceptory.data.sequences import Texts, paths
from inceptory.data.sources import SPLITS, Source, Split, numbered
from inceptory.errors import DataError, MissingError

SUFFIXES = {".csv": ",", ".tsv": "\t"}
PATHS = {"path", "file", "filename", "file_name", "filepath", "image", "image_path", "img"}
LABELS = {"label", "labels", "class", "class_name", "category", "target"}
PARTS = {"split", "set", "subset", "partition"}
SEPARATOR = "|"
"""Between the classes of one picture."""
LOOKED_FOR = 20
"""Pictures of which one must be there: where none is, the paths are meant from somewhere else."""


@dataclass
class _Rows:
    """What a split's lines say."""

    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    unlabelled: int = 0
    """The first line with an empty label."""


@dataclass(frozen=True)
class _Columns:
    path: int = 0
    label: int = 1
    split: int | None = None


def open_table(path: Path) -> Source:
    """A table with a header of usual names (path, label, split), or without one: path, label.

    Raises DataError that names the line, MissingError where the pictures are not where it says.
    """
    parts = _read(path)
    classes, coded = _coder(path, list(parts.values()))
    splits = {}
    for split in sorted(parts, key=list(SPLITS.values()).index):
        rows = parts[split]
        names = Texts("", (str(path.parent / file) for file in rows.files))
        splits[split] = Split(paths(names), coded(rows.labels), names)
    _check_there(path, splits)
    return Source(str(path), classes, splits)


def _read(path: Path) -> dict[str, _Rows]:
    parts: dict[str, _Rows] = {}
    columns: _Columns | None = None
    for line, cells in _lines(path):
        if columns is None:
            columns = _header(cells)
            if columns is not None:
                continue
            columns = _Columns()
        split, file, label = _row(path, line, cells, columns)
        rows = parts.setdefault(split, _Rows())
        rows.files.append(file)
        rows.labels.append(sys.intern(label))
        if not label and not rows.unlabelled:
            rows.unlabelled = line
    return parts


def _coder(path: Path, parts: Sequence[_Rows]) -> tuple[tuple[str, ...], Callable[[Sequence[str]], Labels]]:
    """(class names, how to make labels of cells); raises DataError for a line that must have a label."""
    cells = dict.fromkeys(cell for rows in parts for cell in rows.labels)
    if any(SEPARATOR in cell for cell in cells):
        return _several(path, cells)
    empty = [rows.unlabelled for rows in parts if rows.unlabelled]
    if empty:
        raise DataError(f"{path}: line {min(empty)} has no label (fill it or remove the line)")
    classes, code = numbered(path, cells)
    return classes, lambda labels: np.asarray([code[label] for label in labels], dtype=np.int64)


def _several(path: Path, cells: Iterable[str]) -> tuple[tuple[str, ...], Callable[[Sequence[str]], Labels]]:
    named = {cell: [name.strip() for name in cell.split(SEPARATOR) if name.strip()] for cell in cells}
    classes, code = numbered(path, (name for found in named.values() for name in found))
    rows = {cell: [code[name] for name in found] for cell, found in named.items()}
    return classes, lambda labels: several_hot([rows[cell] for cell in labels], len(classes))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that is not blank."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(path), strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except UnicodeDecodeError:
        raise DataError(f"{path}: not text in UTF-8 (save it as UTF-8)") from None
    except csv.Error as fault:
        raise DataError(f"{path}: line {reader.line_num} is no line of a table, {fault} (mend it)") from None


def _delimiter(path: Path) -> str:
    """Tab for .tsv; for .csv the comma, or the semicolon that some countries' programs write instead."""
    usual = SUFFIXES[path.suffix.lower()]
    with open(path, encoding="utf-8-sig", newline="") as file:
        first = file.readline(2**16)
    return ";" if usual == "," and "," not in first and ";" in first else usual


def _header(cells: list[str]) -> _Columns | None:
    """Where the columns are, if this is a line of names."""
    words = [cell.strip().lower() for cell in cells]
    found = [next((i for i, word in enumerate(words) if word in names), None) for names in (PATHS, LABELS, PARTS)]
    path, label, split = found
    return None if path is None or label is None else _Columns(path, label, split)


def _row(path: Path, line: int, cells: list[str], columns: _Columns) -> tuple[str, str, str]:
    """(split, file, label) of a line."""
    try:
        file, label = cells[columns.path].strip(), cells[columns.label].strip()
        word = "train" if columns.split is None else cells[columns.split].strip().lower()
    except IndexError:
        raise DataError(f"{path}: line {line} has {len(cells)} columns (give path and label in each)") from None
    if not file:
        raise DataError(f"{path}: line {line} has no path (fill it or remove the line)")
    if word not in SPLITS:
        raise DataError(f"{path}: line {line} names the split {word!r} (use train, validation or test)")
    if "\0" in file:
        raise DataError(f"{path}: line {line} has a path with a NUL inside (mend it)")
    return SPLITS[word], file, label


def _check_there(path: Path, splits: dict[str, Split]) -> None:
    for split in splits.values():
        some = [picture for picture in split.pictures[:LOOKED_FOR] if isinstance(picture, Path)]
        if not any(picture.is_file() for picture in some):
            raise MissingError(f"{path}: names {some[0]}, which is not there (paths are meant from the table's folder)")
