"""Which column of a table holds the paths and which the labels, and where the pictures lie that it names.

The values decide: paths are what names files that exist, also without their endings, or in the one
folder beside the table where they are. The labels are what is left, where that is one column, or
columns of 0 and 1. Usual names settle what the values leave open, `Layout` settles the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.layout import Layout
from inceptory.errors import ConfigError, DataError, MissingError

PATHS = {"path", "file", "filename", "file_name", "filepath", "image", "image_path", "img"}
LABELS = {"label", "labels", "class", "class_name", "category", "target"}
PARTS = {"split", "set", "subset", "partition"}
HOT = {"0": "0", "0.0": "0", "1": "1", "1.0": "1"}
"""What may stand in a column that is a class."""


class Place:
    """A folder of pictures, found by paths that may lack their endings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stems: dict[str, dict[str, list[str]]] = {}

    def find(self, value: str) -> list[str]:
        """The files below the folder that a path may mean: itself, or those that add a picture's ending to it."""
        if value and os.path.isfile(self.folder / value):
            return [value]
        head, tail = os.path.split(value)
        if head not in self._stems:
            self._stems[head] = _stems(self.folder / head)
        return [os.path.join(head, name) for name in self._stems[head].get(tail, ())]

    def the(self, value: str) -> str:
        """The one file that a path means, or the path itself where there is none; raises DataError for two."""
        files = self.find(value)
        if len(files) > 1:
            problem = f"may be {os.path.basename(files[0])!r} or {os.path.basename(files[1])!r}"
            raise DataError(f"{self.folder / value}: {problem} (write the endings into the table)")
        return files[0] if files else value


def _stems(folder: Path) -> dict[str, list[str]]:
    """Names of pictures by what stands before their endings."""
    stems: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):  # no such folder, or a name with a NUL
        return {}
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() in ENDINGS:
            stems.setdefault(stem, []).append(name)
    return stems


@dataclass(frozen=True)
class Columns:
    """What is where in a table."""

    header: bool
    """Whether the first line holds names."""
    path: int
    place: Place
    bare: bool
    """Whether paths lack their endings."""
    labels: tuple[int, ...]
    """One column of labels, or several of 0 and 1."""
    classes: tuple[str, ...]
    """The names of those several."""
    split: int | None
    note: str
    """How it was read, where that was not said by usual names."""


def columns_of(path: Path, lines: Sequence[tuple[int, list[str]]], layout: Layout) -> Columns:
    """Judge by the first lines, numbers and cells of each; raises DataError, ConfigError or MissingError."""
    rows = [[cell.strip() for cell in cells] for _, cells in lines]
    names, words = rows[0], [cell.lower() for cell in rows[0]]
    path_columns = [_index(path, names, "path", name) for name in (layout.path_column,) if name is not None]
    label_columns = tuple(_index(path, names, "label", name) for name in layout.label_column or ())
    column, place = _paths(path, rows, path_columns, label_columns)
    usual = not PATHS.isdisjoint(words) and not LABELS.isdisjoint(words)
    header = bool(path_columns or label_columns) or usual or _is_header(rows, column, place)
    split = next((i for i, word in enumerate(words) if word in PARTS and i != column and i not in label_columns), None)
    split = split if header else None
    rest = [i for i, name in enumerate(names) if i not in (column, split) and (name or not header)]
    labels = label_columns or _labels(path, lines[0][0], rows, rest, header)
    classes = tuple(names[i] for i in labels) if len(labels) > 1 else ()
    if len(set(classes)) < len(classes):
        raise DataError(f"{path}: two columns have one name (give each class its own)")
    body = rows[header:]
    bare = any(len(row) > column and place.find(row[column]) not in ([], [row[column]]) for row in body)
    unused = [] if label_columns or not header else [names[i] for i in rest if words[i] in LABELS and i not in labels]
    note = ", ".join(_read_as(path, names, column, place, bare, labels, unused)) if header else ""
    return Columns(header, column, place, bare, labels, classes, split, note)


def _index(path: Path, names: Sequence[str], what: str, name: str) -> int:
    if name.strip() not in names:
        choices = ", ".join(map(repr, names))
        raise ConfigError(f"{path}: --{what}-column {name}: no such column (its first line names {choices})")
    return names.index(name.strip())


# The paths


