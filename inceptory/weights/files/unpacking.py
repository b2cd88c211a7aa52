"""The checkpoint inside of a published .tar.gz, unpacked once beside it; nothing else of the archive is written."""

from __future__ import annotations

import re
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from inceptory.errors import DataError, WriteError
from inceptory.system.files import reason

ENDING = ".tar.gz"
MEMBER = re.compile(r"[\w.-]+\.ckpt(\.index|\.data-\d{5}-of-\d{5})?")
LARGEST = 2**31
"""Bytes of a checkpoint; the largest of the family has a quarter of it."""
BLOCK = 2**20


def unpacked(archive: Path) -> Path:
    """The checkpoint of an archive: its only file, or its index beside its data.

    Raises DataError where the archive is damaged or holds none, WriteError where there is no room.
    """
    folder = archive.with_name(archive.name.removesuffix(ENDING))
    try:
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{folder.name}-") as place:
                inside = Path(place) / "checkpoint"
                inside.mkdir()
                _take(archive, inside)
                # Whole or not at all: another process may look at the same moment.
                inside.rename(folder)
    except (tarfile.TarError, EOFError, zlib.error) as fault:
        raise DataError(f"{archive}: a damaged archive (remove it, and it is downloaded again)") from fault
    except OSError as fault:
        raise WriteError(f"{folder}: cannot be written, {reason(fault)} (make room, or set INCEPTORY_CACHE)") from fault
    files = sorted(folder.iterdir(), key=lambda path: (path.suffix != ".index", path.name))
    if not files:
        raise DataError(f"{archive}: no checkpoint inside (remove it, and it is downloaded again)")
    return files[0]


def _take(archive: Path, folder: Path) -> None:
    """Write the members that are a checkpoint's files, by their own names alone."""
    room = LARGEST
    with tarfile.open(archive, "r:gz") as members:
        for member in members:
            name = PurePosixPath(member.name).name
            stream = members.extractfile(member) if member.isreg() and MEMBER.fullmatch(name) else None
            if stream is not None:
                room -= _copied(stream, folder / name, room)


def _copied(stream: IO[bytes], target: Path, room: int) -> int:
    size = 0
    with open(target, "xb") as out:
        while data := stream.read(BLOCK):
            size += len(data)
            if size > room:
                raise tarfile.TarError("larger than any checkpoint")
            out.write(data)
    return size
