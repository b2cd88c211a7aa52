"""The records of a zip archive, read so strictly that no two readers could see different ones.

The archive fills the file: its records lie end to end from the first byte, its directory follows,
and the end record is last. Source: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from inceptory.weights.files.source import Source, quoted

MOST_RECORDS = 10_000
LARGEST_DIRECTORY = 4 * 2**20
LARGEST_ENTRY_TEXT = 2**12
"""Bytes of name or of extra fields of one record."""
BLOCK = 2**20
"""Bytes that are held at a time while a record is checked or inflated."""
SMALL_RECORD = 16 * 2**20
SMALL_RATIO, LARGE_RATIO = 100, 10
"""How much smaller than its content a compressed record may be, below and above SMALL_RECORD."""

END, END_64, LOCATOR_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
CENTRAL, LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")

STORED, DEFLATED = 0, 8
HAS_DESCRIPTOR = 0x0008
KNOWN_FLAGS = HAS_DESCRIPTOR | 0x0800 | 0x0006
"""Sizes after the data, names in UTF-8, and the level of compression."""
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF

AMBIGUOUS = "ambiguous file"
REMEDY = "get it from its publisher again"


@dataclass(frozen=True, slots=True)
class Record:
    """One file of the archive; `start` is where its bytes begin, `header` where its header does."""

    name: str
    header: int
    start: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int


def records(source: Source) -> dict[str, Record]:
    """All records by name, in the order in which they lie; raises DataError."""
    count, start, size = _directory(source)
    entries = sorted(_entries(source, count, start, size), key=lambda record: record.header)
    ends = [record.header for record in entries[1:]] + [start]
    position, located = 0, dict[str, Record]()
    for record, end in zip(entries, ends, strict=True):
        source.require(record.header == position, f"{AMBIGUOUS}, its records overlap or leave a hole", REMEDY)
        source.require(record.name not in located, f"{AMBIGUOUS}, {quoted(record.name)} comes twice", REMEDY)
        located[record.name] = _located(source, record, end)
        position = end
    source.require(position == start, f"{AMBIGUOUS}, bytes lie before its directory", REMEDY)
    return located


def content(source: Source, record: Record, limit: int) -> bytes:
    """The bytes of a record of at most `limit` bytes, checked against its checksum."""
    what = f"record {quoted(record.name)}"
    source.require(record.size <= limit, f"{what} is larger than {limit:,} bytes", "give a file of weights")
    return b"".join(unpacked(source, record))


def verify(source: Source, record: Record) -> None:
    """Raise DataError where a record's bytes are not those that its checksum was made of."""
    for _ in unpacked(source, record):
        pass


def unpacked(source: Source, record: Record) -> Iterator[bytes]:
    """The bytes of a record block by block; raises DataError at the end where they are damaged."""
    total, crc, what = 0, 0, f"record {quoted(record.name)}"
    for block in _inflated(source, record) if record.method == DEFLATED else _blocks(source, record):
        total, crc = total + len(block), zlib.crc32(block, crc)
        source.require(total <= record.size, f"{what} is longer than it says")
        yield block
    source.require(total == record.size, f"{what} is shorter than it says")
    source.require(crc == record.crc, f"{what} is damaged, its checksum does not fit")


def end_record(tail: bytes) -> int:
    """Where an end record that reaches to the end of `tail` begins, or -1."""
    position = tail.rfind(b"PK\5\6")
    while position >= 0:
        rest = len(tail) - position - END.size
        if rest >= 0 and END.unpack_from(tail, position)[7] == rest:
            return position
        position = tail.rfind(b"PK\5\6", 0, position)
    return -1


def _blocks(source: Source, record: Record) -> Iterator[bytes]:
    for offset in range(0, record.packed, BLOCK):
        yield source.at(record.start + offset, min(BLOCK, record.packed - offset))


def _inflated(source: Source, record: Record) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-15)
    try:
        for block in _blocks(source, record):
            rest = block
            source.require(not inflater.eof, f"record {quoted(record.name)} is cut short")
            while rest:
                # Each piece is capped, so that all that a zip bomb unpacks to is never in memory at once.
                yield inflater.decompress(rest, BLOCK)
                rest = inflater.unconsumed_tail
        yield inflater.flush()
    except zlib.error:
        raise source.fault(f"record {quoted(record.name)} is damaged, it cannot be unpacked") from None
    source.require(inflater.eof and not inflater.unused_data, f"record {quoted(record.name)} is cut short")


def _directory(source: Source) -> tuple[int, int, int]:
    """(records, offset, bytes) of the central directory, which ends where the end record begins."""
    last = source.size - END.size
    source.require(last >= 0, "cut short")
    signature, disk, first, here, count, size, start, comment = END.unpack(source.at(last, END.size))
    if signature != b"PK\5\6":
        tail = source.at(max(0, source.size - END.size - FULL_16), min(source.size, END.size + FULL_16))
        source.require(b"PK\5\6" not in tail, f"{AMBIGUOUS}, bytes lie after a zip archive", REMEDY)
        raise source.fault("a zip archive that is cut short")
    source.require(not comment, f"{AMBIGUOUS}, a comment lies after a zip archive", REMEDY)
    source.require(disk == first == 0 and here == count, "a zip archive in several parts", REMEDY)
    end = last
    if last >= LOCATOR_64.size and source.at(last - LOCATOR_64.size, 4) == b"PK\6\7":
        end, (count, size, start) = _directory_64(source, last - LOCATOR_64.size, (count, size, start))
    source.require(count <= MOST_RECORDS, f"a zip archive of more than {MOST_RECORDS:,} records", REMEDY)
    source.require(size <= LARGEST_DIRECTORY, "a zip archive with a directory beyond 4 MiB", REMEDY)
    source.require(start + size == end, f"{AMBIGUOUS}, its directory is not where the end record says", REMEDY)
    return count, start, size


