"""One run in a folder at a time. The operating system frees the lock when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from inceptory.errors import ConfigError, WriteError
from inceptory.system.files import reason

FILE = "lock"
HOLDER = "lock.txt"
"""Who holds the lock, in a file of its own: other processes may empty the lock's file, or on Windows cannot read it."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder; raises ConfigError naming the process that holds it already."""
    lock = _acquired(folder)
    if lock is None:
        raise ConfigError(f"{folder}: another run is at work here, {_holder(folder)} (wait for it or stop it)")
    try:
        with contextlib.suppress(OSError):  # a full disk is reported where it loses something
            (folder / HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        # While the lock is still held, so that no other run's files are removed: filelock checks that the file it has
        # locked still has its name. Windows does not remove an open file; the next run locks that file again.
        for name in (HOLDER, FILE):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        lock.release()


def _acquired(folder: Path) -> FileLock | None:
    """The lock, or None where another process holds it; raises WriteError where the system has no locks here."""
    path = folder / FILE
    lock = FileLock(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # a system without flock gets a file that says who holds it
            lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as fault:
        cause = reason(fault) if isinstance(fault, OSError) else str(fault)
        raise WriteError(f"{path}: cannot be locked, {cause} (choose another folder)") from fault
    return lock


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text(errors="replace") or "an unknown process"
    except OSError:
        return "an unknown process"
