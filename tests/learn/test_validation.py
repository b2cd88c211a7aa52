"""What happens between epochs, and before the first: statistics, doubt, and what cannot be trained."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory import Recipe, Variant, train
from inceptory.cli import main
from inceptory.data.feed import feed as feeding
from inceptory.engines.device import Device
from inceptory.errors import ConfigError, UsageError
from inceptory.learn import fit, step
from inceptory.learn.halves import Halves
from inceptory.learn.settings.command import train_call
from inceptory.learn.settings.recipe import OPTIMIZERS
from inceptory.learn.update import norms
from inceptory.learn.validation import Validation
from inceptory.system.ranks import Ranks
from tests.learn.stopped import stopped_after

TINY = Variant(width=0.25)
SMALL = Recipe(epochs=1, batch=2, precision="fp32")
NET = "cifar_inception_v1"


@pytest.fixture
def damaged(tmp_path):
    """Two classes of six pictures, one of which cannot be read, and a few to measure on."""
    for label, level in (("a", 40), ("b", 200)):
        for split, count in (("train", 6), ("val", 2)):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (32, 32), (level, i * 20, 90)).save(tmp_path / "data" / split / label / f"{i}.png")
    (tmp_path / "data" / "train" / "a" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    return tmp_path / "data"


def test_a_batch_of_which_one_picture_is_left_gives_no_statistics(damaged, tmp_path, monkeypatch):
    """Its map is 1x1 at the end, and batch norm has no variance of one value."""
    monkeypatch.setattr(feeding, "IN_MEMORY", 0)
    monkeypatch.setattr(fit, "refuse_corrupt", lambda *_: None)
    variant = replace(TINY, image=32)
    train(str(damaged), model="inception_v2", out=tmp_path / "run", variant=variant, recipe=SMALL, workers=0)
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_tenth_of_the_batches_is_looked_over_however_many_make_a_step(colours, tmp_path, monkeypatch):
    seen, real = [], norms.renew
    monkeypatch.setattr(norms, "renew", lambda net, values: real(net, (seen.append(len(v)) or v for v in values)))
    for accumulate in (1, 4):
        recipe = Recipe(epochs=1, batch=4, accumulate=accumulate, precision="fp32")
        train(str(colours), model=NET, out=tmp_path / f"{accumulate}", variant=TINY, recipe=recipe)
    assert seen == [4] * 16


@pytest.mark.parametrize("setting", ["auto", "origin", 0.3])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_given_momenta_are_kept_to_by_raw_weights_only(setting, average):
    assert measured(SimpleNamespace(), Recipe(average=average, norm_momentum=setting)).renews is (
        average > 0 or setting == "auto"
    )


def measured(stepper, recipe):
    """A validation of nothing."""
    stepper.recipe, stepper.device = recipe, Device("cpu")
    stepper.average = SimpleNamespace() if recipe.average else None
    stepper.ranks = SimpleNamespace(total=lambda *numbers: list(numbers))
    return Validation(
        stepper,
        {"train": None, "validation": None},
        Halves.of(np.empty(0, dtype=np.int64), False),
        None,
        10,
        lambda _: [],
    )


@pytest.mark.parametrize(
    ("average", "expected"), [(0.9, "its batches differ too much from one another"), (0.0, "these remember 10 steps")]
)
def test_what_is_told_of_statistics_that_do_not_fit(average, expected, monkeypatch):
    monkeypatch.setattr(norms, "right", lambda *_: (100.0, 90.0, 20.0))
    net = inceptory.create("inception_v2", width=0.25, image=32, classes=3)
    for norm in norms.norms_of(net):
        norm.momentum = 0.1
    stepper = SimpleNamespace(answering=net, net=net, criterion=SimpleNamespace(hits=None))
    found = measured(stepper, Recipe(average=average, norm_momentum=0.1))
    assert found.doubt(SimpleNamespace(right=(0.9, 0.8), epoch=3)) is None, "training is not far ahead"
    told = found.doubt(SimpleNamespace(right=(0.9, 0.2), epoch=3))
    assert "names 90 % of its training pictures by the statistics of their batch" in told
    assert "but 20 % by its running statistics" in told
    assert expected in told


class _Alone(Ranks):
    """The first of 200 processes, of which the others never come."""

    def total(self, *numbers):
        return list(numbers)

    def of_first(self, *numbers):
        return list(numbers)

    def barrier(self):
        pass


class _Joined:
    def __enter__(self):
        return _Alone(0, 200)

    def __exit__(self, *_):
        return None


def test_too_few_pictures_for_the_processes_are_one_line(colours, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "joined", lambda _: _Joined())
    monkeypatch.setattr(step, "_together", lambda heads: heads)
    with pytest.raises(ConfigError, match=r"training pictures are too few for 200 processes \(each needs two"):
        train(str(colours), model=NET, out=tmp_path / "run", variant=TINY, recipe=SMALL)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_a_run_that_goes_on_streamed_says_that_it_is_not_bit_for_bit(colours, tmp_path, monkeypatch, capsys):
    recipe = Recipe(epochs=1, batch=16, precision="fp32")
    with monkeypatch.context() as patched:
        stopped_after(2, patched)
        with pytest.raises(inceptory.InceptoryError):
            train(str(colours), model=NET, out=tmp_path / "run", variant=TINY, recipe=recipe)
    monkeypatch.setattr(feeding, "IN_MEMORY", 0)
    train(resume=tmp_path / "run")
    told = capsys.readouterr().err
    assert "not bit for bit the run without a break: pictures in memory, now streamed" in told


def test_of_several_processes_one_prints_the_result(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert main(["models"]) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    assert main(["models"]) == 0
    assert "xception71" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"lr": "0.1"}, "--lr '0.1': of the wrong kind (a number is wanted)"),
        ({"epochs": "3"}, "--epochs '3': of the wrong kind (a whole number is wanted)"),
        ({"epochs": True}, "--epochs True: of the wrong kind (a whole number is wanted)"),
        ({"time": 30}, '--time 30: of the wrong kind (a text such as "20m" is wanted)'),
        ({"drops": 0.5}, "--drops 0.5: of the wrong kind (a list of numbers is wanted)"),
        ({"balanced": 1}, "--balanced 1: of the wrong kind (true or false is wanted)"),
        ({"flip": 3}, "--flip 3: of the wrong kind (one of random, alternate, off is wanted)"),
        ({"norm_momentum": True}, "--norm-momentum True: of the wrong kind (a number, auto or origin is wanted)"),
        ({"norm_momentum": "fast"}, "--norm-momentum fast: unknown (choose auto, origin or a number)"),
    ],
)
def test_a_recipe_of_ones_own_with_a_value_of_the_wrong_kind_is_one_line(wrong, told):
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        Recipe(**wrong).check()


class _Noting:
    """`inceptory`, as the call sees it."""

    Recipe, Variant = Recipe, Variant

    def __init__(self):
        self.known = {}

    def train(self, _, **known):
        self.known = known


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("other", OPTIMIZERS)
def test_the_call_for_python_gives_the_very_recipe_again(optimizer, other):
    """Also where a number is another optimizer's default, and where epochs stand beside a time."""
    own = {name: OPTIMIZERS[other][name] for name in ("lr", "weight_decay")}
    for time, epochs in ((None, None), (None, 20), ("1h", None), ("1h", 20)):
        recipe, noting = Recipe(optimizer=optimizer, time=time, epochs=epochs, **own), _Noting()
        eval(train_call("xception", "x", Variant(), recipe), {"inceptory": noting, "data": None})
        again = noting.known.get("recipe", Recipe())
        assert {f.name: getattr(again, f.name) for f in fields(Recipe)} == vars(recipe)