def _directory_64(source: Source, locator: int, plain: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    _, disk, position, disks = LOCATOR_64.unpack(source.at(locator, LOCATOR_64.size))
    end = locator - END_64.size
    source.require(disk == 0 and disks <= 1 and position == end, f"{AMBIGUOUS}, it has two end records", REMEDY)
    signature, length, _, _, disk, first, here, count, size, start = END_64.unpack(source.at(end, END_64.size))
    whole = signature == b"PK\6\6" and length == END_64.size - 12 and disk == first == 0 and here == count
    source.require(whole, "a damaged zip archive")
    for short, full, long in zip(plain, (FULL_16, FULL_32, FULL_32), (count, size, start), strict=True):
        source.require(short in (full, long), f"{AMBIGUOUS}, its two end records disagree", REMEDY)
    return end, (count, size, start)


def _entries(source: Source, count: int, start: int, size: int) -> Iterator[Record]:
    data, position = source.at(start, size), 0
    for _ in range(count):
        source.require(position + CENTRAL.size <= size, "a damaged zip archive")
        fields = CENTRAL.unpack_from(data, position)
        signature, flags, method = fields[0], fields[3], fields[4]
        name_size, extra_size, comment_size, disk = fields[10:14]
        name_at = position + CENTRAL.size
        extra_at = name_at + name_size
        position = extra_at + extra_size + comment_size
        whole = signature == b"PK\1\2" and disk == 0 and position <= size
        source.require(whole and max(name_size, extra_size) <= LARGEST_ENTRY_TEXT, "a damaged zip archive")
        name = _name(source, data[name_at:extra_at])
        source.require(not flags & ~KNOWN_FLAGS, f"record {quoted(name)} is encrypted or of an unknown kind", REMEDY)
        sizes = _wide(source, data[extra_at : extra_at + extra_size], (fields[9], fields[8], fields[16]))
        yield Record(name, sizes[2], 0, sizes[1], sizes[0], fields[7], method, flags)
    source.require(position == size, "a damaged zip archive")


def _name(source: Source, raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise source.fault("a zip archive with a name that is not UTF-8", REMEDY) from None
    parts = name.split("/")
    plain = name and ".." not in parts and not name.startswith("/") and not set(name) & set("\\:\0")
    source.require(bool(plain), f"record {quoted(name)} has a name that leads elsewhere", REMEDY)
    return name


def _wide(source: Source, extra: bytes, plain: tuple[int, int, int]) -> list[int]:
    """(size, packed size, offset), each from the zip64 field where the plain one is full."""
    values, position = list(plain), 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = [
                value for (value,) in struct.iter_unpack("<Q", extra[position + 4 : position + 4 + length // 8 * 8])
            ]
            values = [wide.pop(0) if value == FULL_32 and wide else value for value in values]
            break
        position += 4 + length
    source.require(FULL_32 not in values, "a damaged zip archive")
    return values


def _located(source: Source, record: Record, end: int) -> Record:
    """The record with the place of its bytes; its own header says the same as the directory."""
    what = f"record {quoted(record.name)}"
    signature, _, flags, method, _, _, crc, packed, size, name_size, extra_size = LOCAL.unpack(
        source.at(record.header, LOCAL.size)
    )
    source.require(signature == b"PK\3\4", "a damaged zip archive")
    name = source.at(record.header + LOCAL.size, name_size)
    same = name == record.name.encode() and (flags, method) == (record.flags, record.method)
    pairs = zip((crc, packed, size), (record.crc, record.packed, record.size), strict=True)
    # Streamed records leave these fields empty, zip64 ones leave the sizes full.
    empty = (0,) if flags & HAS_DESCRIPTOR else ()
    same &= all(value in (listed, FULL_32, *empty) for value, listed in pairs)
    source.require(same, f"{AMBIGUOUS}, {what} is described in two ways", REMEDY)
    start = record.header + LOCAL.size + name_size + extra_size
    _descriptor(source, record, start + record.packed, end)
    _compression(source, record)
    return replace(record, start=start)


def _descriptor(source: Source, record: Record, position: int, end: int) -> None:
    """Nothing lies between a record and the next but the sizes of a streamed one."""
    crc, packed, size = record.crc, record.packed, record.size
    short, long = struct.pack("<3L", crc, packed & FULL_32, size & FULL_32), struct.pack("<L2Q", crc, packed, size)
    accepted = [b"PK\7\10" + short, b"PK\7\10" + long, short, long] if record.flags & HAS_DESCRIPTOR else [b""]
    fits = position <= end <= position + 24 and source.at(position, end - position) in accepted
    source.require(fits, f"{AMBIGUOUS}, bytes lie around record {quoted(record.name)}", REMEDY)


def _compression(source: Source, record: Record) -> None:
    what = f"record {quoted(record.name)}"
    if record.method == STORED:
        source.require(record.packed == record.size, f"{what} has two sizes")
        return
    source.require(record.method == DEFLATED, f"{what} is packed in a way that is not read", REMEDY)
    ratio = SMALL_RATIO if record.size <= SMALL_RECORD else LARGE_RATIO
    source.require(record.size <= ratio * record.packed, f"{what} unpacks to far more than it is", REMEDY)


def only_stored(source: Source, archive: dict[str, Record]) -> None:
    """Raise DataError where a record is compressed."""
    for record in archive.values():
        source.require(
            record.method == STORED, f"record {quoted(record.name)} is compressed", "save it again with torch"
        )
