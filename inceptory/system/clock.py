"""How long a command has been at work: from the start of its process, so that imports count."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOADED = time.monotonic()
_command: ContextVar[float | None] = ContextVar("command", default=None)


def now() -> float:
    """Seconds on a clock that never goes back."""
    return time.monotonic()


@contextmanager
def whole_process() -> Iterator[None]:
    """What is called inside is all that this process does, so it began with it."""
    token = _command.set(_process_began())
    try:
        yield
    finally:
        _command.reset(token)


def began() -> float:
    """The moment on `now`'s clock when the command began: the process' start, or of a call from Python this moment."""
    start = _command.get()
    return now() if start is None else start


def _process_began() -> float:
    """The moment when this process was started; where the system does not tell, when this module was loaded."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program, in brackets, may hold spaces; proc(5) counts starttime as field 22.
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _LOADED
    loaded = time.monotonic() - _LOADED
    # A container with a clock of its own may tell nonsense; a process is never younger than its modules.
    return time.monotonic() - age if loaded <= age <= loaded + 60 else _LOADED
