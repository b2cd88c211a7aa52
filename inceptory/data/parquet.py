"""Labelled pictures in parquet files, in the Hugging Face image layout.

An image column holds {bytes, path} or plain bytes; a label column holds numbers of named classes
(the file's own metadata names them), or plain numbers or words, which are then the names.
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

from inceptory.data.sequences import Blocks, Frozen, Numbered
from inceptory.data.sources import Source, Split, natural, split_of
from inceptory.errors import DataError, MissingError
from inceptory.files import reason

LABELS = ("label", "labels", "class")
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


@dataclass(frozen=True)
class Shard:
    """One file, of which only the labels are read."""

    file: Path
    image: str
    """Path of its column of bytes."""
    groups: tuple[int, ...]
    """Rows in each of its row groups."""
    sizes: tuple[int, ...]
    """Bytes of the pictures of each row group, unpacked."""
    labels: list[Any]
    classes: tuple[str, ...] | None
    """Names that the file itself gives to the numbers of its labels."""


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


def files_of(folder: Path) -> list[Path]:
    """Parquet files of a data set: in the folder or in its `data`."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")], key=lambda file: natural(file.name))


def open_files(path: Path, files: Sequence[Path]) -> Source:
    """Files whose names begin with their split; raises DataError."""
    shards: dict[str, list[Shard]] = {}
    for file in files:
        shards.setdefault(split_of(file), []).append(_read(file))
    every = [shard for group in shards.values() for shard in group]
    classes = _classes(path, every)
    splits = {split: _split(group, classes, named=every[0].classes is not None) for split, group in shards.items()}
    heavy = max(max(shard.sizes) for shard in every)
    told = (
        f"its row groups hold up to {heavy / 2**20:.0f} MiB, each read several times an epoch (smaller ones are better)"
    )
    notes = [told] if heavy > HEAVY else []
    return Source(str(path), classes, splits, tuple(notes))


def _classes(path: Path, shards: Sequence[Shard]) -> tuple[str, ...]:
    """The names on which all files agree; without any, the labels themselves are the names."""
    named = {shard.classes for shard in shards}
    if len(named) > 1:
        raise DataError(f"{path}: one of its files names other classes than the rest (make them agree)")
    classes = named.pop()
    if classes is None:
        labels = {label for shard in shards for label in shard.labels}
        if len({isinstance(label, str) for label in labels}) > 1:
            raise DataError(f"{path}: labels are words in one file and numbers in another (make them agree)")
        classes = tuple(sorted(map(str, labels), key=natural))
    if len(classes) < 2:
        raise DataError(f"{path}: holds {len(classes)} class (a classifier needs two or more)")
    return classes


def _split(shards: Sequence[Shard], classes: tuple[str, ...], *, named: bool) -> Split:
    code = {name: number for number, name in enumerate(classes)}
    parts = []
    for shard in shards:
        codes = np.asarray(shard.labels if named else [code[str(label)] for label in shard.labels])
        if codes.min() < 0 or codes.max() >= len(classes):
            raise DataError(f"{shard.file}: a label lies outside the {len(classes)} named classes (mend the column)")
        parts.append(codes.astype(np.int64))
    names = Numbered([str(shard.file) for shard in shards], [len(shard.labels) for shard in shards])
    return Split(ParquetPictures(shards), np.concatenate(parts), names)


def _read(file: Path) -> Shard:
    with _readable(file), pq.ParquetFile(file) as opened:
        kinds, metadata = opened.schema_arrow, opened.metadata
        image, label, classes = _columns(file, kinds)
        image += ".bytes" * pa.types.is_struct(kinds.field(image).type)
        labels = opened.read(columns=[label]).column(0)
        if not len(labels):
            raise DataError(f"{file}: holds no rows (write it again)")
        leaf = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == image)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        _check_bytes(file, opened, image, [group.column(leaf).statistics for group in groups])
    sizes = tuple(group.column(leaf).total_uncompressed_size for group in groups)
    rows = tuple(group.num_rows for group in groups)
    return Shard(file, image, rows, sizes, _labels(file, labels, classes), classes)


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


def _labels(file: Path, column: Any, classes: tuple[str, ...] | None) -> list[Any]:
    labels: list[Any] = column.to_pylist()
    kind = str if classes is None and isinstance(labels[0], str) else int
    for row, label in enumerate(labels):
        if type(label) is not kind:
            raise DataError(f"{file}: row {row} has the label {label!r} (labels are all numbers or all words)")
    return labels


def _is_picture(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _columns(file: Path, schema: Any) -> tuple[str, str, tuple[str, ...] | None]:
    """(image column, label column, class names if the file carries them)."""
    features = _features(schema)
    images = [field.name for field in schema if _is_picture(field.type)]
    images.sort(key=lambda name: features.get(name, {}).get("_type") != "Image")
    labels = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    labels += [name for name in schema.names if name.lower() in LABELS]
    if not images or not labels:
        raise DataError(f"{file}: no image and label columns among {schema.names} (name them image and label)")
    classes = features.get(labels[0], {}).get("names")
    return images[0], labels[0], tuple(map(str, classes)) if classes else None


def _features(schema: Any) -> dict[str, Any]:
    """What the file says of its columns in the data sets library's own metadata."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind for name, kind in found.items() if isinstance(kind, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
