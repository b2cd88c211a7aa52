"""Labelled pictures in parquet files, in the Hugging Face image layout.

An image column holds {bytes, path} or plain bytes; a label column holds numbers of named classes
(the file's own metadata names them), or plain numbers or words, which are then the names. Lists of
them make the files multi-label. A row without a label is left out: null or NaN, or -1 where that cannot
be a class (`labels.hides`).
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inceptory.data.labels import HIDDEN, IN_LISTS, cell_of, hides, several_hot
from inceptory.data.layout import AUTO, Layout
from inceptory.data.sequences import Blocks, Frozen, Numbered
from inceptory.data.shards import below, by_split
from inceptory.data.sources import Source, Split, check_classes, natural
from inceptory.errors import ConfigError, DataError, MissingError
from inceptory.files import reason

LABELS = ("label", "labels", "class")
LISTS = ("Sequence", "List", "LargeList")
"""What the data sets library calls a column of lists, by its version."""
HELD = 16 * 2**20
"""Bytes of the row groups that are held for reading single pictures, where they are small."""
HELD_AT_MOST, GROUPS = 64 * 2**20, 8
"""Bytes, where so many groups take more."""
AT_ONCE = 4 * 2**20
"""Bytes of a row group that are unpacked at a time where a part of it is kept."""
BUFFER = 2**20
PLACE = 8
"""Bytes beside those of the picture itself that it takes in a column."""
HEAVY = 256 * 2**20
"""Bytes of a row group above which a person is told."""


Row = tuple[int | str, ...]
"""The labels of a picture."""


@dataclass(frozen=True)
class Columns:
    """What is where in a file."""

    image: str
    label: str
    also: tuple[str, ...]
    """Other columns that may hold labels."""
    classes: tuple[str, ...] | None
    """Names that the file itself gives to the numbers of its labels."""


@dataclass(frozen=True)
class Shard:
    """One file, of which only the labels are read."""

    file: Path
    columns: Columns
    image: str
    """Path of its column of bytes."""
    groups: tuple[int, ...]
    """Rows in each of its row groups."""
    sizes: tuple[int, ...]
    """Bytes of the pictures of each row group, unpacked."""
    labels: list[Row | None]
    """Of each picture; None where it has none. Equal ones are one object."""
    several: bool
    """Whether the column holds lists."""


class _Column(Frozen[bytes]):
    """Pictures of some rows of a row group."""

    def __init__(self, column: Any, file: str, rows: NDArray[np.int64]) -> None:
        self._column, self._file, self._rows = column, file, rows

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises DataError."""
        data = self._column[row].as_py()
        if data is None:
            raise DataError(f"{self._file}: {_without_bytes(int(self._rows[row]))}")
        return bytes(data)


