"""The members of a tar by its headers: POSIX ustar and pax, and GNU's long names. Nothing is unpacked.

Python's own reader keeps an object for each member and takes minutes for two million of them.
Layout of a header: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from inceptory.errors import DataError

BLOCK = 512
LONGEST_NAME = 2**16
"""Bytes of a long name or a pax header."""
MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""First bytes of what gzip, bzip2, xz and zstd write."""
REGULAR, FOLDERS, SILENT = b"0\0" + b"7", b"5", b"gVK"
"""Type flags: files; folders; headers that tell nothing that is needed here."""


@dataclass(slots=True)
class Member:
    """A regular file in a tar."""

    stream: IO[bytes]
    name: str
    offset: int
    size: int

    def read(self, most: int) -> bytes:
        """Its bytes, at most so many."""
        self.stream.seek(self.offset)
        return self.stream.read(min(self.size, most))


def is_compressed(file: Path) -> bool:
    """Whether a file begins as compressed ones do."""
    with open(file, "rb") as stream:
        return stream.read(6).startswith(MAGICS)


def members(stream: IO[bytes], name: str) -> Iterator[Member]:
    """Every regular file in a tar, in its order.

    Raises DataError, with `name` before it, for a tar that is damaged or cut short and for members
    that are links, devices or lead out of it: none of these is a picture.
    """
    end = os.fstat(stream.fileno()).st_size
    position, long_name, pax = 0, "", dict[str, str]()
    while block := _header(stream, name, position):
        kind, size = block[156:157], _size(block, name, position)
        offset = position + BLOCK
        if kind == b"x":
            pax = _pax(stream, name, offset, size)
        elif kind == b"L":
            long_name = _text(stream, name, offset, size).rstrip("\0")
        else:
            size = int(pax.get("size", size))
            path = pax.get("path") or long_name or _name(block)
            pax, long_name = {}, ""
            if offset + size > end:
                raise DataError(f"{name}: cut short in {path!r} (fetch or write it again)")
            if kind in REGULAR and kind and not path.endswith("/"):
                yield Member(stream, _safe(name, path), offset, size)
            elif kind not in FOLDERS + SILENT:
                raise DataError(f"{name}: {path!r} is a link, a device or sparse (pack the files themselves)")
        position = offset + -(-size // BLOCK) * BLOCK


def _header(stream: IO[bytes], name: str, position: int) -> bytes:
    """The header at a position; empty at the end."""
    stream.seek(position)
    block = stream.read(BLOCK)
    if not block or not block.strip(b"\0"):
        return b""
    checksum = _octal(block[148:156])
    if len(block) < BLOCK or checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        what = "not a readable tar" if position == 0 else f"damaged or cut short at byte {position}"
        raise DataError(f"{name}: {what} (fetch or write it again)")
    return block


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]{1,12}", digits) else -1


def _size(block: bytes, name: str, position: int) -> int:
    field = block[124:136]
    # GNU's way to write sizes of 8 GiB and more: a set first bit, then a binary number.
    size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    if size < 0:
        raise DataError(f"{name}: damaged at byte {position} (fetch or write it again)")
    return size


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0")[0]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return (prefix + b"/" * bool(prefix) + name).decode("utf-8", "surrogateescape")


def _text(stream: IO[bytes], name: str, offset: int, size: int) -> str:
    if size > LONGEST_NAME:
        raise DataError(f"{name}: a name of {size} bytes at byte {offset} (pack it with shorter names)")
    stream.seek(offset)
    return stream.read(size).decode("utf-8", "surrogateescape")


def _pax(stream: IO[bytes], name: str, offset: int, size: int) -> dict[str, str]:
    """The records "length key=value" of an extended header that matter here."""
    text = _text(stream, name, offset, size)
    records = dict(re.findall(r"\d+ (path|size)=([^\n]*)\n", text))
    if not records.get("size", "0").isdecimal():
        raise DataError(f"{name}: damaged at byte {offset} (fetch or write it again)")
    return records


def _safe(name: str, member: str) -> str:
    if member.startswith("/") or ".." in member.split("/") or "\0" in member:
        raise DataError(f"{name}: {member!r} leads out of it (pack the files with plain names)")
    return member.removeprefix("./")
