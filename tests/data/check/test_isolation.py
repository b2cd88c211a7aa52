"""Children that look at pictures: what kills one costs one picture."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from inceptory.data.check import isolation
from inceptory.data.check.isolation import look_all, look_at, lookers
from inceptory.data.check.look import look
from inceptory.data.sources.source import Split
from inceptory.errors import InterruptedRun
from tests.data.pictures import encoded, noise

GOOD = [encoded(noise(8, 9, seed=seed)) for seed in range(8)]


def split(pictures):
    return Split(pictures, np.zeros(len(pictures), dtype=np.int64), [f"{row}.png" for row in range(len(pictures))])


def test_a_child_sees_what_we_see(tmp_path):
    (tmp_path / "a.png").write_bytes(GOOD[1])
    pictures = [GOOD[0], tmp_path / "a.png", noise(5, 6), b"text", b"", tmp_path / "gone.png", GOOD[2][:60]]
    found = list(look_all(split(pictures)))
    assert found == [look(picture, f"{row}.png") for row, picture in enumerate(pictures)]
    assert [bool(one.fault) for one in found] == [False, False, False, True, True, True, True]


def test_pictures_come_back_in_order(monkeypatch):
    monkeypatch.setattr(isolation, "EACH", 50)
    monkeypatch.setattr(isolation, "BLOCK", 64)
    pictures = [GOOD[row % 8] for row in range(200)]
    expected = [look(picture, "a").content for picture in GOOD]
    assert [one.content for one in look_all(split(pictures))] == [expected[row % 8] for row in range(200)]


BROKEN = (
    "import json, sys, os, time; sys.path[:] = json.loads(sys.argv[1])\n"
    "from inceptory.data.check import look\n"
    "plain = look.look\n"
    "def odd(picture, name):\n"
    "    if picture == b'kill': os._exit(139)\n"
    "    if picture == b'hang': time.sleep(600)\n"
    "    if picture == b'shout': os.write(1, b'a library talks\\n')\n"
    "    return plain(picture, name)\n"
    "look.look = odd\n"
    "look.serve()\n"
)


@pytest.fixture
def broken(monkeypatch):
    monkeypatch.setattr(isolation, "CHILD", BROKEN)


def test_a_decoder_that_crashes_costs_its_picture_only(broken):
    found = list(look_all(split([GOOD[0], b"kill", GOOD[1], b"kill", GOOD[2]])))
    assert [one.fault for one in found if one.fault] == [
        f"{row}.png: crashes the decoder (replace or remove it)" for row in (1, 3)
    ]
    assert [one.content for one in found[::2]] == [look(picture, "a").content for picture in GOOD[:3]]


@pytest.mark.slow
def test_a_decoder_that_hangs_is_stopped(broken, monkeypatch):
    monkeypatch.setattr(isolation, "DEADLINE", 2.0)
    began = time.monotonic()
    found = list(look_all(split([GOOD[0], b"hang", GOOD[1]])))
    assert time.monotonic() - began < 30
    assert "1.png: took longer than 2 s to decode" in found[1].fault
    assert not found[0].fault
    assert not found[2].fault


def test_what_a_library_prints_is_no_answer(broken):
    found = list(look_all(split([b"shout", GOOD[0]])))
    assert "not a picture" in found[0].fault
    assert not found[1].fault


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such limits")
def test_a_child_may_write_no_file_and_dump_no_core(monkeypatch):
    script = BROKEN.split("from")[0] + (
        "from inceptory.data.check.look import serve, Look, look\n"
        "import inceptory.data.check.look as room, resource\n"
        "room.look = lambda picture, name: Look(fault=repr([resource.getrlimit(kind)[0] for kind in "
        "(resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)]))\n"
        "room.serve()\n"
    )
    monkeypatch.setattr(isolation, "CHILD", script)
    assert next(look_all(split([GOOD[0]]))).fault == "[0, 0]"


def test_no_child_outlives_its_work():
    before = set(threading.enumerate())
    with lookers(2) as children:
        look_at(children, GOOD[0], "a")
        (process,) = children.processes
    assert process.poll() is not None
    assert set(threading.enumerate()) <= before


def test_a_machine_that_gives_no_process_is_no_fault_of_the_pictures(monkeypatch):
    monkeypatch.setattr(isolation, "CHILD", "raise SystemExit(1)")
    with pytest.raises(InterruptedRun, match="no process that looks at pictures can be started"):
        list(look_all(split([GOOD[0]])))


def test_a_script_without_a_guard_may_look(tmp_path):
    """multiprocessing would run it again in each child."""
    import subprocess

    (tmp_path / "a.py").write_text(
        "import numpy as np\nfrom inceptory.data.check.isolation import look_all\n"
        "from inceptory.data.sources.source import Split\n"
        "print('once', [one.fault for one in look_all(Split([b'x'], np.zeros(1, dtype=int), ['a']))])\n"
    )
    done = subprocess.run([sys.executable, str(tmp_path / "a.py")], capture_output=True, text=True, check=True)
    assert done.stdout.count("once") == 1


@pytest.mark.parametrize("name", ["a\nb", "a\udcffb", "日本", "\x1b[2J", '"}'], ids=ascii)
def test_names_cross_the_pipe_as_they_are(name):
    with lookers(1) as children:
        assert look_at(children, b"text", name).fault.startswith(f"{name}: not a picture")
