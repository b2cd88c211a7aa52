"""What libtiff prints on standard error while it decodes, told with the name of the file."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from inceptory.errors import DataError, Doubt

LINE = re.compile(rb"^[\w.-]+: [^\n]*\.\r?\n?", re.MULTILINE)
"""As libtiff writes them: a module or a file, and a sentence."""


@dataclass(eq=False)
class _Listener:
    alone: bool
    """Whether nobody else listened at the same time, so that all output is about this file."""


class _Ear:
    """A pipe in the place of standard error, which belongs to the whole process, as long as anybody listens."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[_Listener] = []
        self._pipe: tuple[int, int, int] | None = None

    def begin(self) -> _Listener:
        """Start to listen, beside any other listener."""
        with self._lock:
            if not self._listeners:
                self._open()
            me = _Listener(not self._listeners)
            for other in self._listeners:
                other.alone = False
            self._listeners.append(me)
            return me

    def end(self, me: _Listener) -> bytes:
        """What libtiff has said; what others have printed is passed on."""
        with self._lock:
            self._listeners.remove(me)
            printed = self._drained()
            if not self._listeners:
                self._close()
        if rest := LINE.sub(b"", printed):
            sys.stderr.write(rest.decode(errors="replace"))
        return b"".join(LINE.findall(printed)) if me.alone else b""

    def _open(self) -> None:
        with contextlib.suppress(OSError):  # no standard error, or no more files may be open: nothing to listen to
            kept, (out, into) = os.dup(2), os.pipe()
            self._pipe = kept, out, into
            for end in (out, into):
                os.set_blocking(end, False)  # more than a pipe holds is lost, and nothing waits
            os.dup2(into, 2)

    def _drained(self) -> bytes:
        printed = b""
        with contextlib.suppress(BlockingIOError):
            while self._pipe is not None and (piece := os.read(self._pipe[1], 2**16)):
                printed += piece
        return printed

    def _close(self) -> None:
        if self._pipe is not None:
            os.dup2(self._pipe[0], 2)
            for handle in self._pipe:
                os.close(handle)
            self._pipe = None


EAR = _Ear()


@contextlib.contextmanager
def heard(name: str) -> Iterator[None]:
    """Catch what libtiff prints: the text of a DataError, or of a warning where all was decoded."""
    me, fault = EAR.begin(), None
    try:
        yield
    except Exception as raised:
        fault = raised
    finally:
        printed = EAR.end(me)
    message = printed.decode(errors="replace").partition("\n")[0].strip().rstrip(".")
    if fault is not None:
        raise DataError(f"{name}: unreadable, {message} (replace or remove it)") if message else fault
    if message:
        warnings.warn(f"{name}: its decoder says, {message} (look at the picture)", Doubt, stacklevel=3)