def _paths(
    path: Path, rows: Sequence[Sequence[str]], path_columns: list[int], label_columns: Sequence[int]
) -> tuple[int, Place]:
    """(the column of paths, the folder that they are meant from)."""
    words = [name.lower() for name in rows[0]]
    usual = path_columns or [i for i, word in enumerate(words) if word in PATHS]
    others = [i for i, word in enumerate(words) if i not in (*usual, *label_columns) and word not in LABELS | PARTS]
    settled = path_columns or any(_is_pathlike(row[i]) for row in rows[1:] for i in usual if row[i:])
    listing = Listing(path.parent)
    for group in (usual,) if settled else (usual, others):
        for inside in (False, True):
            places = (Place(path.parent / name) for name in (listing.folders() if inside else [""]))
            if located := _located(path, rows, group, places, decided=group is usual):
                return located
    alike = [i for i in others if all(_is_pathlike(row[i]) for row in rows[1:] or rows if row[i:])]
    if len(alike) == 1 and not settled:
        return alike[0], Place(path.parent)
    if usual:
        return usual[0], Place(path.parent)
    problem = "no column names pictures that are there"
    raise MissingError(f"{path}: {problem} (paths are meant from the table's folder; --path-column NAME says which)")


def _is_pathlike(cell: str) -> bool:
    return os.path.splitext(cell)[1].lower() in ENDINGS or "/" in cell or "\\" in cell


def _located(
    path: Path, rows: Sequence[Sequence[str]], group: Sequence[int], places: Iterator[Place], *, decided: bool
) -> tuple[int, Place] | None:
    """The column that names the most files, in the one place with any; raises DataError for two such."""
    located: list[tuple[Place, dict[int, tuple[int, int]]]] = []
    for place in places:
        counts = {i: _counts(place, {row[i] for row in rows if row[i:]}) for i in group}
        if any(total for total, _ in counts.values()):
            located.append((place, counts))
        if len(located) > 1:
            one, two = (place.folder.name for place, _ in located)
            raise DataError(f"{path}: its pictures may lie in {one!r} or {two!r} (write the folder into its paths)")
    if not located:
        return None
    place, counts = located[0]
    best = [i for i in group if counts[i] == max(counts.values())]
    if len(best) > 1 and not decided:
        raise _doubt(path, rows[0], best, "paths", "--path-column")
    return best[0], place


def _counts(place: Place, cells: set[str]) -> tuple[int, int]:
    """(files that cells name, files that they name to the letter)."""
    return sum(bool(place.find(cell)) for cell in cells), sum(place.find(cell) == [cell] for cell in cells)


def _doubt(path: Path, names: Sequence[str], columns: Sequence[int], what: str, flag: str) -> DataError:
    more = f" and {len(columns) - 5:,} more" if len(columns) > 5 else ""
    choices = ", ".join(repr(names[i]) for i in columns[:5])
    return DataError(f"{path}: the {what} may stand in {choices}{more} (say {flag} NAME)")


def _is_header(rows: Sequence[Sequence[str]], column: int, place: Place) -> bool:
    """Whether the first line is one of names: it names no file, and nothing of it comes again below."""
    first = rows[0][column]
    if first.lower() in PATHS:
        return True
    if place.find(first) or _is_pathlike(first):
        return False
    others = [(i, cell) for i, cell in enumerate(rows[0]) if i != column and cell]
    repeated = (cell in {row[i] for row in rows[1:] if row[i:]} for i, cell in others)
    return not any(repeated)


# The labels


def _labels(path: Path, line: int, rows: Sequence[Sequence[str]], rest: Sequence[int], header: bool) -> tuple[int, ...]:
    usual = [i for i in rest if header and rows[0][i].lower() in LABELS]
    if usual or len(rest) == 1:
        return ((usual or rest)[0],)
    if not rest:
        raise DataError(f"{path}: line {line} has {len(rows[0])} columns (give path and label in each)")
    if not header:
        problem = f"line {line} has {len(rows[0])} columns and no line of names above it"
        raise DataError(f"{path}: {problem} (write one, such as path,label,...)")
    if rows[1:] and all(cell in HOT for row in rows[1:] for i in rest for cell in row[i : i + 1]):
        return tuple(rest)
    raise _doubt(path, rows[0], rest, "labels", "--label-column")


def _read_as(
    path: Path,
    names: Sequence[str],
    column: int,
    place: Place,
    bare: bool,
    labels: Sequence[int],
    unused: Sequence[str],
) -> Iterator[str]:
    if names[column].lower() not in PATHS:
        yield f"paths from {names[column]!r}"
    if place.folder != path.parent:
        yield f"pictures in {place.folder.name!r}"
    if bare:
        yield "with the endings of the files"
    if len(labels) > 1:
        yield f"labels from {len(labels):,} columns of 0 and 1"
    elif unused:
        others = ", ".join(map(repr, unused))
        yield f"labels from {names[labels[0]]!r}, not from {others} (--label-column names another)"
    elif names[labels[0]].lower() not in LABELS:
        yield f"labels from {names[labels[0]]!r}"
