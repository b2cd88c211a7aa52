"""One run in a folder at a time. The system lets go of the lock when its holder ends, however it ends."""

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
"""Who holds it, in a file of its own: another that asks may empty the lock's, and Windows lets nobody read that."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder; raises ConfigError naming the process that holds it already."""
    lock = _taken(folder)
    if lock is None:
        raise ConfigError(f"{folder}: another run is at work here, {_holder(folder)} (wait for it or stop it)")
    try:
        with contextlib.suppress(OSError):  # a full disk will be told where something is lost
            (folder / HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        # Before it is let go of, so that nobody else's is removed: filelock looks whether what it got still has its
        # name. Windows keeps an open file; its lock ends with it, and the next run takes the file over.
        for name in (HOLDER, FILE):
            with contextlib.suppress(OSError):
                (folder / name).unlink()
        lock.release()


def _taken(folder: Path) -> FileLock | None:
    """The lock, or None where another process holds it; raises WriteError where the system has no locks here."""
    path = folder / FILE
    lock = FileLock(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # a system without flock gets a file that says who holds it
            lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as fault:
        told = reason(fault) if isinstance(fault, OSError) else str(fault)
        raise WriteError(f"{path}: cannot be locked, {told} (choose another folder)") from fault
    return lock


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text(errors="replace") or "an unknown process"
    except OSError:
        return "an unknown process"
