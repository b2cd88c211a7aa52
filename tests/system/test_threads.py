"""Algebra on few numbers takes one thread."""

from __future__ import annotations

import numpy as np  # noqa: F401, its library is the one that is asked
from threadpoolctl import threadpool_info

from inceptory.system.threads import SMALL, calm


def threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_few_numbers_take_one_thread_and_many_take_all():
    before = threads()
    with calm(SMALL):
        assert threads() == {1}
    with calm(SMALL + 1):
        assert threads() == before
    assert threads() == before
