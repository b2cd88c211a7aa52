"""Pictures looked at in child processes: a decoder that crashes or hangs costs one picture and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np

from inceptory.data.check.look import Look, answer, ask, look
from inceptory.data.picture.decode import Picture
from inceptory.data.sources.source import Split
from inceptory.errors import InceptoryError

DEADLINE = 30.0
"""Seconds that one picture may take; the largest that is accepted takes two."""
EACH = 100
"""Pictures for which another child is worth its start."""
BLOCK = 2000
"""Pictures asked for at a time: as many answers wait in memory."""

CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from inceptory.data.check.look import serve; serve()"
"""No multiprocessing: it would run a user's script again in each child, and needs its guard. Started with -P, for the
current folder may be a data set in which a json.py lies."""


class Child:
    """One process that looks at pictures, started again whenever it dies."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._late = False
        self._start()

    def _start(self) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def look(self, picture: Picture, name: str) -> Look:
        """What the picture is like; one that kills the child or exceeds the deadline has a fault."""
        if isinstance(picture, np.ndarray):  # pixels meet no decoder
            return look(picture, name)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._late, self._since = False, time.monotonic()
        found = None
        with contextlib.suppress(OSError):  # a pipe that broke tells the same as an answer that is missing
            ask(self._process.stdin, picture, name)
            found = answer(self._process.stdout)
        self._since = None
        return found or self._replaced(name)

    def _replaced(self, name: str) -> Look:
        self.stop()
        self._start()
        told = f"took longer than {DEADLINE:.0f} s to decode" if self._late else "crashes the decoder"
        return Look(fault=f"{name}: {told} (replace or remove it)")

    def stop_if_late(self) -> None:
        """Kill the process where its picture has used up its time; `look` then replaces it."""
        since = self._since
        if since is not None and time.monotonic() - since > DEADLINE:
            self._late = True
            self._process.kill()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        # Closing a broken pipe flushes what could not be written, and fails once more.
        with contextlib.suppress(OSError):
            self._process.communicate()


class Children:
    """A few of them, with a watch on their time."""

    def __init__(self, count: int) -> None:
        self._every = [Child() for _ in range(count)]
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for child in self._every:
            self._idle.put(child)
        self._done = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        for child in self._every:
            child.stop()

    def look(self, picture: Picture, name: str) -> Look:
        """What the picture is like, told by whichever child is idle."""
        child = self._idle.get()
        try:
            return child.look(picture, name)
        finally:
            self._idle.put(child)

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, DEADLINE / 4)):
            for child in self._every:
                child.stop_if_late()


def look_all(split: Split) -> Iterator[Look]:
    """Every picture of a split in order, looked at by as many children as there are processors."""
    count = max(1, min(os.cpu_count() or 1, len(split) // EACH))
    with Children(count) as children, ThreadPoolExecutor(count) as threads:
        for start in range(0, len(split), BLOCK):
            rows = range(start, min(start + BLOCK, len(split)))
            yield from threads.map(lambda row: _look(children, split, row), rows)


def _look(children: Children, split: Split, row: int) -> Look:
    try:
        picture = split.pictures[row]
    except InceptoryError as fault:  # one that cannot even be fetched from its file
        return Look(fault=str(fault))
    return children.look(picture, split.names[row])
