"""Labelled pictures in parquet files, in the Hugging Face image layout.

An image column holds {bytes, path} or plain bytes; a label column holds numbers of named classes
(the file's own metadata names them), or plain numbers or words, which are then the names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inceptory.data.images import Picture
from inceptory.data.sources import SPLITS, Source, Split, natural
from inceptory.errors import DataError

LABELS = ("label", "labels", "class")


@dataclass(frozen=True)
class Shard:
    """One file, read."""

    file: Path
    pictures: list[Picture]
    labels: list[Any]
    classes: tuple[str, ...] | None
    """Names that the file itself gives to the numbers of its labels."""


def files_of(folder: Path) -> list[Path]:
    """Parquet files of a data set: in the folder or in its `data`."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")], key=lambda file: natural(file.name))


def open_parquet(path: Path) -> Source:
    """A file, or a folder of files whose names begin with their split; raises DataError."""
    shards: dict[str, list[Shard]] = {}
    for file in [path] if path.is_file() else files_of(path):
        word = re.split(r"[^a-z]", file.stem.lower())[0]
        shards.setdefault(SPLITS.get(word, "train"), []).append(_read(file))
    every = [shard for group in shards.values() for shard in group]
    classes = _classes(path, every)
    splits = {split: _split(group, classes, named=every[0].classes is not None) for split, group in shards.items()}
    return Source(str(path), classes, splits)


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
    pictures: list[Picture] = []
    labels: list[int] = []
    names: list[str] = []
    for shard in shards:
        codes = shard.labels if named else [code[str(label)] for label in shard.labels]
        if not all(0 <= number < len(classes) for number in codes):
            raise DataError(f"{shard.file}: a label lies outside the {len(classes)} named classes (mend the column)")
        pictures += shard.pictures
        labels += codes
        names += [f"{shard.file}:{row}" for row in range(len(codes))]
    return Split(pictures, np.asarray(labels, dtype=np.int64), names)


def _read(file: Path) -> Shard:
    try:
        schema = pq.read_schema(file)
        image, label, classes = _columns(file, schema)
        table = pq.read_table(file, columns=[image, label])
    except PermissionError:
        raise
    except (pa.ArrowException, OSError) as fault:
        # pyarrow reports a damaged page as an OSError too; the file was there a moment ago.
        raise DataError(f"{file}: not a readable parquet file, {fault} (write it again)") from None
    if not len(table):
        raise DataError(f"{file}: holds no rows (write it again)")
    return Shard(file, _blobs(file, table.column(image)), _labels(file, table.column(label), classes), classes)


def _blobs(file: Path, column: Any) -> list[Picture]:
    column = column.combine_chunks()
    blobs: list[Picture | None]
    blobs = column.field("bytes").to_pylist() if pa.types.is_struct(column.type) else column.to_pylist()
    if None in blobs:
        raise DataError(f"{file}: row {blobs.index(None)} holds no picture bytes (embed the pictures in the file)")
    return [blob for blob in blobs if blob is not None]


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
