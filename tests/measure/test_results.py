"""Which epoch is the best one."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import permutations

from inceptory.measure.results import best_epoch
from inceptory.measure.single_label import SingleEpoch


def row(number: int, top1: float, loss: float) -> SingleEpoch:
    names = [each.name for each in fields(SingleEpoch)]
    known = {"epoch": number, "validation_top1": top1, "validation_log_loss": loss}
    return SingleEpoch(**{**dict.fromkeys(names, 0.0), **known})


def test_the_best_epoch_has_most_right_and_of_those_the_smallest_loss_and_a_loss_that_is_no_number_is_the_worst():
    worse, even, best, nan = row(1, 0.5, 0.1), row(2, 0.9, 0.4), row(3, 0.9, 0.3), row(4, 0.9, math.nan)
    for order in permutations((worse, even, best, nan)):
        assert best_epoch(order) is best
    assert best_epoch((worse, nan)) is nan
