"""A table of LevelDB's kind: keys in order with their values, in blocks under an index.

tensorflow/core/lib/io/{format,block,table_builder}.cc. The index of a TensorFlow checkpoint is such a
table, and a checkpoint of before 2017 is one as a whole. TensorFlow writes them without compression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from inceptory.weights.files.protobuf import varint
from inceptory.weights.files.source import Source

END = bytes.fromhex("57fb808b247547db")
"""The last bytes of a table."""
FOOTER = 48
TRAILER = 5
"""Bytes after each block: its compression, and a checksum."""
MOST_ENTRIES = 50_000
LONGEST_KEY = 4_096
LONGEST_HEAD = 15

Entry = tuple[bytes, int, int]
"""Key, and where its value begins and how long it is."""


def is_table(source: Source) -> bool:
    """Whether a file ends as a table does."""
    return source.size >= FOOTER and source.at(source.size - len(END), len(END)) == END


def table(source: Source) -> Iterator[Entry]:
    """Every entry of the table; raises DataError or ValueError where it is damaged."""
    footer = source.at(source.size - FOOTER, FOOTER)
    _, position = _handle(footer, 0)
    index, _ = _handle(footer, position)
    count = 0
    for _, start, size in _block(source, *index):
        place, _ = _handle(source.at(start, size), 0)
        for entry in _block(source, *place):
            count += 1
            source.require(count <= MOST_ENTRIES, f"holds more than {MOST_ENTRIES:,} variables", "give a checkpoint")
            yield entry


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """((offset, size) of a block, position after it)."""
    start, position = varint(data, position)
    size, position = varint(data, position)
    return (start, size), position


def _block(source: Source, start: int, size: int) -> Iterator[Entry]:
    """Entries of a block, whose keys leave out what they share with the one before."""
    source.require(source.at(start + size, TRAILER)[0] == 0, "its table is compressed", "save it again with TensorFlow")
    (restarts,) = struct.unpack("<I", source.at(start + size - 4, 4))
    position, end = start, start + size - 4 - 4 * restarts
    key = b""
    while position < end:
        head = source.at(position, min(LONGEST_HEAD, end - position))
        shared, used = varint(head)
        more, used = varint(head, used)
        length, used = varint(head, used)
        if shared > len(key) or shared + more > LONGEST_KEY:
            raise ValueError("an impossible key")
        key = key[:shared] + source.at(position + used, more)
        position += used + more
        yield key, position, length
        position += length
    if position != end:
        raise ValueError("a block has no end")
