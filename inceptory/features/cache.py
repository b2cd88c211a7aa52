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
from collections.abc import Iterable, Iterator, Sequence
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
LIMIT = "20GB"
"""Of all files together where $INCEPTORY_CACHE_LIMIT says nothing: 2.4 million vectors of 2,048 numbers."""
VARIABLE = "INCEPTORY_CACHE_LIMIT"
AT_ONCE = 500
"""Keys in one question; SQLite before 3.32 takes 999."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes the same file."""
TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL);
"""
UNITS = {"": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}

Vector = NDArray[np.float32]


def size_of(text: str, flag: str) -> int:
    """Bytes in "20GB"; raises UsageError naming the flag."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"{flag} {text}: not a size (such as 500MB or 20GB)")
    return int(float(match[1]) * UNITS[(match[2] or "").upper().removesuffix("B") + "B" * bool(match[2])])


def limit() -> int:
    """Bytes that all files may take together."""
    return size_of(os.environ.get(VARIABLE) or LIMIT, VARIABLE)


def folder() -> Path:
    """Where the files lie."""
    return cache_folder() / FOLDER


@dataclass(frozen=True)
class Kept:
    """One file of vectors."""

    path: Path
    size: int
    """Bytes, with what SQLite keeps beside it."""
    used: float
    """When it was last used, in seconds since 1970."""

    def about(self) -> dict[str, Any]:
        """What the vectors are of; empty for a file that is damaged."""
        with contextlib.suppress(sqlite3.Error, ValueError), Cache.reading(self.path) as cache:
            return {**json.loads(cache.note("of") or "{}"), "model": cache.note("model"), "vectors": cache.count()}
        return {}

    def remove(self) -> None:
        """Delete the file; raises WriteError."""
        try:
            for part in _parts(self.path):
                part.unlink(missing_ok=True)
        except OSError as fault:
            raise WriteError(f"{self.path}: cannot be removed, {reason(fault)} (check its permissions)") from fault


def kept() -> list[Kept]:
    """Every file of vectors, the one used last first."""
    place = folder()
    files = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else []
    every = []
    for path in files:
        with contextlib.suppress(OSError):
            every.append(Kept(path, sum(part.stat().st_size for part in _parts(path)), path.stat().st_mtime))
    return sorted(every, key=lambda one: one.used, reverse=True)


def _parts(path: Path) -> list[Path]:
    """A file and what SQLite writes beside it."""
    return [part for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))) if part.exists()]


class Cache:
    """Vectors of one network and layer. Closes itself by `with`; without a folder to write to it keeps nothing."""

    def __init__(self, path: Path, connection: sqlite3.Connection | None) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def of(cls, what: dict[str, Any]) -> Self:
        """The vectors that were computed as `what` says, to be read and added to.

        A folder that cannot be written to gives a cache that keeps nothing, and a Doubt says so.
        """
        text = json.dumps(what, sort_keys=True)
        path = folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{SUFFIX}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            cache = cls(path, _opened(path))
            if cache.note("of") not in (None, text):
                raise sqlite3.DatabaseError("it holds the vectors of another network")
        except (OSError, sqlite3.OperationalError) as fault:  # no room, no permission, no folder
            cache = cls(path, None)
            cache._lose(reason(fault) if isinstance(fault, OSError) else str(fault))
        except sqlite3.DatabaseError as fault:
            cache = cls(path, _begun_anew(path, fault))
        cache.put_note("of", text)
        return cache

    @classmethod
    def reading(cls, path: Path) -> Self:
        """A file as it is."""
        return cls(path, sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def count(self) -> int:
        """How many vectors are here."""
        return int(self._all("SELECT COUNT(*) FROM vectors")[0][0]) if self._connection else 0

    def note(self, name: str) -> str | None:
        """A text that was kept under a name."""
        rows = self._all("SELECT value FROM about WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def put_note(self, name: str, value: str) -> None:
        """Keep a text under a name."""
        self._write("INSERT OR REPLACE INTO about VALUES (?, ?)", [(name, value)])

    def get(self, keys: Sequence[bytes]) -> Iterator[tuple[int, Vector]]:
        """(place in `keys`, vector) of those that are here and whole."""
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        every = list(places)
        for start in range(0, len(every), AT_ONCE):
            some = every[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, content, checksum in self._all(f"SELECT * FROM vectors WHERE key IN ({marks})", some):
                if checksum == zlib.crc32(content, zlib.crc32(key)):
                    for place in places[key]:
                        yield place, np.frombuffer(content, dtype="<f4")

    def put(self, keys: Sequence[bytes], vectors: Iterable[Vector]) -> None:
        """Keep vectors, all of them or none. A full disk is told once, and nothing more is kept from then on."""
        rows = []
        for key, vector in zip(keys, vectors, strict=True):
            content = vector.astype("<f4").tobytes()
            rows.append((key, content, zlib.crc32(content, zlib.crc32(key))))
        self._write("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
        if self._connection is not None and sum(part.stat().st_size for part in _parts(self.path)) > limit():
            self._close()
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
        except sqlite3.OperationalError as fault:
            self._close()
            self._lose(str(fault))
        except sqlite3.DatabaseError as fault:
            self._close()
            self._connection = _begun_anew(self.path, fault)
        return []

    def _write(self, order: str, rows: Sequence[tuple[object, ...]]) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.executemany(order, rows)
        except sqlite3.Error as fault:
            self._close()
            self._lose(str(fault))

    def _lose(self, why: str) -> None:
        told = f"{self.path}: {why}; the work goes on, and what it computes is not kept for the next time"
        remedy = f"make room, raise {VARIABLE}, or set INCEPTORY_CACHE to another folder"
        warnings.warn(f"{told} ({remedy})", Doubt, stacklevel=2)


def _opened(path: Path) -> sqlite3.Connection:
    """A file open for writing, made where there is none."""
    connection = sqlite3.connect(path, timeout=PATIENCE)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        # A killed process leaves a whole file; only a power cut may lose the last batches.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(TABLES)
        os.utime(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _begun_anew(path: Path, fault: sqlite3.Error) -> sqlite3.Connection | None:
    """An empty file in place of a damaged one; None where that cannot be."""
    told = f"{path}: damaged, {fault}; its vectors are computed anew"
    warnings.warn(f"{told} (nothing is left to do)", Doubt, stacklevel=3)
    try:
        for part in _parts(path):
            part.unlink()
        return _opened(path)
    except (OSError, sqlite3.Error):
        return None


def trim(keep: Path) -> None:
    """Remove the files used longest ago, but for `keep`, until all take no more than the limit."""
    every = kept()
    total, most = sum(one.size for one in every), limit()
    for one in reversed(every):
        if total > most and one.path != keep:
            one.remove()
            total -= one.size
