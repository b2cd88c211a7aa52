"""Tensors out of a .safetensors file: a JSON header, then the bytes of the tensors without a gap.

Source: the format's description in huggingface/safetensors; our caps are lower than its own.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.weights.files.source import (
    LARGEST_HEADER,
    MOST_DIMENSIONS,
    MOST_TENSORS,
    STORED,
    Contents,
    Entry,
    Source,
    check,
    itemsize,
    numbers,
    quoted,
)

KIND = "safetensors"
LENGTH = 8
"""Bytes before the header that say how long it is."""

DTYPES = {
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "BF16": "bfloat16",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
}

METADATA = "__metadata__"
"""Where the header keeps what is no tensor: texts by name."""
Header = dict[str, Any]


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that starts with these bytes is meant to be one."""
    return len(head) > LENGTH and head[LENGTH] == ord("{") and header_length(head) < 2**48


def header_length(head: bytes) -> int:
    """Bytes of the header of a file that starts with these bytes, as it says itself."""
    return int.from_bytes(head[:LENGTH], "little")


def read_header(source: Source) -> tuple[Header, int]:
    """(the header's table as it stands, where the tensors begin): for callers that need nothing of the tensors.

    Raises DataError for a header that is longer than any of ours, no JSON, nested too deeply, or has a key twice.
    """
    length = header_length(source.at(0, LENGTH))
    source.require(length <= LARGEST_HEADER, "its header is longer than 2 MiB", "give a file of weights")
    return _parse(source, source.at(LENGTH, length)), LENGTH + length


def read_safetensors(source: Source) -> Contents:
    """Names, shapes and types of all tensors, and the metadata; raises DataError."""
    header, begin = read_header(source)
    metadata = _metadata(source, header.pop(METADATA, {}))
    source.require(len(header) <= MOST_TENSORS, f"holds more than {MOST_TENSORS:,} tensors", "give a file of weights")
    entries = {name: _entry(source, name, fields) for name, fields in header.items()}
    check(source, entries)
    starts = {name: begin + fields["data_offsets"][0] for name, fields in header.items()}
    _tile(source, entries, starts, begin)

    def fetch(name: str) -> NDArray[Any]:
        entry = entries[name]
        stored = np.frombuffer(source.at(starts[name], entry.size), STORED[entry.dtype])
        return numbers(stored.reshape(entry.shape), entry.dtype)

    return Contents(KIND, entries, fetch, metadata=metadata)


def _parse(source: Source, text: bytes) -> Header:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as fault:
        problem = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise source.fault(f"its header is damaged, {quoted(problem)}") from None
    source.require(isinstance(header, dict), "its header is no table")
    return dict(header)


def _unique(pairs: list[tuple[str, Any]]) -> Header:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name comes twice")
    return table


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


def _metadata(source: Source, metadata: Any) -> dict[str, str]:
    texts = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    source.require(texts, "its metadata is not a table of texts")
    return dict(metadata)


def _entry(source: Source, name: str, fields: Any) -> Entry:
    what = f"tensor {quoted(name)}"
    complete = isinstance(fields, dict) and fields.keys() == {"dtype", "shape", "data_offsets"}
    source.require(complete, f"{what} is described wrongly")
    dtype, shape, span = fields["dtype"], fields["shape"], fields["data_offsets"]
    supported = isinstance(dtype, str) and dtype in DTYPES
    source.require(supported, f"{what} has a type that is not read, {quoted(dtype)}", "save it as F32")
    source.require(_naturals(shape) and _naturals(span) and len(span) == 2, f"{what} is described wrongly")
    source.require(len(shape) <= MOST_DIMENSIONS, f"{what} has more than {MOST_DIMENSIONS} dimensions")
    source.require(prod(shape) > 0, f"{what} has no elements")
    entry = Entry(tuple(shape), DTYPES[dtype])
    source.require(prod(shape) * itemsize(entry.dtype) == span[1] - span[0], f"{what} has a shape of another size")
    return entry


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _tile(source: Source, entries: dict[str, Entry], starts: dict[str, int], position: int) -> None:
    """The tensors lie end to end, from the header to the end of the file."""
    for name in sorted(starts, key=starts.__getitem__):
        source.require(starts[name] == position, f"tensor {quoted(name)} overlaps another or leaves a hole")
        position += entries[name].size
    what = "cut short" if position > source.size else "has bytes after its tensors"
    source.require(position == source.size, what)
