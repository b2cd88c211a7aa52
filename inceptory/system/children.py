"""The one pool of child processes, which may die or hang without harm to the caller. No pickle, no torch.

A child is a fresh interpreter that reads questions from its standard input and writes answers to its standard
output, so it needs neither fork nor the caller's main module, and ends by itself when the caller's end of the pipe
closes. Questions and answers are frames: the lengths of two parts, a JSON object, and bytes. A frame with "more" in
its JSON is followed by another of the same answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import IO, Any

import numpy as np

from inceptory.errors import InterruptedRun
from inceptory.system.files import reason

HEAD = struct.Struct("<QQ")
"""Before each frame: bytes of its JSON and of what follows."""
MEMORY = 4 * 2**30
"""Bytes of address space for a child: several times what the largest accepted picture takes."""
PIPE = 2**20
"""Bytes that a pipe holds, where the system lets us set that: large frames then take fewer turns."""
START = 120.0
"""Seconds that a child may take to start, on a disk that is slow or a machine that is busy."""
STARTS = 3
"""How often a start is tried: a system that is short of memory kills processes."""

Part = bytes | memoryview
Frame = tuple[dict[str, Any], memoryview]


def program(module: str) -> str:
    """The source of a child in which `serve` of a module answers; an interrupt is the caller's to handle."""
    return (
        "import json, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        f"sys.path[:] = json.loads(sys.argv[1]); from {module} import serve; serve()"
    )


class Lost(Exception):
    """The child died over a question, or was killed because it took too long, which is `late`."""

    def __init__(self, late: bool) -> None:
        super().__init__(late)
        self.late = late


class _Process(subprocess.Popen[bytes]):
    """A fresh interpreter that serves."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def __init__(self, source: str, loud: bool) -> None:
        # Children work side by side; none needs threads of its own for arithmetic.
        quiet = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # -P: the current folder may be a data set in which a json.py lies.
        command = [sys.executable, "-P", "-c", source, json.dumps(sys.path)]
        errors = None if loud else subprocess.DEVNULL
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=quiet)
        _widen(self.stdin)
        _widen(self.stdout)

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        self.wait()
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):  # what was still to be written has no reader
                pipe.close()


class _Child:
    """A place for one process at a time, and the deadline of what it does."""

    def __init__(self) -> None:
        self.process: _Process | None = None
        self.busy = self.late = False
        self.due: float | None = None
        self.deaths = 0


class Children:
    """Up to `count` of them, each started by the first question that finds no other idle, and replaced when it dies.

    `source` is what `program` returned, and `what` is the name of a child in messages. The standard error of `loud`
    children is that of the caller. A child without a question for `idle` seconds is ended, which frees its memory.
    """

    def __init__(self, source: str, what: str, count: int = 1, *, loud: bool = False, idle: float | None = None):
        self._source, self._what, self._loud, self._idle = source, what, loud, idle
        self._every = [_Child() for _ in range(count)]
        self._free: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        for child in self._every:
            self._free.put(child)
        self._watch = _Watch(self._every)
        # Closes the pool also where the caller forgets to, or ends with an error.
        self._end = weakref.finalize(self, self._watch.close)

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def deaths(self) -> int:
        """Children that died or hung so far."""
        return sum(child.deaths for child in self._every)

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """Those that run now."""
        return [child.process for child in self._every if child.process is not None]

    def ask(self, patience: float, fields: dict[str, Any], *parts: Part, tries: int = 1) -> list[Frame]:
        """The frames of an answer, each of which may take `patience` seconds, from whichever child is idle.

        Raises Lost where `tries` children, one after the other, died or hung over the question, and InterruptedRun
        where none can be started.
        """
        child = self._free.get()
        try:
            return self._answer(child, patience, fields, parts)
        except Lost:
            if tries == 1 or self._watch.over:
                raise
        finally:
            self._free.put(child)
        return self.ask(patience, fields, *parts, tries=tries - 1)

    def rest(self) -> None:
        """End the processes until the next question: each holds 80 MB and more."""
        self._watch.rest()

    def close(self) -> None:
        """End them for good, whatever they do; a caller that waits for an answer gets Lost."""
        self._end()

    def _answer(self, child: _Child, patience: float, fields: dict[str, Any], parts: Iterable[Part]) -> list[Frame]:
        frames = list[Frame]()
        process = self._running(child)
        try:
            self._watch.expect(child, patience)
            send(process.stdin, fields, *parts)
            while not frames or "more" in frames[-1][0]:
                frames.append(receive(process.stdout))
                self._watch.expect(child, patience)
        except (OSError, EOFError, ValueError):  # a pipe that was closed meanwhile raises ValueError
            self._watch.end(child)
            child.deaths += 1
            raise Lost(child.late) from None
        except BaseException:  # an interrupt leaves part of an answer in the pipe
            self._watch.end(child)
            raise
        self._watch.release(child, self._idle)
        return frames

    def _running(self, child: _Child) -> _Process:
        """The child's process, which is ready for questions; raises InterruptedRun where none can be started."""
        why = ""
        for _ in range(STARTS):
            try:
                process, fresh = self._watch.started(child, lambda: _Process(self._source, self._loud))
                if fresh:
                    receive(process.stdout)  # its first, empty frame: it runs
                return process
            except (OSError, EOFError, ValueError) as fault:
                self._watch.end(child)
                if self._watch.over:
                    raise Lost(late=False) from None
                why = f", {reason(fault)}" if isinstance(fault, OSError) else ""
                if why or child.late:
                    break
        raise InterruptedRun(f"no {self._what} can be started{why} (free memory or processes, then try again)")


