"""Decoding in other processes, which may die or hang without the run being lost. No torch.

A worker is a fresh interpreter that reads requests from its standard input and writes answers to
its standard output, so it needs neither fork nor the caller's main module, imports no torch, and
ends by itself when the caller's end of the pipe closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inceptory.data.decoding import Decoded, Decoder
from inceptory.errors import InterruptedRun
from inceptory.files import reason

PATIENCE = 60.0
"""Seconds that a request may take before its worker counts as hanging; the start of a worker is among them."""
PATIENCE_EACH = 2.0
"""Seconds more for each picture."""
REPLACEMENTS = 3
"""Workers that are tried after the first one for the same pictures."""
HEAD = struct.Struct("<QQ")
"""Before each message: bytes of its JSON and of its array."""
Draws = NDArray[np.float64]
"""(n, DRAWS) numbers that choose a part of each picture."""

START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = {path!r}; from inceptory.data.workers import serve; serve()"
)


class Pool(Protocol):
    """Who decodes."""

    def submit(self, rows: NDArray[np.int64], draws: Draws | None = None) -> Future[Decoded]:
        """Ask for these rows, or for the parts of them that `draws` choose; the future raises what decoding raised."""
        ...

    def rest(self) -> None:
        """Give back what can be had again, while nothing is asked for."""
        ...

    def close(self) -> None:
        """End everything; what was asked for and not begun is dropped."""
        ...


class Threads:
    """Decodes in this process; Pillow's decoders release the interpreter's lock."""

    def __init__(self, decoder: Decoder, names: Sequence[str]) -> None:
        self._decoder, self._names = decoder, names
        self._executor = ThreadPoolExecutor(os.cpu_count())

    def submit(self, rows: NDArray[np.int64], draws: Draws | None = None) -> Future[Decoded]:
        """Ask for these rows."""
        return self._executor.submit(self._decoder, rows, [self._names[row] for row in rows.tolist()], draws)

    def rest(self) -> None:
        """Idle threads cost nothing."""

    def close(self) -> None:
        """Drop what is not begun."""
        self._executor.shutdown(cancel_futures=True)


class Processes:
    """Decodes in `count` other processes; each is started when it is first needed.

    One thread for each process waits for it, so answers are fetched while the caller computes.
    """

    def __init__(self, decoder: Decoder, names: Sequence[str], count: int) -> None:
        self._names = names
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers = [Worker(decoder) for _ in range(count)]
        for worker in self._workers:
            self._idle.put(worker)
        self._executor = ThreadPoolExecutor(count)
        # Also where the caller forgets to close, or ends with an error.
        self._end = weakref.finalize(self, _end, self._executor, self._workers)

    @property
    def replaced(self) -> int:
        """Workers that died or hung so far."""
        return sum(worker.deaths for worker in self._workers)

    def submit(self, rows: NDArray[np.int64], draws: Draws | None = None) -> Future[Decoded]:
        """Ask for these rows; InterruptedRun where four workers in a row died or hung on them."""
        return self._executor.submit(self._answer, rows, draws)

    def _answer(self, rows: NDArray[np.int64], draws: Draws | None) -> Decoded:
        worker = self._idle.get()
        # Names go along with each request: a worker has no use for a million of them.
        names = [self._names[row] for row in rows.tolist()]
        try:
            for _ in range(1 + REPLACEMENTS):
                try:
                    return worker.ask(rows, names, draws, PATIENCE + PATIENCE_EACH * len(rows))
                except _WorkerDied:
                    continue
        finally:
            self._idle.put(worker)
        where = f"{names[0]} and {len(names) - 1} more" if names else "no picture"
        raise InterruptedRun(
            f"{where}: {1 + REPLACEMENTS} data workers died or hung on them "
            "(look at the pictures and at the machine's memory, then resume)"
        )

    def rest(self) -> None:
        """End the processes until the next request: an epoch is long, and each holds 80 MB and more."""
        for worker in self._workers:
            worker.end()

    def close(self) -> None:
        """End the processes."""
        self._end()
        self._executor.shutdown()


def _end(executor: ThreadPoolExecutor, workers: list[Worker]) -> None:
    # Nobody is waited for: the last reference may be given up by one of the executor's own threads.
    executor.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.end(for_good=True)


class _WorkerDied(Exception):
    """The process ended, or was ended because it hung; another may be asked."""


class _Process(subprocess.Popen[bytes]):
    """A fresh interpreter that serves."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self) -> None:
        # Workers work side by side; none needs threads of its own for arithmetic.
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", START.format(path=sys.path)]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet)


