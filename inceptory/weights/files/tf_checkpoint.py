"""Variables out of TensorFlow's checkpoints, without TensorFlow: one table of 2016, or an index with files of data.

tensorflow/core/util/tensor_bundle/tensor_bundle.cc, tensor_slice_writer.cc, and the messages
tensor_bundle.proto, saved_tensor_slice.proto, tensor.proto. Checksums of the data are not compared.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.weights.files.protobuf import BYTES, VARINT, Field, fields, varints
from inceptory.weights.files.sorted_table import table
from inceptory.weights.files.source import MOST_DIMENSIONS, STORED, Contents, Entry, Source, check, numbers, quoted

KIND_TABLE, KIND_INDEX = "tensorflow checkpoint of 2016", "tensorflow checkpoint"
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    19: "float16",
}
"""TensorFlow's numbers of types."""
VALUES = {4: None, 5: "float32", 6: "float64", 7: "varint", 10: "varint"}
"""Where a tensor's values are: as bytes, or as a list of one type."""
PART = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
TOO_OLD = "it is split into slices", "save it again without a partitioner"


def index_of(path: Path) -> Path:
    """The index behind the name of a checkpoint, which itself is no file, or behind a file of its data."""
    part = PART.fullmatch(path.name)
    if not path.name or (part is None and os.path.lexists(path)):
        return path
    index = path.with_name(f"{part[1] if part else path.name}.index")
    return index if os.path.isfile(index) else path


def read_checkpoint(source: Source) -> Contents:
    """Names, shapes and types of the variables; raises DataError.

    Where the index refers to files of data, they are looked for beside it, under the names that TensorFlow gives.
    """
    entries = table(source)
    key, start, size = next(entries, (b"-", 0, 0))
    first = next(fields(source, start, size), None) if key == b"" else None
    if first is None:
        raise source.fault("a table that is no checkpoint of TensorFlow", "give a checkpoint or its index")
    if first.kind == VARINT:
        variables = {key.decode("utf-8"): (start, size) for key, start, size in entries}
        return _indexed(source, first.value, variables)
    return _sliced(source, first, entries)


def _shape(source: Source, field: Field) -> tuple[int, ...]:
    """TensorShapeProto: field 2 is a dimension, whose field 1 is its size."""
    sizes = []
    for dim in fields(source, field.start, field.size):
        if dim.number == 2:
            inside = {each.number: each.value for each in fields(source, dim.start, dim.size)}
            sizes.append(inside.get(1, 0))
    if len(sizes) > MOST_DIMENSIONS or max(sizes, default=0) >= 2**40:
        raise ValueError("an impossible shape")
    return tuple(sizes)


# An index with files of data


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a variable lies."""

    entry: Entry
    shard: int
    start: int


def _indexed(source: Source, shards: int, variables: dict[str, tuple[int, int]]) -> Contents:
    stem = source.path.name.removesuffix(".index")
    located = {name: _bundle_entry(source, name, start, size) for name, (start, size) in variables.items()}
    places = {name: place for name, place in located.items() if place is not None}
    check(source, {name: place.entry for name, place in places.items()})
    files: dict[int, Source] = {}
    for place in places.values():
        if place.shard not in files:
            source.require(place.shard < shards, "refers to a file of data beyond the last one")
            path = source.path.with_name(f"{stem}.data-{place.shard:05}-of-{shards:05}")
            files[place.shard] = Source.open(path)
        files[place.shard].require(place.start + place.entry.size <= files[place.shard].size, "cut short")

    def fetch(name: str) -> NDArray[Any]:
        place = places[name]
        data = files[place.shard].at(place.start, place.entry.size)
        return numbers(np.frombuffer(data, STORED[place.entry.dtype]).reshape(place.entry.shape), place.entry.dtype)

    remark = "its tensors are in files of data beside it; the sha256 is that of the index alone"
    return Contents(KIND_INDEX, {name: place.entry for name, place in places.items()}, fetch, remarks=(remark,))


def _bundle_entry(source: Source, name: str, start: int, size: int) -> _Place | None:
    """BundleEntryProto; None for what holds no numbers, such as the graph of objects of TensorFlow 2."""
    shape: tuple[int, ...] = ()
    values = {1: 0, 3: 0, 4: 0, 5: 0}
    for field in fields(source, start, size):
        source.require(field.number != 7, f"variable {quoted(name)} cannot be read: {TOO_OLD[0]}", TOO_OLD[1])
        if field.number == 2:
            shape = _shape(source, field)
        elif field.number in values and field.kind == VARINT:
            values[field.number] = field.value
    if values[1] not in DTYPES:
        return None
    entry = Entry(shape, DTYPES[values[1]])
    source.require(entry.size == values[5], f"variable {quoted(name)} is not as long as it says")
    return _Place(entry, values[3], values[4])


# One table of 2016


def _sliced(source: Source, meta: Field, entries: Iterator[tuple[bytes, int, int]]) -> Contents:
    variables = dict(_slice_metas(source, meta))
    values: dict[str, Field] = {}
    for _, start, size in entries:
        name, value = _slice(source, start, size)
        source.require(name not in values, f"variable {quoted(name)} cannot be read: {TOO_OLD[0]}", TOO_OLD[1])
        values[name] = value
    missing = [name for name in variables if name not in values]
    source.require(not missing, f"has no values for {quoted(missing[0] if missing else '')}")
    check(source, variables)
    reads = {name: _reader(source, name, entry, values[name]) for name, entry in variables.items()}
    return Contents(KIND_TABLE, variables, lambda name: reads[name]())


def _slice_metas(source: Source, meta: Field) -> Iterator[tuple[str, Entry]]:
    """SavedTensorSliceMeta: field 1 is a tensor, with its name, shape and type."""
    for tensor in fields(source, meta.start, meta.size):
        if tensor.number != 1:
            continue
        parts = {field.number: field for field in fields(source, tensor.start, tensor.size)}
        dtype = DTYPES.get(parts[3].value)
        shape = _shape(source, parts[2]) if 2 in parts else ()
        if dtype is not None:
            yield _text(source, parts[1]), Entry(shape, dtype)


def _text(source: Source, field: Field) -> str:
    return source.at(field.start, field.size).decode("utf-8")


def _slice(source: Source, start: int, size: int) -> tuple[str, Field]:
    """(name, where the values are) of SavedTensorSlices.data: its name is field 1, its tensor field 3."""
    data = next(field for field in fields(source, start, size) if field.number == 2)
    parts = {field.number: field for field in fields(source, data.start, data.size)}
    inside = [field for field in fields(source, parts[3].start, parts[3].size) if field.number in VALUES]
    value = next((field for field in inside if field.kind == BYTES), Field(4, BYTES, 0, start, 0))
    return _text(source, parts[1]), value


def _reader(source: Source, name: str, entry: Entry, value: Field) -> Callable[[], NDArray[Any]]:
    stored = VALUES[value.number]
    fits = stored == "varint" or (stored in (None, entry.dtype) and value.size == entry.size)
    source.require(fits, f"variable {quoted(name)} is not as long as it says")

    def read() -> NDArray[Any]:
        data = source.at(value.start, value.size)
        if stored != "varint":
            return numbers(np.frombuffer(data, STORED[entry.dtype]).reshape(entry.shape), entry.dtype)
        whole = np.array(list(varints(data)), dtype=np.uint64).astype(STORED[entry.dtype])
        source.require(whole.size == prod(entry.shape), f"variable {quoted(name)} is not as long as it says")
        return whole.reshape(entry.shape)

    return read
