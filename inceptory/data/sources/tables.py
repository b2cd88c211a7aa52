"""CSV and TSV files: one picture a line, its path (from the table's folder), its label, perhaps its split.

A label may also stand in columns of 0 and 1, each a class: with one 1 in every line a picture has one
class. Where lines have several or none, or where the label of one line or more is several names
joined by "|", the table is multi-label: every line may name several classes, and an empty label none.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from typing import TextIO

import numpy as np

from inceptory.data.sources.columns import HOT, Columns, columns_of
from inceptory.data.sources.labels import Labels, several_hot
from inceptory.data.sources.layout import AUTO, ORDER, Layout, Spelling
from inceptory.data.sources.sequences import Texts, paths
from inceptory.data.sources.source import Source, Split, check_classes, numbered
from inceptory.errors import DataError, MissingError
from inceptory.system.files import too_large

SUFFIXES = {".csv": ",", ".tsv": "\t"}
SEPARATOR = "|"
"""Between the classes of one picture."""
JOINED = f'labels are joined by "{SEPARATOR}", so that a picture may show several classes'
"""What is noted where that is why a table is multi-label."""
LARGEST = 2**30
"""Bytes: some ten million pictures."""
LONGEST_LINE = 2**20
"""Characters: more than thousands of classes with a column for each need."""
LOOKED_AT = 20
"""Lines by which a table is judged; where none of their pictures is there, the paths are meant from elsewhere."""


@dataclass
class _Rows:
    """What a split's lines say."""

    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    unlabelled: int = 0
    """The first line with an empty label."""


def open_table(path: Path, layout: Layout = AUTO) -> Source:
    """A table with a line of names above it, or without one: path, label. `Columns` tells which column is what.

    Raises DataError that names the line or what must be said, MissingError where the pictures are
    not where it says, ConfigError for a column that it does not have.
    """
    layout.only(path, "path_column", "label_column")
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(too_large(path, size, LARGEST))
    lines = _lines(path)
    first = list(islice(lines, LOOKED_AT + 1))
    if not first:
        check_classes(path, ())
    columns = columns_of(path, first, layout)
    parts = _read(path, chain(first[columns.header :], lines), columns)
    classes, coded = _coder(path, list(parts.values()), columns.classes)
    splits = {}
    for split in sorted(parts, key=ORDER.index):
        rows = parts[split]
        names = Texts("", (str(columns.place.folder / file) for file in rows.files))
        splits[split] = Split(paths(names), coded(rows.labels), names)
    _check_there(path, splits)
    joined = not columns.classes and any(split.labels.ndim == 2 for split in splits.values())
    return Source(str(path), classes, splits, tuple(filter(None, (columns.note, JOINED if joined else ""))))


def _read(path: Path, lines: Iterable[tuple[int, list[str]]], columns: Columns) -> dict[str, _Rows]:
    parts, spelling, splits = dict[str, _Rows](), Spelling(), dict[str, str]()
    whole = spelling.split(path.parent, path.name) or "train" if columns.split is None else ""
    for line, cells in lines:
        try:
            file, label = cells[columns.path].strip(), _label(path, line, cells, columns)
            cell = cells[columns.split or 0]
            split = whole or splits.get(cell) or splits.setdefault(cell, _split_of(path, line, cell, spelling))
        except IndexError:
            raise DataError(f"{path}: line {line} has {len(cells)} columns (give path and label in each)") from None
        if not file:
            raise DataError(f"{path}: line {line} has no path (fill it or remove the line)")
        if "\0" in file:
            raise DataError(f"{path}: line {line} has a path with a NUL inside (fix it)")
        rows = parts.setdefault(split, _Rows())
        rows.files.append(columns.place.the(file) if columns.bare else file)
        rows.labels.append(sys.intern(label))
        if not label and not rows.unlabelled:
            rows.unlabelled = line
    return parts