class Worker:
    """One process at a time, started by the first request and again after a death."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._over = False
        self.deaths = 0

    def ask(self, rows: NDArray[np.int64], names: list[str], draws: Draws | None, patience: float) -> Decoded:
        """The answer of the process; raises _WorkerDied after `patience` seconds without one."""
        process, fresh = self._running()
        # The watch kills, and the pipe's end then wakes whoever reads it, wherever the process hung.
        watch = threading.Timer(patience, process.kill)
        watch.daemon = True
        watch.start()
        try:
            if fresh:
                _write(process.stdin, {}, ForkingPickler.dumps(self._decoder))
            _write(process.stdin, *_request(rows, names, draws))
            told, body = _read(process.stdout)
        except (OSError, EOFError, ValueError):
            self.end()
            self.deaths += 1
            raise _WorkerDied from None
        finally:
            watch.cancel()
        if "bug" in told:
            raise RuntimeError(f"a data worker failed: {told['bug']}")
        pixels = np.frombuffer(body, dtype=np.uint8).reshape(told["shape"])
        return Decoded(pixels, np.asarray(told["rows"], dtype=np.int64), [(row, text) for row, text in told["faults"]])

    def _running(self) -> tuple[_Process, bool]:
        with self._lock:
            if self._over:
                raise _WorkerDied
            if self._process is not None:
                return self._process, False
            try:
                self._process = _Process()
            except OSError as fault:
                raise InterruptedRun(
                    f"no data worker can be started, {reason(fault)} (free memory or processes, then resume)"
                ) from fault
            return self._process, True

    def end(self, for_good: bool = False) -> None:
        """End the process; the next request starts another, unless it is for good."""
        with self._lock:
            self._over = self._over or for_good
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was still to be written has no reader
                pipe.close()


def serve() -> None:
    """The worker's side: decode what is asked for until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the caller's to handle
    # Whatever a library prints goes to standard error: the pipe is for answers only.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        decoder = ForkingPickler.loads(_read(sys.stdin.buffer)[1])
        while True:
            told, body = _read(sys.stdin.buffer)
            _answer(answers, decoder, *_asked(told, body))
    except (EOFError, BrokenPipeError):
        os._exit(0)


def _request(rows: NDArray[np.int64], names: list[str], draws: Draws | None) -> tuple[dict[str, Any], bytes]:
    """A request's JSON and array: the rows, and behind them what draws there are."""
    array = np.ascontiguousarray(rows, dtype="<i8").tobytes()
    if draws is None:
        return {"names": names, "draws": None}, array
    return {"names": names, "draws": draws.shape}, array + np.ascontiguousarray(draws, dtype="<f8").tobytes()


def _asked(told: dict[str, Any], body: bytearray) -> tuple[NDArray[np.int64], list[str], Draws | None]:
    """What `_request` was made of."""
    names = told["names"]
    rows = np.frombuffer(body, dtype="<i8", count=len(names))
    if told["draws"] is None:
        return rows, names, None
    return rows, names, np.frombuffer(body, dtype="<f8", offset=rows.nbytes).reshape(told["draws"])


def _answer(
    answers: IO[bytes], decoder: Decoder, rows: NDArray[np.int64], names: list[str], draws: Draws | None
) -> None:
    try:
        found = decoder(rows, names, draws)
    except MemoryError:
        raise
    except Exception as bug:
        _write(answers, {"bug": f"{type(bug).__name__}: {bug}"}, b"")
        return
    told = {"rows": found.rows.tolist(), "faults": found.faults, "shape": found.pixels.shape}
    _write(answers, told, found.pixels.tobytes())


def _write(file: IO[bytes], told: dict[str, Any], body: bytes | memoryview) -> None:
    head = json.dumps(told).encode()
    file.write(HEAD.pack(len(head), len(body)))
    file.write(head)
    file.write(body)
    file.flush()


def _read(file: IO[bytes]) -> tuple[dict[str, Any], bytearray]:
    """Raises EOFError where the other side is gone."""
    sizes = HEAD.unpack(_take(file, HEAD.size))
    head, body = (_take(file, size) for size in sizes)
    told: dict[str, Any] = json.loads(head)
    return told, body


def _take(file: IO[bytes], size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = file.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        view = view[got:]
    return data
