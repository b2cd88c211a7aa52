"""A polite stop. In processes of their own: a signal that nobody catches ends whoever runs the tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEFORE = """
with watched() as outer:
    signal.raise_signal(signal.SIGTERM)
    with watched() as inner:
        assert inner.asked
    assert outer.asked
"""
DURING = """
before = signal.getsignal(signal.SIGTERM)
with watched() as outer:
    with watched():
        signal.raise_signal(signal.SIGTERM)
    assert outer.asked
    assert signal.getsignal(signal.SIGTERM) is outer
assert signal.getsignal(signal.SIGTERM) is before
"""


@pytest.mark.parametrize("code", [BEFORE, DURING], ids=["before", "during"])
def test_a_signal_stops_work_and_the_work_within_it(code):
    lines = f"import signal\nfrom inceptory.system.signals import watched\n{code}"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
