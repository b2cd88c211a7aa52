"""Recipes: what is out of range is told by its flag, and the rate rises, then falls."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import pairwise

import pytest

from inceptory.errors import UsageError
from inceptory.learn.recipe import QUICK, Recipe

NAN, INF = float("nan"), float("inf")
WRONG = {
    "epochs": [0, -1],
    "batch": [0, -64, 1],
    "lr": [0.0, -0.05, 101.0, NAN, INF, -INF],
    "warmup": [-0.1, 1.0, 1.5, NAN, INF, -INF],
    "momentum": [-0.1, 1.0, NAN, INF, -INF],
    "weight_decay": [-5e-4, 1.0, NAN, INF, -INF],
    "label_smoothing": [-0.1, 1.0, NAN, INF, -INF],
    "shift": [-0.125, 1.0, 4.0, NAN, INF, -INF],
    "validation": [0.0, -0.1, 0.51, 1.0, NAN, INF, -INF],
    "seed": [-1, 2**63],
    "device": ["tpu", ""],
    "precision": ["fp16", "fp8"],
}
RIGHT = {
    "epochs": [1, 10_000],
    "batch": [2, 4096],
    "lr": [1e-9, 100.0],
    "warmup": [0.0, 0.999],
    "momentum": [0.0, 0.999],
    "weight_decay": [0.0, 0.5],
    "label_smoothing": [0.0, 0.999],
    "shift": [0.0, 0.999],
    "validation": [1e-9, 0.5],
    "seed": [0, 2**63 - 1],
    "device": ["auto", "cpu", "cuda", "mps"],
    "precision": ["auto", "bf16", "fp32"],
    "flip": [True, False],
}


def cases(table):
    return [pytest.param(name, value, id=f"{name} {value!r}") for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_an_option_out_of_range_is_a_usage_error_that_names_its_flag(name, value):
    with pytest.raises(UsageError, match=f"^--{name.replace('_', '-')} ") as caught:
        replace(QUICK, **{name: value}).check()
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(("name", "value"), cases(RIGHT))
def test_an_option_at_the_end_of_its_range_is_taken(name, value):
    assert replace(QUICK, **{name: value}).check() is None


def test_every_option_but_a_yes_or_no_can_be_out_of_range():
    assert {field.name for field in fields(Recipe)} == {*WRONG, "flip"}


def test_the_quick_recipe_is_in_range():
    assert QUICK.check() is None


def test_a_recipe_survives_json():
    recipe = Recipe(epochs=3, flip=False, device="cpu")
    assert Recipe(**json.loads(json.dumps(recipe.to_json()))) == recipe


LENGTHS = [1, 2, 3, 5, 10, 99, 1000]
WARMUPS = [0.0, 0.01, 0.2, 0.5, 0.999]


def rates(steps, warmup=0.2, lr=0.05):
    recipe = Recipe(lr=lr, warmup=warmup)
    return [recipe.rate(step, steps) for step in range(steps)]


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("warmup", WARMUPS)
def test_the_rate_rises_to_its_peak_and_falls_from_there(steps, warmup):
    found = rates(steps, warmup)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert len(set(found[top:])) == len(found[top:])


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("warmup", WARMUPS)
def test_the_peak_is_the_learning_rate_that_was_asked_for(steps, warmup):
    assert max(rates(steps, warmup, lr=0.3)) == 0.3


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("warmup", WARMUPS)
def test_no_step_is_wasted_on_a_rate_of_zero_or_below(steps, warmup):
    assert min(rates(steps, warmup)) > 0


@pytest.mark.parametrize("steps", [99, 1000])
def test_the_rate_ends_near_zero(steps):
    assert rates(steps)[-1] < 0.05 * 0.02


def test_the_peak_comes_after_the_share_of_warmup():
    found = rates(1000, warmup=0.2)
    assert found.index(max(found)) == 199


def test_both_legs_are_straight():
    found = rates(1000, warmup=0.2, lr=1.0)
    changes = [after - before for before, after in pairwise(found)]
    assert changes[:199] == pytest.approx([changes[0]] * 199)
    assert changes[199:] == pytest.approx([changes[-1]] * 800)
