"""Standard output and standard error, which may be closed, full, or without a reader; which process writes to them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO

from inceptory.errors import WriteError
from inceptory.system.files import reason


class Forgiving:
    """A stream for messages beside the work: what cannot be written is dropped, and stops nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, if the stream takes it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, if the stream takes it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def is_first() -> bool:
    """Whether this process is the one that prints and writes, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many processes torchrun started for the same work; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def forgive() -> None:
    """Make this process' standard error forgiving, and its standard output escape what its encoding lacks."""
    # Where the stream is closed, Python sets None, which libraries do not expect.
    stream = sys.stderr if sys.stderr is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = Forgiving(stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def tell(result: object) -> None:
    """Print a result on standard output; raises WriteError where that is closed or full.

    Where the reader has gone, as in `inceptory models | head`, the rest is dropped without an error.
    """
    if sys.stdout is None:
        raise WriteError("standard output: is closed (give it a place to write to)")
    try:
        print(result, flush=True)
    except BrokenPipeError:
        _discard_rest()
    except (OSError, ValueError) as fault:
        _discard_rest()
        raise WriteError(f"standard output: cannot be written, {reason(fault)} (make room)") from None


def _discard_rest() -> None:
    """Discard what is left in the buffer: Python would write it again when it exits, and fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
