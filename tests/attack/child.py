"""Run as a script in the sandbox: lines of commands in, what came of each out, as JSON. It may die; its parent sees.

python -P child.py SANDBOX
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST = 8 * 2**30
"""Bytes of address space: more than any honest command takes, less than the machine has."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def resident() -> float:
    """MiB of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Notes what no command may do: write outside of its outputs, read the canary, connect, run, unpickle."""

    def __init__(self, sandbox: Path) -> None:
        self.outputs = (f"{sandbox / 'out'}{os.sep}", f"{sandbox / 'forged'}{os.sep}")
        self.elsewhere = (tempfile.gettempdir() + os.sep, "/dev/", "/proc/")
        self.sandbox, self.canary = f"{sandbox}{os.sep}", str(sandbox.parent / "canary")
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            writing = isinstance(arguments[2], int) and arguments[2] & WRITING
            if path == self.canary or (writing and not self._may_change(path)):
                self.seen.append(f"opened {path}")
        elif event in ("os.remove", "os.rename", "os.rmdir", "os.truncate"):
            if not self._may_change(os.path.abspath(os.fsdecode(arguments[0]))):
                self.seen.append(f"{event} {arguments[0]}")
        elif event == "subprocess.Popen":
            if list(arguments[1][:2]) != [sys.executable, "-P"]:
                self.seen.append(f"ran {arguments[1]}")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class"):
            self.seen.append(f"{event} {arguments[:2]}")

    def _may_change(self, path: str) -> bool:
        """Whether a command may write there: its outputs, temporary files of the system, Python's own cache."""
        free = self.outputs if path.startswith(self.sandbox) else self.elsewhere
        return path.startswith(free) or "__pycache__" in path


def main() -> None:
    sandbox = Path(sys.argv[1])
    os.chdir(sandbox)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from inceptory.cli import main as command

    honest = ("predict run data/b/0.png", "evaluate run data --split train", "compare run run", "check data")
    for warm in honest:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert command(warm.split()) == 0, warm
    resource.setrlimit(resource.RLIMIT_AS, (MOST, MOST))

    def run(words: list[str]) -> object:
        # A planted fault, by which the tests see that it would be noticed.
        return exec(words[1]) or 0 if words[0] == "exec" else command(words)

    watch = Watch(sandbox)
    sys.addaudithook(watch)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        out, told, start, before = io.StringIO(), io.StringIO(), time.process_time(), resident()
        watch.seen.clear()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
                code: object = run(json.loads(line))
        except BaseException as escaped:
            code = f"{type(escaped).__name__}: {escaped}"[:300]
        spent = time.process_time() - start
        found = {"code": code, "told": told.getvalue()[-2000:], "seconds": spent, "grown": resident() - before}
        print(json.dumps({**found, "seen": watch.seen[:5]}), file=answers, flush=True)


if __name__ == "__main__":
    main()
