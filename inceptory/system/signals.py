"""A polite stop: the first signal asks the run to save and end, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from inceptory.errors import EXIT_INTERRUPTED

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Stop:
    """Whether someone asked the run to end."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler: note the first signal, leave at the second."""
        if self.asked:
            # At once: no handler, no buffer, no thread is waited for. What was saved stays whole.
            os._exit(EXIT_INTERRUPTED)
        self.asked = True


@contextmanager
def watched() -> Iterator[Stop]:
    """Catch the signals that ask a process to end, while inside; within another `watched` it is the same stop."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers; the caller's own are left alone
        return
    outer = signal.getsignal(SIGNALS[0])
    if isinstance(outer, Stop):
        yield outer
        return
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
