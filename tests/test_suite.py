"""The suite itself: one thread a process, and what it leaves out is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.oldest import PROJECT, oldest

HERE = Path(__file__).parent


@pytest.mark.skipif(os.environ.get("INCEPTORY_PEERS") == "1", reason="the proofs against other packages have all cores")
def test_a_process_has_as_many_threads_as_it_was_told_and_that_is_one_unless_said():
    import torch

    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])


def told_by_pytest(*words: str) -> list[str]:
    """The lines of a run of `test_benchmarks.py`, which holds seven slow tests and others."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_benchmarks.py"), *words]
    return subprocess.run(command, cwd=HERE.parent, env=known, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("words", [[], ["-n", "1"]], ids=["one process", "pytest-xdist"])
@pytest.mark.slow
def test_what_is_left_out_is_told_above_the_closing_line(words: list[str]):
    if words:
        pytest.importorskip("xdist")
    *_, head, line, closing = told_by_pytest("-m", "not slow", *words)
    assert re.fullmatch("=+ left out =+", head)
    assert line == "7 slow (run everything: make check; these alone: python -m pytest -m slow)"
    assert re.search(r" in \d+\.\d+s$", closing)


@pytest.mark.slow
def test_nothing_is_told_where_nothing_was_left_out():
    assert not any("left out" in line for line in told_by_pytest("--collect-only"))
    assert not any("slow (" in line for line in told_by_pytest("-k", "no_such_test"))


def test_the_oldest_versions_are_those_of_every_dependency():
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    lowest = dict(each.split("==") for each in oldest())
    assert {each.partition(">=")[0] for each in project["dependencies"]} <= lowest.keys()
    assert lowest["torch"] == "2.4"
    assert {"h5py", "pillow-heif"} < lowest.keys(), "files of weights and pictures need them"
