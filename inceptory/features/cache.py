"""Vectors that were computed before: one SQLite file for each network, layer, preprocessing and arithmetic.

A vector is found by the content of its picture, never by a name, so a file that was moved, copied or labelled anew is
known again. Each batch is a transaction of its own: a process that is killed loses what it had not finished. Each row
bears a checksum, and a file that is damaged is put away and begun anew. What was not used for longest is removed when
all files together exceed the limit ($INCEPTORY_CACHE_LIMIT).

Files lie in `features` inside the cache folder ($INCEPTORY_CACHE; `inceptory cache` shows and empties it).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from inceptory.errors import Doubt, UsageError, WriteError
from inceptory.system.fetch import cache_folder
from inceptory.system.files import reason

FOLDER = "features"
SUFFIX = ".sqlite"
CONTENT, INDEX = ("", "-wal", "-journal"), "-shm"
"""Ends of the names that SQLite gives to a file and to what it keeps beside it; the index is there while it is open."""
LIMIT = "20GB"
"""Of all files together where $INCEPTORY_CACHE_LIMIT says nothing: 2.4 million vectors of 2,048 numbers."""
VARIABLE = "INCEPTORY_CACHE_LIMIT"
SLACK = 50
"""The limit is looked at whenever another such part of it was written."""
AT_ONCE = 500
"""Keys in one question; SQLite before 3.32 takes 999."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes the same file."""
TABLES = {
    "about": "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "vectors": "CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL)",
}
FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite's module raises; the latter where a fault's own words come out of a damaged file."""
BUSY, DAMAGED = 5, (1, 11, 26)
"""SQLite's numbers of faults: another process has the file; no such table or column, malformed, no database."""

Vector = NDArray[np.float32]


