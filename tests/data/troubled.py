"""Sequences of pictures that make trouble where they are read; workers import this module, so it imports no torch."""

from __future__ import annotations

import os
import signal
import sys
import time

from inceptory.data.sources.sequences import Frozen
from tests.data.pictures import encoded, noise

FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(40)]


class Fine(Frozen[bytes]):
    """Forty small pictures."""

    def __len__(self):
        return len(FILES)

    def item(self, row):
        self.trouble(row)
        return FILES[row]

    def trouble(self, row):
        pass


class Deadly(Fine):
    """One picture ends or stops the process that reads it, as often as a file says."""

    def __init__(self, counter, row, how):
        self.counter, self.row, self.how = counter, row, how

    def trouble(self, row):
        if row != self.row or not (left := int(self.counter.read_text())):
            return
        self.counter.write_text(str(left - 1))
        if self.how == "hangs":
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL if self.how == "is killed" else signal.SIGSTOP)


class Faulty(Fine):
    """A sequence with a bug in it."""

    def trouble(self, row):
        raise ZeroDivisionError(f"row {row}")


class Chatty(Fine):
    """Pictures whose reading prints."""

    def trouble(self, row):
        print("noise " * 100)
        os.write(1, b"more noise\n")


class Torchless(Fine):
    """Pictures that may be read only where torch is not imported."""

    def trouble(self, row):
        if "torch" in sys.modules:
            raise ImportError("torch is here")
