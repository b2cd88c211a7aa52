"""Labelled pictures in parquet files, in the Hugging Face image layout.

An image column holds {bytes, path} or plain bytes; a label column holds numbers of named classes
(the file's own metadata names them), or plain numbers or words, which are then the names. Lists of
them make the files multi-label. A row without a label is left out: null or NaN, or -1 where that cannot
be a class (`labels.hides`). No file is opened in this process, which a damaged one might end (`child.py`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.folders.listing import Listing, natural
from inceptory.data.sources.labels import HIDDEN, IN_LISTS, hides, several_hot
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.data.sources.parquet.reader import Pieces, Reader, Row, Shard
from inceptory.data.sources.sequences import Blocks, Frozen, Numbered
from inceptory.data.sources.shards import below, by_split
from inceptory.data.sources.source import Source, Split, check_classes
from inceptory.errors import DataError

HELD = 16 * 2**20
"""Bytes of the row groups that are held for reading single pictures, where they are small."""
HELD_AT_MOST, GROUPS = 64 * 2**20, 8
"""Bytes, where so many groups take more."""
AT_ONCE = 4 * 2**20
"""Bytes of a row group that are unpacked at a time."""
PLACE = 8
"""Bytes beside those of the picture itself that it takes in a column."""
HEAVY = 256 * 2**20
"""Bytes of a row group above which a note says so."""


class ParquetPictures(Frozen[bytes]):
    """Pictures in row groups. Single ones are read with their group, and those used last are held."""

    def __init__(self, shards: Sequence[Shard], reader: Reader) -> None:
        self._files = [(str(shard.file), shard.image) for shard in shards]
        self._groups = [(part, group) for part, shard in enumerate(shards) for group in range(len(shard.groups))]
        self._ends = np.cumsum([count for shard in shards for count in shard.groups], dtype=np.int64)
        each = max(sum(sum(shard.sizes) for shard in shards) // len(self._groups), 1)
        self._most = max(HELD // each, min(HELD_AT_MOST // each, GROUPS), 1)
        self._each = np.concatenate([_each(shard) for shard in shards])
        self._reader = reader
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Pieces] = OrderedDict()
        self._damaged: dict[int, str] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises DataError or MissingError."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        first = self._first(group)
        with self._lock:
            if group not in self._held:
                self._held[group] = self._read(group, np.arange(int(self._ends[group]) - first))
            self._held.move_to_end(group)
            # Some more, for threads that read neighbours at the same time.
            if len(self._held) > self._most + self._most // 2 + 1:
                self._held.popitem(last=False)
            held = self._held[group]
        return held[row - first]

    def _first(self, group: int) -> int:
        return int(self._ends[group - 1]) if group else 0

    def _read(self, group: int, within: NDArray[np.int64]) -> Pieces:
        """These rows of a row group, which is unpacked a little at a time. What is damaged is not tried again."""
        if group in self._damaged:
            raise DataError(self._damaged[group])
        part, number = self._groups[group]
        file, image = self._files[part]
        try:
            return self._reader.read(file, image, number, within, max(AT_ONCE // int(self._each[group]), 1))
        except DataError as fault:
            self._damaged[group] = str(fault)
            raise

    def blocks(self) -> Blocks:
        """Row groups."""
        counts = np.diff(self._ends, prepend=0)
        return Blocks(np.repeat(np.arange(len(counts)), counts), self._each)

    def read(self, block: int, rows: NDArray[np.int64]) -> Sequence[bytes]:
        """These rows of one row group; raises DataError or MissingError."""
        return self._read(block, rows - self._first(block))


def _each(shard: Shard) -> NDArray[np.int64]:
    """Bytes of a picture in each of a file's row groups, and of its place in a column."""
    pairs = zip(shard.sizes, shard.groups, strict=True)
    return np.asarray([size // max(rows, 1) + PLACE for size, rows in pairs], dtype=np.int64)


def files_of(listing: Listing) -> list[Path]:
    """Parquet files of a folder, or of its folders of splits or its one configuration; raises DataError for several."""
    return below(listing, lambda name: name.lower().endswith(".parquet"))


def open_files(path: Path, files: Sequence[Path], layout: Layout = AUTO) -> Source:
    """Files whose names, or the names of whose folders, say their split; raises DataError or ConfigError."""
    layout.only(path, "path_column", "label_column")
    reader = Reader()
    shards = {split: [reader.open(file, layout) for file in group] for split, group in by_split(path, files).items()}
    every = [shard for group in shards.values() for shard in group]
    classes, number = _classes(path, list(shards.values()))
    splits, notes = {}, list(_notes(every, layout))
    for split, group in shards.items():
        part, total = _split(group, number, len(classes), reader), sum(len(shard.codes) for shard in group)
        if len(part):
            splits[split] = part
        if len(part) < total:
            message = f"{total - len(part):,} of {total:,} pictures are left out, for their labels are hidden"
            notes.append(f"{split}: {message} (null or {HIDDEN})")
    return Source(str(path), classes, splits, tuple(notes))


def _notes(shards: Sequence[Shard], layout: Layout) -> Iterator[str]:
    heavy = max(max(shard.sizes) for shard in shards)
    if heavy > HEAVY:
        remark = "each read several times an epoch (smaller ones are better)"
        yield f"its row groups hold up to {heavy / 2**20:.0f} MiB, {remark}"
    if shards[0].several:
        yield IN_LISTS
    if shards[0].also and layout.label_column is None:
        others = ", ".join(map(repr, shards[0].also))
        yield f"labels are taken from {shards[0].label!r}, not from {others} (--label-column names another)"


def _classes(path: Path, splits: Sequence[Sequence[Shard]]) -> tuple[tuple[str, ...], dict[int | str, int]]:
    """(class names, the number of each label); without names on which all files agree the labels are the names."""
    shards = [shard for split in splits for shard in split]
    if len({shard.classes for shard in shards}) > 1:
        raise DataError(f"{path}: one of its files names other classes than the rest (make them agree)")
    if len({shard.several for shard in shards}) > 1:
        raise DataError(f"{path}: labels are lists in one file and not in another (make them agree)")
    each = [{label for shard in split for row in shard.known for label in row or ()} for split in splits]
    labels = set[int | str]().union(*each)
    if len({isinstance(label, str) for label in labels}) > 1:
        raise DataError(f"{path}: labels are words in one file and numbers in another (make them agree)")
    named = shards[0].classes
    if hides(each, named=named is not None):
        labels.discard(HIDDEN)
    if not labels:
        raise DataError(f"{path}: every label is hidden, null or {HIDDEN} (give pictures with labels)")
    if named is not None:
        number: dict[int | str, int] = {label: label for label in range(len(named))}
    else:
        order = sorted(labels, key=lambda label: natural(str(label)))
        named, number = tuple(map(str, order)), {label: place for place, label in enumerate(order)}
    check_classes(path, named)
    return named, number


def _split(shards: Sequence[Shard], number: dict[int | str, int], classes: int, reader: Reader) -> Split:
    """The pictures that have a label."""
    for shard in shards:
        if any(label not in number for row in shard.known if not _is_hidden(row, number) for label in row or ()):
            raise DataError(f"{shard.file}: a label lies outside the {classes} named classes (fix the column)")
    number_of: dict[Row | None, int] = {}
    places = [np.asarray([number_of.setdefault(row, len(number_of)) for row in shard.known]) for shard in shards]
    rows = np.concatenate([place[shard.codes] for place, shard in zip(places, shards, strict=True)])
    meanings = [[] if _is_hidden(row, number) else [number[label] for label in row or ()] for row in number_of]
    several = several_hot(meanings, classes) if shards[0].several else None
    labels = np.asarray([numbers[0] if numbers else 0 for numbers in meanings]) if several is None else several
    names = Numbered([str(shard.file) for shard in shards], [len(shard.codes) for shard in shards])
    whole = Split(ParquetPictures(shards, reader), labels[rows], names)
    kept = np.flatnonzero(~np.asarray([_is_hidden(row, number) for row in number_of])[rows])
    return whole if len(kept) == len(rows) else whole.take(kept)


def _is_hidden(row: Row | None, number: dict[int | str, int]) -> bool:
    return row is None or (row == (HIDDEN,) and HIDDEN not in number)