def size_of(text: str, flag: str) -> int:
    """Bytes in "20GB"; raises UsageError naming the flag."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"{flag} {text}: not a size (such as 500MB or 20GB)")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def limit() -> int:
    """Bytes that all files may take together; raises UsageError."""
    return size_of(os.environ.get(VARIABLE) or LIMIT, VARIABLE)


def folder() -> Path:
    """Where the files lie."""
    return cache_folder() / FOLDER


@dataclass(frozen=True)
class Kept:
    """One file of vectors."""

    path: Path
    size: int
    """Bytes, with what is still to be written into it."""
    used: float
    """When it was last used, in seconds since 1970."""

    def about(self) -> dict[str, Any]:
        """What the vectors are of; empty for a file that cannot be read."""
        try:
            with contextlib.closing(_connection(self.path)) as connection:
                notes = dict(connection.execute("SELECT name, value FROM about"))
                ((count,),) = connection.execute("SELECT COUNT(*) FROM vectors")
            return {**json.loads(notes["of"]), "model": notes["model"], "vectors": count}
        except (*FAULTS, ValueError, KeyError, TypeError):
            return {}

    def remove(self) -> bool:
        """Delete the file, if no other process has it open; whether it is gone. Raises WriteError."""
        try:
            with contextlib.closing(_connection(self.path, patience=0)) as connection:
                # Refused while anybody else has the file open.
                connection.execute("PRAGMA journal_mode = DELETE")
        except FAULTS as fault:
            if _number(fault) == BUSY:
                return False
        _remove(self.path)
        return True


def kept() -> list[Kept]:
    """Every file of vectors, the one used last first."""
    place, every = folder(), []
    for path in sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else []:
        with contextlib.suppress(OSError):
            every.append(Kept(path, _size(path), path.stat().st_mtime))
    return sorted(every, key=lambda one: one.used, reverse=True)


def trim(most: int, but: Path | None = None) -> int:
    """Remove the files used longest ago, but for one, until all take at most so many bytes; the bytes removed.

    Files that another process has open stay.
    """
    every, removed = kept(), 0
    total = sum(one.size for one in every)
    for one in reversed(every):
        if total - removed > most and one.path != but and one.remove():
            removed += one.size
    return removed


class Cache:
    """Vectors of one network and layer. Closes itself by `with`; where nothing can be written it keeps nothing."""

    def __init__(self, what: dict[str, Any]) -> None:
        """The vectors that were computed as `what` says, to be read and added to.

        A folder that cannot be written to gives a cache that keeps nothing, and a Doubt says so. Raises UsageError for
        a limit that is no size.
        """
        self._of = json.dumps(what, sort_keys=True)
        self.path = folder() / f"{hashlib.sha256(self._of.encode()).hexdigest()[:32]}{SUFFIX}"
        self._limit, self._written, self._lost = limit(), 0, False
        self._connection: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _opened(self.path, self._of)
        except OSError as fault:
            self._lose(reason(fault))
        except FAULTS as fault:
            self._failed(fault)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if not self._lost:
            trim(self._limit, self.path)

    def note(self, name: str) -> str | None:
        """A text that was kept under a name."""
        rows = self._all("SELECT value FROM about WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def put_note(self, name: str, value: str) -> None:
        """Keep a text under a name."""
        self._write("INSERT OR REPLACE INTO about VALUES (?, ?)", [(name, value)])

    def get(self, keys: NDArray[np.uint8]) -> Iterator[tuple[int, Vector]]:
        """(place in `keys` (n, bytes), vector) of those that are here and whole."""
        for start in range(0, len(keys), AT_ONCE):
            places: dict[bytes, list[int]] = {}
            for place, key in enumerate(keys[start : start + AT_ONCE], start):
                places.setdefault(key.tobytes(), []).append(place)
            marks = ",".join("?" * len(places))
            for key, content, checksum in self._all(f"SELECT * FROM vectors WHERE key IN ({marks})", list(places)):
                if isinstance(content, bytes) and checksum == zlib.crc32(content, zlib.crc32(key)):
                    for place in places[key]:
                        yield place, np.frombuffer(content, dtype="<f4")

    def put(self, keys: NDArray[np.uint8], vectors: Sequence[Vector] | Vector) -> None:
        """Keep vectors (n, length), all of them or none.

        A full disk, or the limit, is told once; nothing more is kept from then on, and what is here is still read.
        """
        rows = []
        for key, vector in zip((key.tobytes() for key in keys), vectors, strict=True):
            content = vector.astype("<f4").tobytes()
            rows.append((key, content, zlib.crc32(content, zlib.crc32(key))))
            self._written += len(content)
        self._write("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
        if self._written * SLACK > self._limit and not self._lost:
            self._written = 0
            self._all("PRAGMA wal_checkpoint(TRUNCATE)")
            trim(self._limit, self.path)
            if _size(self.path) > self._limit:
                self._lose(f"has reached the limit of {os.environ.get(VARIABLE) or LIMIT}")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _all(self, question: str, values: Sequence[object] = ()) -> list[Any]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(question, values).fetchall()
        except FAULTS as fault:
            self._failed(fault)
        return []

    def _write(self, order: str, rows: Sequence[tuple[object, ...]]) -> None:
        if self._connection is None or self._lost:
            return
        try:
            with _transaction(self._connection):
                self._connection.executemany(order, rows)
        except FAULTS as fault:
            self._failed(fault)

    def _failed(self, fault: Exception) -> None:
        """An empty file in place of a damaged one; of any other fault that nothing is kept from now on."""
        if _number(fault) not in DAMAGED:
            self._lose(str(fault))
            return
        self._close()
        warnings.warn(f"{self.path}: damaged, {fault}; its vectors are computed anew (nothing to do)", Doubt, 2)
        try:
            _remove(self.path)
            self._connection = _opened(self.path, self._of)
        except (WriteError, *FAULTS) as again:
            self._lose(str(again))

    def _lose(self, why: str) -> None:
        if not self._lost:
            told = f"{self.path}: {why}; the work goes on, and what it computes is not kept for the next time"
            remedy = f"make room, raise {VARIABLE}, or set INCEPTORY_CACHE to another folder"
            warnings.warn(f"{told} ({remedy})", Doubt, stacklevel=2)
        self._lost = True


def _connection(path: Path, patience: float = PATIENCE, mode: str = "rw") -> sqlite3.Connection:
    """A file open for reading and writing; a mode of rwc makes it."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, and no other process in between."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def _opened(path: Path, of: str) -> sqlite3.Connection:
    """A file of the vectors `of` something, made where there is none."""
    connection = _connection(path, mode="rwc")
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        with _transaction(connection):
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                for table in TABLES.values():
                    connection.execute(table)
                connection.execute("INSERT INTO about VALUES ('of', ?)", (of,))
            elif tables != TABLES.keys():
                raise sqlite3.DatabaseError("another program's file")
            elif [*connection.execute("SELECT value FROM about WHERE name = 'of'")] != [(of,)]:
                raise sqlite3.DatabaseError("another network's vectors")
        # With a log of what is new, a batch waits for no disk: a killed process leaves a whole file, and only a power
        # cut may lose the last batches. While another process is at the very same point it stays as it is.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        os.utime(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _number(fault: Exception) -> int:
    """SQLite's number of a fault; that of a damaged file for what this module or Python's finds wrong in one."""
    return getattr(fault, "sqlite_errorcode", DAMAGED[0]) & 0xFF


def _size(path: Path) -> int:
    """Bytes of a file and of what is still to be written into it."""
    total = 0
    for end in CONTENT:
        with contextlib.suppress(FileNotFoundError):
            total += path.with_name(path.name + end).stat().st_size
    return total


def _remove(path: Path) -> None:
    """Delete a file and what lies beside it; raises WriteError."""
    try:
        for end in (*CONTENT, INDEX):
            path.with_name(path.name + end).unlink(missing_ok=True)
    except OSError as fault:
        raise WriteError(f"{path}: cannot be removed, {reason(fault)} (check its permissions)") from fault