class _Watch:
    """The children of a pool, and a thread that ends those past their deadline. It holds no reference to the pool."""

    def __init__(self, children: list[_Child]) -> None:
        self._children = children
        # Reentrant: the garbage collector may close a forgotten pool while its thread holds this lock.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._wakes: float | None = None
        self.over = False

    def started(self, child: _Child, start: Callable[[], _Process]) -> tuple[_Process, bool]:
        """(a child's process, whether it was started now); raises OSError, or EOFError where the pool is closed."""
        with self._changed:
            if self.over:
                raise EOFError
            child.busy, child.late = True, False
            fresh = child.process is None
            if child.process is None:
                child.process = start()
                self.expect(child, START)
            return child.process, fresh

    def expect(self, child: _Child, seconds: float) -> None:
        """Set the deadline: the child is killed unless it answers within so many seconds."""
        with self._changed:
            child.due = time.monotonic() + seconds
            if self._thread is None and not self.over:
                self._thread = threading.Thread(target=self._work, name="children", daemon=True)
                self._thread.start()
            # Deadlines mostly grow, and the thread wakes at the earliest one it knew anyway: it seldom needs a notice.
            if self._wakes is None or child.due < self._wakes:
                self._changed.notify()

    def release(self, child: _Child, idle: float | None) -> None:
        """The child has answered, and may now rest after so many seconds."""
        with self._changed:
            child.busy, child.due = False, None
            if idle is not None:
                self.expect(child, idle)

    def end(self, child: _Child) -> None:
        """End a child's process; the next question starts another."""
        with self._changed:
            child.busy, child.due = False, None
            process, child.process = child.process, None
        if process is not None:
            process.end()

    def rest(self) -> None:
        """End what is idle."""
        with self._changed:
            for child in self._children:
                if not child.busy:
                    self.end(child)

    def close(self) -> None:
        """End everything, and the thread."""
        with self._changed:
            self.over = True
            self._changed.notify()
        for child in self._children:
            self.end(child)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        with self._changed:
            while not self.over:
                dues = [(child.due, child) for child in self._children if child.due is not None]
                self._wakes = min((due for due, _ in dues), default=None)
                now = time.monotonic()
                if self._wakes is None or self._wakes > now:
                    self._changed.wait(None if self._wakes is None else self._wakes - now)
                    continue
                for due, child in dues:
                    if due <= now:
                        self._expire(child)

    def _expire(self, child: _Child) -> None:
        child.due = None
        if child.busy and child.process is not None:
            child.late = True
            # Its death closes the pipe, which wakes the thread that waits for the answer.
            child.process.kill()
        else:
            self.end(child)


# The child's side


def serve(answer: Callable[[dict[str, Any], memoryview], Iterable[tuple[Any, ...]]], limited: bool) -> None:
    """Answer questions until there are no more: each by frames, (JSON, bytes...).

    An exception of `answer` ends the child. A `limited` child may take no more than `limit` says.
    """
    if limited:
        limit()
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not get into the answers.
    os.dup2(2, 1)
    with contextlib.suppress(EOFError, BrokenPipeError):
        send(answers, {})
        while True:
            for frame in answer(*receive(sys.stdin.buffer)):
                send(answers, *frame)
    os._exit(0)


def limit() -> None:
    """Bound what this process may take: address space, no core, no file written."""
    try:
        import resource
    except ImportError:  # Windows has none of these limits
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        # Where the system does not let a limit be set, there is none.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


# Frames


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold PIPE bytes."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
    except (ImportError, AttributeError, OSError):  # only Linux can, and it has a limit for each user
        return


def send(pipe: IO[bytes], fields: dict[str, Any], *parts: Part) -> None:
    """Write one frame, its bytes in parts."""
    head = json.dumps(fields).encode()
    pipe.write(HEAD.pack(len(head), sum(len(part) for part in parts)))
    pipe.write(head)
    for part in parts:
        pipe.write(part)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Frame:
    """Read one frame; raises EOFError where the other side is gone."""
    sizes = HEAD.unpack(_take(pipe, HEAD.size))
    head, body = (_take(pipe, size) for size in sizes)
    fields: dict[str, Any] = json.loads(bytes(head))
    return fields, body


def _take(pipe: IO[bytes], size: int) -> memoryview:
    whole = view = np.empty(size, dtype=np.uint8).data  # a bytearray would be filled with zeros first
    while view:
        count = pipe.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]
    return whole
