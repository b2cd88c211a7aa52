"""The wire format of protocol buffers: numbered fields of a message, found without reading what is in them.

protobuf.dev/programming-guides/encoding. No schema takes part: a reader knows the numbers that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from inceptory.weights.files.source import Source

LONGEST_HEAD = 20
"""Bytes of a field's number and its length, ten of each at most."""
MOST_FIELDS = 500_000
"""Fields of one message; the largest that we read has a few hundred."""
FIXED = {1: 8, 5: 4}
VARINT, BYTES = 0, 2


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, and where its content lies in the file."""

    number: int
    kind: int
    value: int
    """Of a whole number; of anything else 0."""
    start: int
    size: int


def fields(source: Source, start: int, size: int) -> Iterator[Field]:
    """The fields of the message in these bytes; raises ValueError where they are no message."""
    position, end = start, start + size
    for _ in range(MOST_FIELDS):
        if position == end:
            return
        head = source.at(position, min(LONGEST_HEAD, end - position))
        key, used = varint(head)
        kind, value, length = key & 7, 0, 0
        if kind == VARINT:
            value, used = varint(head, used)
        elif kind == BYTES:
            length, used = varint(head, used)
        else:
            length = FIXED[kind]
        start, position = position + used, position + used + length
        if position > end:
            raise ValueError("a field leaves its message")
        yield Field(key >> 3, kind, value, start, length)
    raise ValueError("too many fields")


def varint(data: bytes, position: int = 0) -> tuple[int, int]:
    """(number, position after it); raises ValueError for one of more than 64 bits, IndexError beyond the end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number does not end")


def varints(data: bytes) -> Iterator[int]:
    """The numbers of a packed field."""
    position = 0
    while position < len(data):
        value, position = varint(data, position)
        yield value
