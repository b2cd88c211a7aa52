"""Lengths of time in words."""

from __future__ import annotations

import pytest

from inceptory.system.progress import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (172_799, "48.0 h"), (172_800, "2.0 days")],
)
def test_a_length_of_time_is_told_in_the_unit_of_a_person_who_waits(seconds, words):
    assert duration(seconds) == words
