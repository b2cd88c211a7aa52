"""The rate of every step, and how much a length of time holds."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.settings.recipes import document, named
from inceptory.learn.update.schedule import plateaus, rate

LENGTHS = [1, 2, 3, 5, 10, 99, 1000]
WARMUPS = [0.0, 0.01, 0.2, 0.5, 0.999]
FALLING = ["cosine", "onecycle"]

TUTORIAL = document("tutorial")


def rates(steps, warmup=0.2, lr=0.05, schedule="onecycle"):
    recipe = Recipe(lr=lr, warmup=warmup, schedule=schedule)
    return [rate(recipe, step, steps, per_epoch=steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", FALLING)
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("warmup", WARMUPS)
def test_the_rate_rises_to_its_peak_and_falls_from_there(schedule, steps, warmup):
    found = rates(steps, warmup, schedule=schedule)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert len(set(found[top:])) == len(found[top:])
    assert max(found) == pytest.approx(0.05, rel=1e-12)
    assert min(found) > 0, "no step is wasted"


@pytest.mark.parametrize("schedule", FALLING)
@pytest.mark.parametrize("steps", [99, 1000])
def test_the_rate_ends_near_zero(schedule, steps):
    assert rates(steps, schedule=schedule)[-1] < 0.05 * 0.02


def test_the_peak_comes_after_the_share_of_warmup():
    assert rates(1000).index(max(rates(1000))) == 199


def test_both_legs_of_one_cycle_are_straight():
    found = rates(1000, lr=1.0)
    changes = [after - before for before, after in pairwise(found)]
    assert changes[:199] == pytest.approx([changes[0]] * 199)
    assert changes[199:] == pytest.approx([changes[-1]] * 800)


def test_the_cosine_is_that_of_loshchilov_and_hutter():
    found = rates(1001, warmup=0.0, lr=1.0, schedule="cosine")
    assert found[500] == pytest.approx((1 + math.cos(math.pi * 500 / 1001)) / 2)


def test_the_tutorials_rates_epoch_by_epoch():
    found = [rate(TUTORIAL, epoch * 782, 300 * 782, 782) for epoch in range(300)]
    assert found == pytest.approx([0.01] * 100 + [0.001] * 100 + [0.0001] * 100, rel=1e-12)
    assert rate(TUTORIAL, 100 * 782 - 1, 300 * 782, 782) == 0.01, "a drop comes with its epoch, not within"
    older = named("tutorial", "cifar_inception_v1")
    found = [rate(older, epoch * 782, 200 * 782, 782) for epoch in range(200)]
    assert found == pytest.approx([0.01] * 100 + [0.001] * 100, rel=1e-12)


def test_fewer_epochs_keep_the_proportions_of_the_drops():
    short = replace(TUTORIAL, epochs=6)
    assert [rate(short, epoch, 6, 1) for epoch in range(6)] == pytest.approx([0.01] * 2 + [0.001] * 2 + [0.0001] * 2)


def test_constant_and_plateau():
    assert rates(5, warmup=0.0, schedule="constant") == [0.05] * 5
    recipe = Recipe(schedule="plateau", warmup=0.0, lr=1.0)
    assert [rate(recipe, 3, 5, 1, drops) for drops in range(3)] == pytest.approx([1, 0.1, 0.01])


def scores(*values):
    return [(value, 0.0) for value in values]


@pytest.mark.parametrize(
    ("history", "count"),
    [
        (scores(), 0),
        (scores(1, 2, 3, 4), 0),
        (scores(3, 2, 2.9), 1),
        (scores(3, 2, 2.9, 1, 1), 2),
        (scores(3, 2, 4, 1, 5, 1), 0),
        (scores(3, 3, 3), 1),
    ],
)
def test_standing_still_for_two_epochs(history, count):
    assert plateaus(history, 2) == count
