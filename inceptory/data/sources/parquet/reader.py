"""The process that reads parquet files for this one, which a damaged file might end: its parent's side."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.layout import Layout
from inceptory.data.sources.sequences import Frozen
from inceptory.errors import ConfigError, DataError, InterruptedRun, MissingError
from inceptory.system.children import receive, send, widen
from inceptory.system.files import reason, regular, too_large

PATIENCE = 120.0
"""Seconds that a frame may take: labels of millions of rows, or some MiB of pictures from a slow disk."""
IDLE = 60.0
"""Seconds after which a process that nobody asks gives its 80 MB back."""
REMEDY = "write it again"
CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from inceptory.data.sources.parquet.child import serve; serve()"
)
"""Started with -P, for the current folder may be a data set in which a json.py lies."""
FAULTS = {kind.__name__: kind for kind in (DataError, MissingError, ConfigError)}
"""Errors that cross the pipe."""

Frame = tuple[dict[str, Any], memoryview]
Row = tuple[int | str, ...]
"""The labels of a picture."""


@dataclass(frozen=True)
class Shard:
    """One file, of which only the labels are read."""

    file: Path
    label: str
    """Name of its column of labels."""
    also: tuple[str, ...]
    """Other columns that may hold labels."""
    classes: tuple[str, ...] | None
    """Names that the file itself gives to the numbers of its labels."""
    image: str
    """Path of its column of bytes."""
    groups: tuple[int, ...]
    """Rows in each of its row groups."""
    sizes: tuple[int, ...]
    """Bytes of the pictures of each row group, unpacked."""
    known: list[Row | None]
    """The labels that its rows have; None stands for no label."""
    codes: NDArray[np.int64]
    """(n,) the place of each row's labels among them."""
    several: bool
    """Whether the column holds lists."""


class Pieces(Frozen[bytes]):
    """Pictures of some rows of a row group, as they came."""

    def __init__(
        self, file: str, rows: NDArray[np.int64], parts: Sequence[tuple[NDArray[np.int64], memoryview]]
    ) -> None:
        self._file, self._rows = file, rows
        self._bodies = [body for _, body in parts]
        self._lengths = np.concatenate([lengths for lengths, _ in parts])
        counts = [len(lengths) for lengths, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), counts)
        ends = [np.cumsum(np.maximum(lengths, 0)) for lengths, _ in parts]
        self._end = np.concatenate(ends)

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises DataError."""
        length, end = int(self._lengths[row]), int(self._end[row])
        if length < -1:
            raise DataError(too_large(f"{self._file}: the picture of row {self._rows[row]}", -length))
        if length < 0:
            told = f"row {self._rows[row]} holds no picture bytes (embed the pictures in the file)"
            raise DataError(f"{self._file}: {told}")
        return bytes(self._bodies[self._part[row]][end - length : end])


class _Process(subprocess.Popen[bytes]):
    """A fresh interpreter that serves."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self) -> None:
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-P", "-c", CHILD, json.dumps(sys.path)]
        # What a process that dies says of it is no line of ours.
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=quiet)


