"""Commands whose standard output or error is closed, full or left, or that are interrupted."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inceptory.errors import WriteError
from inceptory.system.streams import Forgiving, tell

pytestmark = pytest.mark.skipif(os.name != "posix", reason="closed and full streams are made by a POSIX shell")
COMMAND = f"{shlex.quote(sys.executable)} -P -m inceptory"


def shell(line: str, **options) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which a pipe ends with the code of what failed in it."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_standard_output_is_74_and_one_line():
    done = shell(f"{COMMAND} models > /dev/full")
    assert done.returncode == 74
    assert done.stderr == "error: standard output: cannot be written, no space left on device (make room)\n"


def test_a_closed_standard_output_is_74_and_one_line():
    done = shell(f"{COMMAND} models >&-")
    assert done.returncode == 74
    assert done.stderr.startswith("error: standard output: ")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_it_quietly():
    done = shell(f"{COMMAND} models --json | head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_a_closed_standard_error_changes_nothing_of_the_answer_or_the_code():
    assert shell(f"{COMMAND} models 2>&-").stdout == shell(f"{COMMAND} models").stdout
    assert shell(f"{COMMAND} show nothing 2>&-").returncode == 64


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param("2>&1 | head -1", marks=pytest.mark.slow),
        pytest.param("2>&1 >/dev/null | head -1", marks=pytest.mark.slow),
        pytest.param(">&- 2>&-", marks=pytest.mark.slow),
    ],
)
def test_train_goes_on_when_nobody_listens(gone, colours, tmp_path):
    words = f"train {colours} --model cifar_inception_v1 --width 0.25 --epochs 1 --out {tmp_path / 'run'}"
    done = shell(f"{COMMAND} {words} {gone}")
    assert (tmp_path / "run" / "metrics.json").exists(), done.stderr
    assert done.returncode == (74 if gone.startswith(">&-") else 0)


SLOW = [
    "check DATA",
    "predict RUN DATA",
    "evaluate RUN DATA",
    "train DATA --model cifar_inception_v1 --width 0.25 --out NEW",
]


@pytest.mark.parametrize(
    ("words", "waits"),
    [
        ("models", (0.02, 0.1)),
        *(pytest.param(words, (0.02, 0.1, 0.3, 0.6, 1.0, 1.5, 2.5), marks=pytest.mark.slow) for words in SLOW),
    ],
)
def test_an_interrupt_is_75_and_one_line_from_the_start_on(words, waits, request, colours, tmp_path):
    """At moments spread over the life of a command, while it loads its parts and while it works."""
    run = request.getfixturevalue("run") if "RUN" in words else None
    for name, path in (("DATA", colours), ("RUN", run), ("NEW", tmp_path / "new")):
        words = words.replace(name, str(path))
    start = "from inceptory.start import main; import os, sys; os.write(1, b'.'); sys.exit(main())"
    for wait in waits:
        begun = subprocess.Popen(
            [sys.executable, "-P", "-c", start, *words.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert begun.stdout.read(1) == "."
        time.sleep(wait)
        begun.send_signal(signal.SIGINT)
        _, told = begun.communicate(timeout=60)
        assert "Traceback" not in told
        if begun.returncode == 0:
            break  # it had come to its end
        assert begun.returncode == 75, told
        assert told.splitlines()[-1].startswith("error: ")
        shutil.rmtree(tmp_path / "new", ignore_errors=True)


def test_an_interrupt_after_the_answer_changes_nothing():
    """While the interpreter ends, Python's own handler is gone and the signal would kill the process."""
    begun = "from inceptory.start import main; import atexit, os, signal, sys"
    late = "atexit.register(os.kill, os.getpid(), signal.SIGINT); sys.argv = ['inceptory', 'models']; sys.exit(main())"
    done = subprocess.run([sys.executable, "-P", "-c", f"{begun}; {late}"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "xception" in done.stdout


def test_what_cannot_be_said_is_not_said():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise OSError

    stream = Forgiving(Broken())
    print("x", file=stream, flush=True)
    assert stream.isatty() is False


def test_a_result_needs_a_standard_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(WriteError, match="standard output: is closed"):
        tell("x")