def _label(path: Path, line: int, cells: list[str], columns: Columns) -> str:
    """The label of a line; of columns of 0 and 1 what stands in them, one after the other."""
    if not columns.classes:
        return cells[columns.labels[0]].strip()
    for column, name in zip(columns.labels, columns.classes, strict=True):
        if cells[column].strip() not in HOT:
            problem = f"line {line} has {cells[column].strip()!r} in {name!r}, where others have 0 or 1"
            raise DataError(f"{path}: {problem} (fix it, or say --label-column NAME)")
    return "".join(HOT[cells[column].strip()] for column in columns.labels)


def _split_of(path: Path, line: int, cell: str, spelling: Spelling) -> str:
    split = spelling.split(f"{path}: line {line}", cell.strip())
    if split is None:
        problem = f"line {line} names the split {cell.strip().lower()!r}"
        raise DataError(f"{path}: {problem} (use train, validation or test)")
    return split


def _coder(
    path: Path, parts: Sequence[_Rows], columns: Sequence[str]
) -> tuple[tuple[str, ...], Callable[[Sequence[str]], Labels]]:
    """(class names, how to make labels of cells); raises DataError for a line that must have a label."""
    cells = dict.fromkeys(cell for rows in parts for cell in rows.labels)
    if columns:
        return _hot(path, cells, columns)
    if any(SEPARATOR in cell for cell in cells):
        return _several(path, cells)
    empty = [rows.unlabelled for rows in parts if rows.unlabelled]
    if empty:
        raise DataError(f"{path}: line {min(empty)} has no label (fill it or remove the line)")
    classes, code = numbered(path, cells)
    return classes, lambda labels: np.asarray([code[label] for label in labels], dtype=np.int64)


def _several(path: Path, cells: Iterable[str]) -> tuple[tuple[str, ...], Callable[[Sequence[str]], Labels]]:
    named = {cell: [name.strip() for name in cell.split(SEPARATOR) if name.strip()] for cell in cells}
    classes, code = numbered(path, (name for group in named.values() for name in group))
    rows = {cell: [code[name] for name in group] for cell, group in named.items()}
    return classes, lambda labels: several_hot([rows[cell] for cell in labels], len(classes))


def _hot(
    path: Path, cells: Iterable[str], columns: Sequence[str]
) -> tuple[tuple[str, ...], Callable[[Sequence[str]], Labels]]:
    """Cells such as 010: one class a picture where each has a single 1."""
    classes, code = numbered(path, columns)
    rows = {cell: [code[columns[i]] for i, one in enumerate(cell) if one == "1"] for cell in cells}
    if all(len(numbers) == 1 for numbers in rows.values()):
        return classes, lambda labels: np.asarray([rows[cell][0] for cell in labels], dtype=np.int64)
    return classes, lambda labels: several_hot([rows[cell] for cell in labels], len(classes))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that is not blank."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_bounded(path, file), delimiter=_delimiter(path), strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except UnicodeDecodeError:
        raise DataError(f"{path}: not text in UTF-8 (save it as UTF-8)") from None
    except csv.Error as fault:
        raise DataError(f"{path}: line {reader.line_num} is not a row of a table, {fault} (fix it)") from None


def _bounded(path: Path, file: TextIO) -> Iterator[str]:
    """The lines of a text as they come; raises DataError for one that no table has."""
    for number in count(1):
        line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            problem = f"line {number} has more than {LONGEST_LINE:,} characters"
            raise DataError(f"{path}: {problem} (is it a table, with a line for each picture?)")
        if not line:
            return
        yield line


def _delimiter(path: Path) -> str:
    """Tab for .tsv; for .csv the comma, or the semicolon that some countries' programs write instead."""
    usual = SUFFIXES[path.suffix.lower()]
    with open(path, encoding="utf-8-sig", newline="") as file:
        first = file.readline(2**16)
    return ";" if usual == "," and "," not in first and ";" in first else usual


def _check_there(path: Path, splits: dict[str, Split]) -> None:
    for split in splits.values():
        some = [picture for picture in split.pictures[:LOOKED_AT] if isinstance(picture, Path)]
        if not any(map(os.path.isfile, some)):
            raise MissingError(f"{path}: names {some[0]}, which is not there (paths are meant from the table's folder)")
