"""Checkpoints as TensorFlow writes them, byte by byte: messages, tables, and the two layouts of variables."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

END = bytes.fromhex("57fb808b247547db")
Array = np.ndarray
DTYPES = {"float32": 1, "float64": 2, "int64": 9, "float16": 19}
LISTS = {"float32": 5, "float64": 6}


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, last = b"", b""
    for key, value in entries:
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + struct.pack("<II", 0, 1)


def table(entries: Mapping[bytes, bytes], at_a_time: int = 3) -> bytes:
    """A table of several blocks."""
    out, index, keys = b"", [], sorted(entries)
    for i in range(0, len(keys), at_a_time):
        here = keys[i : i + at_a_time]
        content = block([(key, entries[key]) for key in here])
        index.append((here[-1], varint(len(out)) + varint(len(content))))
        out += content + bytes(5)
    handles = b""
    for content in (block([]), block(index)):
        handles += varint(len(out)) + varint(len(content))
        out += content + bytes(5)
    return out + handles.ljust(40, b"\0") + END


def shape(array: Array) -> bytes:
    return b"".join(field(2, field(1, size)) for size in array.shape)


def of_2016(variables: Mapping[str, Array]) -> bytes:
    """One table that holds everything."""
    meta = b"".join(
        field(1, field(1, name.encode()) + field(2, shape(array)) + field(3, DTYPES[str(array.dtype)]))
        for name, array in variables.items()
    )
    entries = {b"": field(1, meta)}
    for name, array in variables.items():
        kind = str(array.dtype)
        values = array.tobytes() if kind in LISTS else b"".join(varint(int(each)) for each in array.ravel())
        tensor = field(1, DTYPES[kind]) + field(LISTS.get(kind, 10), values)
        entries[b"\0" + name.encode()] = field(2, field(1, name.encode()) + field(2, b"") + field(3, tensor))
    return table(entries)


def indexed(variables: Mapping[str, Array], shards: int = 1) -> tuple[bytes, list[bytes]]:
    """(index, files of data)."""
    data = [b""] * shards
    entries = {b"": field(1, shards) + field(3, field(1, 1))}
    for i, (name, array) in enumerate(variables.items()):
        shard = i % shards
        told = field(1, DTYPES[str(array.dtype)]) + field(2, shape(array))
        told += field(3, shard) + field(4, len(data[shard])) + field(5, array.nbytes)
        entries[name.encode()] = told + varint(6 << 3 | 5) + bytes(4)
        data[shard] += array.tobytes()
    return table(entries), data
