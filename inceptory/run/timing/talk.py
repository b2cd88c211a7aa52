"""The parent's side of the child processes of `bench`: started, asked one at a time, and ended whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

SCRIPT = Path(__file__).with_name("child.py")
PATIENCE = 300.0
"""Seconds for one answer, of which compiling for a large batch on a busy machine takes a hundred."""
SPIN = (
    "import os, sys, threading\n"
    "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n"
    "while True: pass"
)
"""A process that keeps a processor busy until its standard input ends, which it does when we do."""


class Left(Exception):
    """What a child was asked for cannot be had; the text says why."""


class Absent(Left):
    """The Python of the child lacks a package."""


class Child:
    """One child process, which computes only while it is asked something."""

    def __init__(self, python: str, setup: dict[str, Any]) -> None:
        """Raises Absent where that Python lacks the package, Left where the child cannot be started."""
        threads = str(setup["threads"])
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            # It is the processor that is timed, and logs are for nobody.
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        try:
            # -P: the current folder may be a data set in which a json.py lies.
            self.process = subprocess.Popen([python, "-P", SCRIPT], env=environment, text=True, **pipes)
        except OSError as fault:
            raise Left(f"{python} cannot be started, {fault.strerror}") from None
        try:
            self.versions = str(self._asked(setup).get("versions", ""))
            """Of the packages that compute, where they are not ours."""
        except BaseException:
            self.end()
            raise

    def ask(self, do: str, **question: Any) -> dict[str, Any]:
        """The answer to a question; raises Left where there is none, and the child is gone if it died or hung."""
        return self._asked({"do": do, **question})

    def _asked(self, question: dict[str, Any]) -> dict[str, Any]:
        expired = threading.Event()

        def kill() -> None:
            expired.set()
            self.process.kill()

        late = threading.Timer(PATIENCE, kill)
        late.start()
        try:
            stdin, stdout = _pipes(self.process)
            print(json.dumps(question), file=stdin, flush=True)
            answer: dict[str, Any] = json.loads(stdout.readline())
        except (OSError, ValueError):  # a line that is empty or no JSON
            self.end()
            why = "took too long" if expired.is_set() else f"died ({self.process.returncode})"
            raise Left(f"its process {why}") from None
        finally:
            late.cancel()
        if "absent" in answer:
            raise Absent(f"{answer['absent']} is not installed")
        if "fault" in answer:
            raise Left(" ".join(str(answer["fault"]).split()))
        return answer

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        _end(self.process)


@contextmanager
def busy_process() -> Iterator[None]:
    """Inside, another process keeps one processor busy."""
    process = subprocess.Popen([sys.executable, "-c", SPIN], stdin=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        _end(process)


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was still to be written has no reader
                pipe.close()