class Reader:
    """One process at a time, started by the first question, ended when nobody asks, and replaced when it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[_Process] = []
        self._timers: list[threading.Timer] = []
        self._late = False
        weakref.finalize(self, _end, self._running, self._timers)

    def open(self, file: Path, layout: Layout) -> Shard:
        """What a file holds; raises DataError, MissingError or ConfigError."""
        columns = {"path_column": layout.path_column, "label_column": layout.label_column}
        ((told, body),) = self._ask(str(regular(file)), {"open": str(file), **columns}, b"")
        return Shard(
            file=file,
            label=told["label"],
            also=tuple(told["also"]),
            classes=None if told["classes"] is None else tuple(told["classes"]),
            image=told["image"],
            groups=tuple(told["groups"]),
            sizes=tuple(told["sizes"]),
            known=[None if row is None else tuple(row) for row in told["known"]],
            codes=np.frombuffer(body, dtype="<i8"),
            several=told["several"],
        )

    def read(self, file: str, image: str, group: int, rows: NDArray[np.int64], at_once: int) -> Pieces:
        """Rows of a row group, in ascending order, unpacked so many at a time; raises DataError or MissingError."""
        asked = {"read": file, "image": image, "group": group, "at_once": at_once}
        frames = self._ask(file, asked, np.ascontiguousarray(rows, dtype="<i8").tobytes())
        parts = []
        for told, body in frames[:-1]:
            lengths = np.frombuffer(body, dtype="<i8", count=told["more"])
            parts.append((lengths, body[lengths.nbytes :]))
        if sum(len(lengths) for lengths, _ in parts) != len(rows):
            raise DataError(f"{file}: a row group is shorter than the file says ({REMEDY})")
        return Pieces(file, rows, parts)

    def _ask(self, file: str, asked: dict[str, Any], body: bytes) -> list[Frame]:
        """The frames of an answer; raises the error that is one, or DataError where the file ends the process."""
        with self._lock:
            # Twice, for a system that is short of memory ends processes too.
            frames = self._answer(asked, body) or self._answer(asked, body)
        if not frames:
            how = f"takes longer than {PATIENCE:.0f} s to read" if self._late else "damaged, reading it ends a process"
            raise DataError(f"{file}: {how} ({REMEDY})")
        told, _ = frames[-1]
        if "fault" in told:
            raise FAULTS[told["fault"]](told["told"])
        return frames

    def _answer(self, asked: dict[str, Any], body: bytes) -> list[Frame]:
        """The frames of an answer; none where the process died or hung."""
        process, frames, whole = self._process(), list[Frame](), False
        self._late = False
        try:
            self._watch(PATIENCE, self._stop_late)
            send(process.stdin, asked, body)
            while not whole:
                frames.append(receive(process.stdout))
                self._watch(PATIENCE, self._stop_late)
                whole = "more" not in frames[-1][0]
        except (OSError, EOFError):
            return []
        finally:
            # An interrupt, too, would leave half an answer in the pipe.
            if not whole:
                _end(self._running, self._timers)
            self._watch(IDLE, self._rest)
        return frames

    def _process(self) -> _Process:
        """The one that runs, or a new one; raises InterruptedRun where the system gives none."""
        if not self._running:
            try:
                self._running.append(_Process())
                widen(self._running[0].stdout)
                self._watch(PATIENCE, self._stop_late)
                receive(self._running[0].stdout)
            except (OSError, EOFError) as fault:
                _end(self._running, self._timers)
                told = f", {reason(fault)}" if isinstance(fault, OSError) else ""
                remedy = "free memory or processes, then try again"
                raise InterruptedRun(f"no process for parquet files can be started{told} ({remedy})") from None
        return self._running[0]

    def _watch(self, seconds: float, do: Callable[[], None]) -> None:
        """Do this after some seconds, instead of what was to be done before."""
        _cancel(self._timers)
        # A timer that knew the reader would keep it, and its process, as long as it waits.
        timer = threading.Timer(seconds, _call, (weakref.WeakMethod(do),))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _stop_late(self) -> None:
        """Wake whoever waits for the process: its pipe ends."""
        self._late = True
        for process in self._running:
            process.kill()

    def _rest(self) -> None:
        with self._lock:
            _end(self._running, self._timers)


def _call(do: weakref.WeakMethod[Callable[[], None]]) -> None:
    if (found := do()) is not None:
        found()


def _cancel(timers: list[threading.Timer]) -> None:
    while timers:
        timers.pop().cancel()


def _end(running: list[_Process], timers: list[threading.Timer]) -> None:
    """End the process, where there is one."""
    _cancel(timers)
    while running:
        process = running.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written has no reader
                pipe.close()
