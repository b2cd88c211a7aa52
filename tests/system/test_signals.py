"""A polite stop."""

from __future__ import annotations

import signal

from inceptory.system.signals import watched


def test_work_within_other_work_is_stopped_by_a_signal_that_came_before_it_began():
    with watched() as outer:
        signal.raise_signal(signal.SIGTERM)
        with watched() as inner:
            assert inner.asked
        assert outer.asked


def test_a_signal_to_work_within_other_work_stops_both():
    before = signal.getsignal(signal.SIGTERM)
    with watched() as outer:
        with watched():
            signal.raise_signal(signal.SIGTERM)
        assert outer.asked
        assert signal.getsignal(signal.SIGTERM) is outer
    assert signal.getsignal(signal.SIGTERM) is before
