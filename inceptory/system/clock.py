"""How long a command has been running, from its process' start so that imports count; lengths of time as text."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from inceptory.errors import UsageError

_LOADED = time.monotonic()
_command: ContextVar[float | None] = ContextVar("command", default=None)
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def now() -> float:
    """Seconds on a clock that never goes back."""
    return time.monotonic()


@contextmanager
def whole_process() -> Iterator[None]:
    """Inside, the command is all that this process does, so it began when the process started."""
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
    """The moment when this process was started; where the system does not say, when this module was loaded."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            # The name of the program, in brackets, may hold spaces; proc(5) counts starttime as field 22.
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _LOADED
    loaded = time.monotonic() - _LOADED
    # In a container with its own clock the age may be wrong; a process is never younger than its modules.
    return time.monotonic() - age if loaded <= age <= loaded + 60 else _LOADED


def seconds(text: str, flag: str) -> float:
    """Seconds of "90s", "20m" or "1.5h"; raises UsageError naming the flag."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h)", text.strip())
    if match is None or not 0 < float(match[1]) * UNITS[match[2]] < math.inf:
        raise UsageError(f"{flag} {text}: not a length of time (such as 90s, 20m or 1.5h)")
    return float(match[1]) * UNITS[match[2]]
