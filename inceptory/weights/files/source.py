"""The bytes of a weight file by offset, what a reader finds in them, and the faults that all share."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.errors import DataError, MissingError, printable
from inceptory.system.files import reason

LARGEST = 2 * 2**30
"""Bytes of tensors in one file; the largest network of the family needs a ninth of it."""
MOST_TENSORS = 5_000
MOST_DIMENSIONS = 32
LONGEST_QUOTE = 80

DOWNLOAD = "download it again"
LARGEST_HEADER = 2**21
"""Bytes of a safetensors header that we read and write; the largest network of the family needs a tenth of it."""
BLOCK = 2**20
"""Bytes that are held at a time while a file is hashed."""

STORED = {
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "bfloat16": "<u2",
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "<u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "bool": "<u1",
}
"""How numpy reads the bytes of each type that we accept; it has no bfloat16 of its own."""


class _File(io.FileIO):
    """Closes without a warning when its last reader is gone."""

    def __del__(self) -> None:
        self.close()


class Source:
    """A regular file, or a part of one, read by offset; nothing beyond its end is ever read.

    Not for several threads at a time: they would share one position in the file.
    """

    def __init__(self, path: Path, file: io.FileIO, start: int, size: int) -> None:
        self.path = path
        self.size = size
        self._file = file
        self._start = start
        self._opened = _state(file)

    @classmethod
    def open(cls, path: Path | str) -> Source:
        """Open a regular file; raises MissingError for everything else, and never waits for a pipe."""
        path = Path(path)
        try:
            _regular(path, os.stat(path))
            file = _File(path, opener=_open)
            status = os.fstat(file.fileno())
        except FileNotFoundError:
            raise MissingError(f"{path}: no such file (check the path)") from None
        except OSError as fault:
            raise MissingError(f"{path}: cannot be read, {reason(fault)} (check its permissions)") from fault
        except ValueError:
            raise MissingError(f"{quoted(path)}: no path at all (check it)") from None
        # Another file may have taken the name between the two calls.
        _regular(path, status)
        return cls(path, file, 0, status.st_size)

    @classmethod
    def of(cls, path: Path, handle: int) -> Source:
        """A file that is open already, such as a temporary one; `path` is what faults name."""
        file = _File(handle, "rb")
        return cls(path, file, 0, os.fstat(handle).st_size)

    def part(self, start: int, size: int) -> Source:
        """`size` bytes from `start` on as a source of its own."""
        self.require(0 <= start <= start + size <= self.size, "cut short")
        return Source(self.path, self._file, self._start + start, size)

    def at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset` on; raises DataError where the file has no such bytes."""
        self.require(0 <= offset <= offset + count <= self.size, "cut short")
        try:
            self._file.seek(self._start + offset)
            data = self._file.read(count)
            while len(data) < count and (more := self._file.read(count - len(data))):
                data += more
        except OSError as fault:
            raise MissingError(f"{self.path}: cannot be read, {reason(fault)} (check the disk)") from fault
        self.require(len(data) == count, "became shorter while it was read")
        return data

    def digest(self, algorithm: str) -> str:
        """Hexadecimal hash of these bytes, of the file that is open: another may have its name by now."""
        hasher = hashlib.new(algorithm, usedforsecurity=False)
        for offset in range(0, self.size, BLOCK):
            hasher.update(self.at(offset, min(BLOCK, self.size - offset)))
        return hasher.hexdigest()

    def require_unchanged(self) -> None:
        """Raise DataError where somebody has written into the file since it was opened."""
        self.require(_state(self._file) == self._opened, "was changed while it was read", "try again")

    def close(self) -> None:
        """Close the file, for its parts too."""
        self._file.close()

    def fault(self, what: str, remedy: str = DOWNLOAD) -> DataError:
        """The error that names this file."""
        return DataError(f"{self.path}: {what} ({remedy})")

    def require(self, holds: bool, what: str, remedy: str = DOWNLOAD) -> None:
        """Raise the fault unless `holds`."""
        if not holds:
            raise self.fault(what, remedy)


def _state(file: io.FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
    raise MissingError(f"{path}: {kind}, not a file (give a weight file)")


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def quoted(name: object) -> str:
    """A name out of a file, printable and short enough for a message."""
    text = printable(str(name)[: LONGEST_QUOTE + 1])
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


@dataclass(frozen=True, slots=True)
class Entry:
    """Shape and type of one tensor; the type has numpy's name, or is "bfloat16"."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes that the tensor takes as stored."""
        return prod(self.shape) * itemsize(self.dtype)


@dataclass(frozen=True)
class Contents:
    """What a reader found: everything but the tensors, and the way to each of them."""

    kind: str
    entries: dict[str, Entry]
    fetch: Callable[[str], NDArray[Any]]
    """The tensor of an entry as stored; bfloat16 comes out as float32, which holds it exactly."""
    config: dict[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    layer_names: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    """What the reader chose where the file left a choice."""


def itemsize(dtype: str) -> int:
    """Bytes of one element."""
    return np.dtype(STORED[dtype]).itemsize


def numbers(stored: NDArray[Any], dtype: str) -> NDArray[Any]:
    """A fresh, contiguous array in the machine's byte order from elements as stored."""
    if dtype == "bfloat16":
        # The upper half of a float32: widening by 16 zero bits is exact.
        wide: NDArray[np.uint32] = stored.astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32)
    if dtype == "bool":
        return stored.astype(np.bool_)
    return np.array(stored, dtype=stored.dtype.newbyteorder("="), order="C")


def check(source: Source, entries: dict[str, Entry]) -> None:
    """Raise DataError where a file holds no tensors, too many, or too large ones."""
    source.require(bool(entries), "holds no tensors", "give a file of weights")
    source.require(len(entries) <= MOST_TENSORS, f"holds more than {MOST_TENSORS:,} tensors", "give a file of weights")
    total = sum(entry.size for entry in entries.values())
    source.require(total <= LARGEST, "its tensors would take more than 2 GiB", "give a file of weights")
