"""Lengths of time in people's words."""

from __future__ import annotations

import pytest

from inceptory.system.clock import seconds


@pytest.mark.parametrize(("text", "length"), [("90s", 90), ("20m", 1200), ("20 min", 1200), ("1.5h", 5400)])
def test_lengths_of_time(text, length):
    assert seconds(text, "--time") == length
