"""Algebra on few numbers takes one thread; freed memory is kept while asked for."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np  # noqa: F401, its library is the one that is asked
import pytest
from threadpoolctl import threadpool_info

from inceptory.system.machine import SMALL, calm, keeping_memory


def threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_few_numbers_take_one_thread_and_many_take_all():
    before = threads()
    with calm(SMALL):
        assert threads() == {1}
    with calm(SMALL + 1):
        assert threads() == before
    assert threads() == before


FAULTS = """
import resource
import numpy as np
from inceptory.system.machine import keeping_memory

def faults():
    \"\"\"Pages that the system hands out while 64 MB are taken, written and freed four times.\"\"\"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(8 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
with keeping_memory():
    faults()
    print(faults())
print(faults())
"""


def faults(**environment: str) -> list[int]:
    """Page faults before, inside and after, in a process of its own."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "LD_PRELOAD"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=alone | environment
    )
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is asked to keep memory")
def test_freed_memory_is_kept_inside_and_goes_back_afterwards():
    before, inside, after = faults()
    if not before:
        pytest.skip("this C library, or this system, gives no buffer of 64 MB back")
    assert inside * 10 < before
    assert after * 2 > before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is asked to keep memory")
def test_a_malloc_that_the_environment_tunes_is_left_alone():
    before, inside, _ = faults(MALLOC_ARENA_MAX="2")
    assert inside * 2 >= before


def test_other_systems_do_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", None)
    with keeping_memory():
        pass
