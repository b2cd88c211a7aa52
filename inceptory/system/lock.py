"""One run in a folder at a time. The system lets go of the lock when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from inceptory.errors import ConfigError, WriteError
from inceptory.system.files import reason

FILE = "lock"
PLACE = 2**20
"""Byte that Windows locks: behind the text, so that others can read who holds it."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder; raises ConfigError naming the process that holds it already."""
    path = folder / FILE
    try:
        file = _claim(path)
    except OSError as fault:
        raise WriteError(f"{path}: cannot be locked, {reason(fault)} (choose another folder)") from fault
    if file is None:
        raise ConfigError(f"{folder}: another run is at work here, {_holder(path)} (wait for it or stop it)")
    with file:
        try:
            yield
        finally:
            # Windows keeps an open file; its lock ends with it, and the next run takes the file over.
            with contextlib.suppress(OSError):
                path.unlink()


def _claim(path: Path) -> BinaryIO | None:
    """The lock's file, open and held, or None where another process holds it."""
    while True:
        # Appending neither empties another run's file nor fails where there is none.
        file = open(path, "ab")  # noqa: SIM115
        if not _taken(file):
            file.close()
            return None
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            file.flush()
            return file
        file.close()  # its last holder removed it between our opening and our locking


def _taken(file: BinaryIO) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(PLACE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:  # what Windows calls it
        return False
    return True


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace") or "an unknown process"
    except OSError:
        return "an unknown process"