class ParquetPictures(Frozen[bytes]):
    """Pictures in row groups. Single ones are read with their group, and those used last are held."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._files = [(str(shard.file), shard.image) for shard in shards]
        self._groups = [(part, group) for part, shard in enumerate(shards) for group in range(len(shard.groups))]
        self._ends = np.cumsum([count for shard in shards for count in shard.groups], dtype=np.int64)
        each = max(sum(sum(shard.sizes) for shard in shards) // len(self._groups), 1)
        self._most = max(HELD // each, min(HELD_AT_MOST // each, GROUPS), 1)
        self._each = np.concatenate([_each(shard) for shard in shards])
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._open: tuple[int, Any] = (-1, None)
        self._footers: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Where the pictures are, without those that are held."""
        return {name: getattr(self, name) for name in ("_files", "_groups", "_ends", "_most", "_each")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises DataError or MissingError."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        within = row - (int(self._ends[group - 1]) if group else 0)
        data = self._column(group)[within].as_py()
        if data is None:
            raise DataError(f"{self._files[self._groups[group][0]][0]}: {_without_bytes(within)}")
        return bytes(data)

    def _column(self, group: int) -> Any:
        """The pictures of a row group."""
        with self._lock:
            if group not in self._held:
                self._held[group] = self._read(group)
            self._held.move_to_end(group)
            # Some more, for threads that read neighbours at the same time.
            if len(self._held) > self._most + self._most // 2 + 1:
                self._held.popitem(last=False)
            return self._held[group]

    def _read(self, group: int) -> Any:
        part, number = self._groups[group]
        file, image = self._files[part]
        with _readable(Path(file)):
            if self._open[0] != part:
                self._open = (part, pq.ParquetFile(file, pre_buffer=False))
            column = self._open[1].read_row_group(number, columns=[image], use_threads=False).column(0)
        return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column

    def blocks(self) -> Blocks:
        """Row groups."""
        counts = np.diff(self._ends, prepend=0)
        return Blocks(np.repeat(np.arange(len(counts)), counts), self._each)

    def read(self, block: int, rows: NDArray[np.int64]) -> Sequence[bytes]:
        """These rows of one row group, which is unpacked a little at a time; raises DataError or MissingError."""
        part, number = self._groups[block]
        file, image = self._files[part]
        within = rows - (int(self._ends[block - 1]) if block else 0)
        size = max(AT_ONCE // int(self._each[block]), 1)
        kept, start = [], 0
        known = self._footers.get(part)
        with _readable(Path(file)), pq.ParquetFile(file, metadata=known, buffer_size=BUFFER) as opened:
            self._footers[part] = opened.metadata
            for some in opened.iter_batches(size, [number], [image], use_threads=False):
                wanted = within[np.searchsorted(within, start) : np.searchsorted(within, start + len(some))]
                if len(wanted):
                    column = some.column(0)
                    blobs = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
                    kept.append(blobs.take(pa.array(wanted - start)))
                start += len(some)
                if start > within[-1]:
                    break
            return _Column(pa.chunked_array(kept), file, within)


def _each(shard: Shard) -> NDArray[np.int64]:
    """Bytes of a picture in each of a file's row groups, and of its place in a column."""
    pairs = zip(shard.sizes, shard.groups, strict=True)
    return np.asarray([size // max(rows, 1) + PLACE for size, rows in pairs], dtype=np.int64)


def is_parquet(path: Path) -> bool:
    """Whether a path is meant as a parquet file."""
    return path.name.lower().endswith(".parquet")


def files_of(folder: Path) -> list[Path]:
    """Parquet files of a folder, or of its folders of splits or its one configuration; raises DataError for several."""
    return below(folder, is_parquet)


def open_files(path: Path, files: Sequence[Path], layout: Layout = AUTO) -> Source:
    """Files whose names, or the names of whose folders, say their split; raises DataError or ConfigError."""
    layout.only(path, "path_column", "label_column")
    shards = {split: [_read(file, layout) for file in group] for split, group in by_split(path, files).items()}
    every = [shard for group in shards.values() for shard in group]
    classes, number = _classes(path, list(shards.values()))
    splits, notes = {}, list(_notes(every, layout))
    for split, group in shards.items():
        found, total = _split(group, number, len(classes)), sum(len(shard.labels) for shard in group)
        if len(found):
            splits[split] = found
        if len(found) < total:
            told = f"{total - len(found):,} of {total:,} pictures are left out, for their labels are hidden"
            notes.append(f"{split}: {told} (null or {HIDDEN})")
    return Source(str(path), classes, splits, tuple(notes))


def _notes(shards: Sequence[Shard], layout: Layout) -> Iterator[str]:
    heavy = max(max(shard.sizes) for shard in shards)
    if heavy > HEAVY:
        told = "each read several times an epoch (smaller ones are better)"
        yield f"its row groups hold up to {heavy / 2**20:.0f} MiB, {told}"
    if shards[0].several:
        yield IN_LISTS
    if shards[0].columns.also and layout.label_column is None:
        also = ", ".join(map(repr, shards[0].columns.also))
        yield f"labels are taken from {shards[0].columns.label!r}, not from {also} (--label-column names another)"


def _classes(path: Path, splits: Sequence[Sequence[Shard]]) -> tuple[tuple[str, ...], dict[int | str, int]]:
    """(class names, the number of each label); without names on which all files agree the labels are the names."""
    shards = [shard for split in splits for shard in split]
    if len({shard.columns.classes for shard in shards}) > 1:
        raise DataError(f"{path}: one of its files names other classes than the rest (make them agree)")
    if len({shard.several for shard in shards}) > 1:
        raise DataError(f"{path}: labels are lists in one file and not in another (make them agree)")
    each = [{label for shard in split for row in set(shard.labels) for label in row or ()} for split in splits]
    known = set[int | str]().union(*each)
    if len({isinstance(label, str) for label in known}) > 1:
        raise DataError(f"{path}: labels are words in one file and numbers in another (make them agree)")
    named = shards[0].columns.classes
    if hides(each, named=named is not None):
        known.discard(HIDDEN)
    if not known:
        raise DataError(f"{path}: every label is hidden, null or {HIDDEN} (give pictures with labels)")
    if named is not None:
        number: dict[int | str, int] = {label: label for label in range(len(named))}
    else:
        order = sorted(known, key=lambda label: natural(str(label)))
        named, number = tuple(map(str, order)), {label: place for place, label in enumerate(order)}
    check_classes(path, named)
    return named, number


def _split(shards: Sequence[Shard], number: dict[int | str, int], classes: int) -> Split:
    """The pictures that have a label."""
    for shard in shards:
        if any(label not in number for row in set(shard.labels) if not _is_hidden(row, number) for label in row or ()):
            raise DataError(f"{shard.file}: a label lies outside the {classes} named classes (mend the column)")
    met: dict[Row | None, int] = {}
    rows = [met.setdefault(row, len(met)) for shard in shards for row in shard.labels]
    meant = [[] if _is_hidden(row, number) else [number[label] for label in row or ()] for row in met]
    several = several_hot(meant, classes) if shards[0].several else None
    labels = np.asarray([found[0] if found else 0 for found in meant]) if several is None else several
    names = Numbered([str(shard.file) for shard in shards], [len(shard.labels) for shard in shards])
    whole = Split(ParquetPictures(shards), labels[rows], names)
    kept = np.flatnonzero(~np.asarray([_is_hidden(row, number) for row in met])[rows])
    return whole if len(kept) == len(rows) else whole.take(kept)


def _is_hidden(row: Row | None, number: dict[int | str, int]) -> bool:
    return row is None or (row == (HIDDEN,) and HIDDEN not in number)


def _read(file: Path, layout: Layout) -> Shard:
    with _readable(file), pq.ParquetFile(file) as opened:
        kinds, metadata = opened.schema_arrow, opened.metadata
        columns = _columns(file, kinds, layout)
        image = columns.image + ".bytes" * pa.types.is_struct(kinds.field(columns.image).type)
        labels = opened.read(columns=[columns.label]).column(0)
        if not len(labels):
            raise DataError(f"{file}: holds no rows (write it again)")
        leaf = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == image)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        _check_bytes(file, opened, image, [group.column(leaf).statistics for group in groups])
    sizes = tuple(group.column(leaf).total_uncompressed_size for group in groups)
    rows = tuple(group.num_rows for group in groups)
    return Shard(file, columns, image, rows, sizes, _labels(file, labels, columns), _is_list(labels.type))


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What pyarrow raises as an error of ours."""
    try:
        yield
    except FileNotFoundError:
        raise MissingError(f"{file}: no such file (has it been moved?)") from None
    except PermissionError as fault:
        raise MissingError(f"{file}: cannot be read, {reason(fault)} (check its permissions)") from None
    except (pa.ArrowException, OSError) as fault:
        # pyarrow reports a damaged page as an OSError too; the file was there a moment ago.
        raise DataError(f"{file}: not a readable parquet file, {fault} (write it again)") from None


def _check_bytes(file: Path, opened: Any, image: str, statistics: Sequence[Any]) -> None:
    """Raise DataError where the file's own counts tell of pictures without bytes."""
    first = 0
    for number, counts in enumerate(statistics):
        if counts is not None and counts.null_count:
            column = opened.read_row_group(number, columns=[image]).column(0)
            blobs = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
            raise DataError(f"{file}: {_without_bytes(first + pc.index(blobs.is_null(), True).as_py())}")
        first += opened.metadata.row_group(number).num_rows


def _without_bytes(row: int) -> str:
    return f"row {row} holds no picture bytes (embed the pictures in the file)"


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _labels(file: Path, column: Any, columns: Columns) -> list[Row | None]:
    met: dict[Row | None, Row | None] = {}
    found = []
    kind: type[int] | type[str] | None = None if columns.classes is None else int
    for row, value in enumerate(column.to_pylist()):
        try:
            cell = cell_of(value)
        except ValueError as fault:
            raise DataError(f"{file}: row {row} {fault}") from None
        labels = cell if cell is None or isinstance(cell, tuple) else (cell,)
        for label in labels or ():
            kind = kind or type(label)
            if type(label) is not kind:
                raise DataError(f"{file}: row {row} has the label {value!r} (labels are all numbers or all words)")
        found.append(met.setdefault(labels, labels))
    return found


def _is_picture(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _columns(file: Path, schema: Any, layout: Layout) -> Columns:
    """Where pictures and labels are: as is said, else by the file's metadata, else by usual names."""
    features = _features(schema)
    images = [field.name for field in schema if _is_picture(field.type)]
    images.sort(key=lambda name: features.get(name, {}).get("_type") != "Image")
    named = {name: classes for name, kind in features.items() if (classes := _class_names(kind)) is not None}
    labels = [name for name in schema.names if name in named] or [n for n in schema.names if n.lower() in LABELS]
    if layout.path_column is not None:
        images = [_said(file, images, "path", layout.path_column)]
    if layout.label_column is not None:
        labels = [_said(file, [name for name in schema.names if name not in images], "label", *layout.label_column)]
    if not images or not labels:
        told = f"no image and label columns among {schema.names}"
        raise DataError(f"{file}: {told} (name them image and label, or say --label-column NAME)")
    return Columns(images[0], labels[0], tuple(labels[1:]), named.get(labels[0]) or None)


def _said(file: Path, known: Sequence[str], what: str, *names: str) -> str:
    """The one column of these that was named; raises ConfigError."""
    if len(names) > 1 or names[0] not in known:
        told = f"--{what}-column {' '.join(names)}: not one of {', '.join(map(repr, known)) or 'no columns'}"
        raise ConfigError(f"{file}: {told} (name one of them)")
    return names[0]


def _class_names(kind: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of a ClassLabel, or of a list of them; None for another kind of column."""
    inner = kind.get("feature") if kind.get("_type") in LISTS else kind
    if not isinstance(inner, dict) or inner.get("_type") != "ClassLabel":
        return None
    return tuple(map(str, inner.get("names") or ()))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the file says of its columns in the data sets library's own metadata."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        # A list of one kind was once written as just that.
        lists = {name: {"_type": "List", "feature": kind[0]} for name, kind in found.items() if isinstance(kind, list)}
        return lists | {name: kind for name, kind in found.items() if isinstance(kind, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return {}
