"""One run in a folder at a time, however the one before ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from inceptory.errors import ConfigError, WriteError
from inceptory.system import lock
from inceptory.system.lock import FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from inceptory.errors import ConfigError
from inceptory.system.lock import locked
try:
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except ConfigError as fault:
    print(fault, flush=True)
"""


def begun(folder):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_who_holds_it_is_named_however_often_one_asks(tmp_path):
    with begun(tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        for _ in range(3):
            with pytest.raises(ConfigError, match=rf"another run is at work here, process {holder.pid} on ") as caught:
                locked(tmp_path).__enter__()
            assert "(wait for it or stop it)" in str(caught.value)
            assert caught.value.exit_code == 78
        holder.stdin.close()
        holder.wait()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"


def test_a_killed_run_holds_nobody_up(tmp_path):
    with begun(tmp_path) as holder:
        holder.stdout.readline()
        holder.kill()
        holder.wait()
    assert (tmp_path / FILE).exists()
    with locked(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / lock.HOLDER).read_text()
    assert list(tmp_path.iterdir()) == []


def test_two_never_hold_it_at_once(tmp_path):
    """Also while others come and go, and remove its file."""
    inside, most = [], []

    def hold(number):
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            try:
                with locked(tmp_path):
                    inside.append(number)
                    most.append(len(inside))
                    time.sleep(0.0005)
                    inside.remove(number)
            except ConfigError:
                continue

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(hold, range(4)))
    assert set(most) == {1}
    assert len(most) > 20


@pytest.mark.parametrize("fault", [OSError(37, "No locks available"), NotImplementedError("no flock here")])
def test_a_file_system_without_locks_is_told_in_one_line(tmp_path, monkeypatch, fault):
    def refuse(*_, **__):
        raise fault

    monkeypatch.setattr(lock.FileLock, "acquire", refuse)
    with pytest.raises(WriteError, match=rf"{FILE}: cannot be locked, no .* \(choose another folder\)") as caught:
        locked(tmp_path).__enter__()
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WriteError, match="cannot be locked"):
        locked(tmp_path / "file").__enter__()
