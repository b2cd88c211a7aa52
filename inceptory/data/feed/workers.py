"""Decoding in other processes, which may die or hang without the run being lost. No torch.

A worker is a fresh interpreter that reads requests from its standard input and writes answers to
its standard output, so it needs neither fork nor the caller's main module, imports no torch, and
ends by itself when the caller's end of the pipe closes.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.decoding import Decoded, Decoder
from inceptory.data.picture.decode import Picture
from inceptory.data.sources.sequences import Frozen
from inceptory.errors import DataError, Doubt, InceptoryError, InterruptedRun, one_line
from inceptory.system.children import receive, send
from inceptory.system.files import reason

PATIENCE = 60.0
"""Seconds that a request may take before its worker counts as hanging; the start of a worker is among them."""
PATIENCE_EACH = 2.0
"""Seconds more for each picture."""
REPLACEMENTS = 3
"""Workers that are tried after the first one for the same pictures."""
Draws = NDArray[np.float64]
"""(n, DRAWS) numbers that choose a part of each picture."""
Pieces = list[bytes | str]
"""Encoded pictures, or for each that could not be read its fault."""

START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "sys.path[:] = {path!r}; from inceptory.data.feed.workers import serve; serve()"
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

    One thread for each process waits for it, so answers are fetched while the caller computes. Where
    pictures are `carried`, that thread reads them, and their bytes go along with each request.
    """

    def __init__(self, decoder: Decoder, names: Sequence[str], count: int, carried: bool = False) -> None:
        self._names = names
        self._carried = decoder.pictures if carried else None
        decoder = replace(decoder, pictures=()) if carried else decoder
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
            pieces = None if self._carried is None else [_piece(self._carried, row) for row in rows.tolist()]
            for _ in range(1 + REPLACEMENTS):
                try:
                    return worker.ask(rows, names, draws, PATIENCE + PATIENCE_EACH * len(rows), pieces)
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
        # -P: the current folder may be a data set in which a signal.py lies.
        command = [sys.executable, "-P", "-c", START.format(path=sys.path)]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet)


class Worker:
    """One process at a time, started by the first request and again after a death."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._over = False
        self.deaths = 0

    def ask(
        self,
        rows: NDArray[np.int64],
        names: list[str],
        draws: Draws | None,
        patience: float,
        pieces: Pieces | None = None,
    ) -> Decoded:
        """The answer of the process; raises _WorkerDied after `patience` seconds without one.

        `pieces` are the encoded pictures, where the process cannot read them itself, or their faults.
        """
        process, fresh = self._running()
        # The watch kills, and the pipe's end then wakes whoever reads it, wherever the process hung.
        watch = threading.Timer(patience, process.kill)
        watch.daemon = True
        watch.start()
        try:
            if fresh:
                send(process.stdin, {}, ForkingPickler.dumps(self._decoder))
            send(process.stdin, *_request(rows, names, draws, pieces))
            told, body = receive(process.stdout)
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


def _piece(pictures: Sequence[Picture], row: int) -> bytes | str:
    """The encoded picture of a row, or why it cannot be read."""
    try:
        piece = pictures[row]
    except InceptoryError as fault:
        return str(fault)
    assert isinstance(piece, bytes)
    return piece


class Carried(Frozen[bytes]):
    """Pictures of a few rows that came along with a request; those that could not be read raise a DataError."""

    def __init__(self, rows: Sequence[int], sizes: Sequence[int | str], content: memoryview) -> None:
        self._pieces: dict[int, bytes | str] = {}
        for row, size in zip(rows, sizes, strict=True):
            self._pieces[row] = size if isinstance(size, str) else bytes(content[:size])
            content = content if isinstance(size, str) else content[size:]

    def __len__(self) -> int:
        return max(self._pieces, default=-1) + 1

    def item(self, row: int) -> bytes:
        """The bytes of a picture."""
        piece = self._pieces[row]
        if isinstance(piece, str):
            raise DataError(piece)
        return piece


def serve() -> None:
    """The worker's side: decode what is asked for until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the caller's to handle
    warnings.filterwarnings("always", category=Doubt)
    warnings.showwarning = lambda told, *_, **__: print(one_line(f"warning: {told}"), file=sys.stderr)
    # Whatever a library prints goes to standard error: the pipe is for answers only.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        decoder = ForkingPickler.loads(receive(sys.stdin.buffer)[1])
        while True:
            told, body = receive(sys.stdin.buffer)
            rows, names, draws, carried = _asked(told, body)
            if carried is not None:
                decoder = replace(decoder, pictures=carried)
            _answer(answers, decoder, rows, names, draws)
    except (EOFError, BrokenPipeError):
        os._exit(0)


def _request(
    rows: NDArray[np.int64], names: list[str], draws: Draws | None, pieces: Pieces | None
) -> tuple[dict[str, Any], bytes]:
    """A request's JSON and bytes: the rows, and behind them what draws and pictures there are."""
    told: dict[str, Any] = {"names": names, "draws": None if draws is None else draws.shape}
    content = [np.ascontiguousarray(rows, dtype="<i8").tobytes()]
    if draws is not None:
        content.append(np.ascontiguousarray(draws, dtype="<f8").tobytes())
    if pieces is not None:
        told["pieces"] = [len(piece) if isinstance(piece, bytes) else piece for piece in pieces]
        content += [piece for piece in pieces if isinstance(piece, bytes)]
    return told, b"".join(content)


def _asked(told: dict[str, Any], body: memoryview) -> tuple[NDArray[np.int64], list[str], Draws | None, Carried | None]:
    """What `_request` was made of."""
    names, draws = told["names"], None
    rows = np.frombuffer(body, dtype="<i8", count=len(names))
    at = rows.nbytes
    if told["draws"] is not None:
        draws = np.frombuffer(body, dtype="<f8", offset=at, count=math.prod(told["draws"])).reshape(told["draws"])
        at += draws.nbytes
    carried = Carried(rows.tolist(), told["pieces"], body[at:]) if "pieces" in told else None
    return rows, names, draws, carried


def _answer(
    answers: IO[bytes], decoder: Decoder, rows: NDArray[np.int64], names: list[str], draws: Draws | None
) -> None:
    try:
        found = decoder(rows, names, draws)
    except MemoryError:
        raise
    except Exception as bug:
        send(answers, {"bug": f"{type(bug).__name__}: {bug}"}, b"")
        return
    told = {"rows": found.rows.tolist(), "faults": found.faults, "shape": found.pixels.shape}
    send(answers, told, found.pixels.tobytes())
