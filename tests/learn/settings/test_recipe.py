"""Recipes: what is out of range is told by its flag; names, files and flags together make one."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import msgspec
import pytest

from inceptory.cli import main
from inceptory.errors import ConfigError, DataError, MissingError, UsageError
from inceptory.learn.settings.options import AS_THE_RECIPE, Options, decided
from inceptory.learn.settings.recipe import Recipe, choices
from inceptory.learn.settings.recipes import LARGEST, document, from_file, named, recipes
from inceptory.nets.catalogue import catalogue
from inceptory.system.text import differences, shown

QUICK, TUTORIAL = document("quick"), document("tutorial")
NAN, INF = float("nan"), float("inf")
FRACTION = {"wrong": [-0.1, 1.0, NAN, INF, -INF], "right": [0.0, 0.999]}
SHARE = {"wrong": [-0.1, 1.01, NAN, INF], "right": [0.0, 1.0]}
COUNT = {"wrong": [0, -1], "right": [1, 10_000]}
STRENGTH = {"wrong": [-0.1, 101.0, NAN, INF], "right": [0.0, 100.0]}
RANGES = {
    "epochs": COUNT,
    "time": {"wrong": ["", "0m", "5", "-3m", "5 days", "1e3m"], "right": ["90s", "20m", "20 min", "1.5h", None]},
    "batch": {"wrong": [0, -64, 1], "right": [2, 4096]},
    "accumulate": COUNT,
    "stop_after": {"wrong": [-1], "right": [0, 50]},
    "lr": {"wrong": [0.0, -0.05, 101.0, NAN, INF, -INF], "right": [1e-9, 100.0]},
    "warmup": FRACTION,
    "drops": {"wrong": [(0.0,), (0.5, 1.0), (NAN,), (-0.5,)], "right": [(), (0.5,), (1 / 3, 2 / 3)]},
    "decay_rate": {"wrong": [0.0, -0.1, 1.01, NAN, INF], "right": [1e-9, 1.0]},
    "decay_epochs": {"wrong": [0.0, -1.0, NAN, INF], "right": [1e-9, 4 / 3, 1e6]},
    "decay": {"wrong": [-1e-6, 2e6, NAN, INF], "right": [0.0, 1e-6, 1.0]},
    "patience": COUNT,
    "momentum": FRACTION,
    "rms_decay": FRACTION,
    "epsilon": {"wrong": [-1e-9, 1001.0, NAN, INF], "right": [1e-12, 1000.0]},
    "weight_decay": FRACTION,
    "penalty": FRACTION,
    "unfreeze": {"wrong": [0.0, -0.1, 1.01, NAN, INF], "right": [1e-9, 0.5, 1.0]},
    "depth_rate": {"wrong": [0.0, -0.1, 1.01, NAN, INF], "right": [1e-9, 0.5, 1.0]},
    "clip": {"wrong": [-1.0, NAN, INF], "right": [0.0, 1.0]},
    "label_smoothing": FRACTION,
    "average": FRACTION,
    "skip_easy": {"wrong": [-0.1, 0.5, NAN, INF], "right": [0.0, 0.3, 0.49]},
    "norm_momentum": {"wrong": [-0.1, 1.01, NAN, "", "other"], "right": [0.0, 0.01, 1.0, "auto", "origin"]},
    "drop_path": FRACTION,
    "shift": FRACTION,
    "progressive": FRACTION,
    "crop": SHARE,
    "colour": SHARE,
    "light": FRACTION,
    "erase": SHARE,
    "mixup": STRENGTH,
    "cutmix": STRENGTH,
    "validation": {"wrong": [0.0, -0.1, 0.51, 1.0, NAN, INF, -INF], "right": [1e-9, 0.5]},
    "seed": {"wrong": [-1, 2**63], "right": [0, 2**63 - 1]},
}
SWITCHES = {"nesterov", "class_weights", "balanced", "freeze_norms", "whitening", "trivial"}
SWITCHES |= {"gradient_checkpointing", "compile"}
OF_AN_OPTIMIZER = {"rms_decay": "rmsprop", "epsilon": "rmsprop"}
"""Options that SGD does not have."""
WORDS = [field.name for field in fields(Recipe) if choices(field.name) and field.name not in RANGES]


def cases(kind):
    table = {name: values[kind] for name, values in RANGES.items()}
    table |= {name: choices(name) if kind == "right" else ["", "other"] for name in WORDS}
    return [pytest.param(name, value, id=f"{name} {value!r}") for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), cases("wrong"))
def test_an_option_out_of_range_is_a_usage_error_that_names_its_flag(name, value):
    with pytest.raises(UsageError, match=f"^--{name.replace('_', '-')} ") as caught:
        replace(QUICK, **{name: value}).check()
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(("name", "value"), cases("right"))
def test_an_option_at_the_end_of_its_range_is_taken(name, value):
    assert Recipe(**{"optimizer": OF_AN_OPTIMIZER.get(name, "sgd"), name: value}).check() is None


@pytest.mark.parametrize(("first", "then"), [("sgd", "adamw"), ("sgd", "rmsprop"), ("adamw", "sgd")])
def test_an_optimizer_that_is_put_in_place_of_another_is_refused_with_the_way_to_make_it(first, then):
    with pytest.raises(ConfigError, match=rf"in Python begin with Recipe\(optimizer='{then}'\)\)$"):
        replace(Recipe(optimizer=first), optimizer=then).check()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((None, "none"), ((), "none"), ([], "none"), (True, "yes"), (False, "no"), ((1 / 3, 0.5), "0.333 0.5")),
        *((["a", "b"], "a b"), (0.1, "0.1"), (3.0, "3"), (0.123456789, "0.123456789"), (20, "20"), ("20m", "20m")),
    ],
)
def test_a_value_is_shown_in_words(value, told):
    assert shown(value) == told


def test_every_option_but_a_yes_or_no_can_be_out_of_range():
    assert {field.name for field in fields(Recipe)} == {*RANGES, *WORDS, *SWITCHES}


@pytest.mark.parametrize("architecture", catalogue())
def test_every_named_recipe_is_in_range(architecture):
    found = recipes(architecture)
    assert all(recipe.check() is None for recipe in found.values())
    own = {"fast"} if architecture == "cifar_inception_fast" else {"tutorial"}
    assert set(found) == {"quick"} | own | (set() if architecture.startswith("cifar_") else {"paper"})


def test_a_recipe_survives_json():
    recipe = replace(TUTORIAL, epochs=3, device="cpu", time="5m")
    assert msgspec.convert(json.loads(json.dumps(recipe.to_json())), Recipe) == recipe


def test_the_tutorials_older_networks_train_200_epochs():
    assert named("tutorial", "cifar_inception_v3_slim").epochs == 300
    for older in ("cifar_inception_v1", "cifar_inception_v2"):
        recipe = named("tutorial", older)
        assert (recipe.epochs, recipe.drops) == (200, (0.5,))


def test_differences_are_told_by_flag():
    assert differences(QUICK, replace(QUICK, batch=32, weight_decay=0.0)) == [
        "--batch 64, not 32",
        "--weight-decay 0.0005, not 0",
    ]
    assert differences(QUICK, QUICK) == []


# Flags, files and names


def test_a_flag_counts_more_than_the_file_and_the_file_more_than_the_recipe(tmp_path: Path):
    file = tmp_path / "own.toml"
    file.write_text('recipe = "tutorial"\nepochs = 30\nlr = 1\ndrops = [0.25, 0.5]\n')
    made = decided(file, Options(epochs=7, compile=True), "cifar_inception_v3")
    assert made == replace(TUTORIAL, epochs=7, lr=1.0, drops=(0.25, 0.5), compile=True)
    assert decided(str(file), AS_THE_RECIPE, "cifar_inception_v3").epochs == 30, "a path may be a text"
    file.write_text("warmup = 0.5\n")
    assert decided(file, AS_THE_RECIPE, "cifar_inception_v3") == replace(QUICK, warmup=0.5), "begins from quick"


def test_with_a_time_only_the_epochs_that_somebody_gave_count(tmp_path: Path):
    (tmp_path / "long.toml").write_text('recipe = "tutorial"\ntime = "1h"\n')
    (tmp_path / "both.toml").write_text("epochs = 30\n")
    lengths = [decided(tmp_path / "long.toml", AS_THE_RECIPE, "inception_v3")]
    lengths += [decided(recipe, Options(time="1h"), "inception_v3") for recipe in ("paper", tmp_path / "both.toml")]
    assert [(made.epochs, made.time) for made in lengths] == [(None, "1h"), (None, "1h"), (30, "1h")]


def test_without_a_word_the_recipe_is_quick():
    assert decided(None, AS_THE_RECIPE, "inception_v3") == QUICK
    assert decided(Recipe(epochs=2), Options(batch=8), "inception_v3") == Recipe(epochs=2, batch=8)


@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        ("epochs = ", DataError, "not TOML"),
        ("epoch = 3", ConfigError, "'epochs'"),
        ('epochs = "3"', ConfigError, "a whole number is wanted"),
        ("epochs = 3.5", ConfigError, "a whole number is wanted"),
        ("compile = 1", ConfigError, "true or false is wanted"),
        ("drops = 0.5", ConfigError, "a list of numbers is wanted"),
        ('drops = ["x"]', ConfigError, "a list of numbers is wanted"),
        ("time = 20", ConfigError, "a text such as"),
        ("[training]\nepochs = 3", ConfigError, "'training'"),
        ("recipe = 3", ConfigError, "a name is wanted"),
        ("epoch = 3", ConfigError, "did you mean 'epochs'?"),
        ("epochs = 0", ConfigError, "--epochs 0: out of range (at least 1 and at most 1e+06)"),
        ("drops = [0.5, 1.5]", ConfigError, "--drops 0.5 1.5: out of range"),
        ('time = "soon"', ConfigError, "not a length of time"),
        ('flip = "sideways"', ConfigError, "--flip sideways: unknown (choose random, alternate, off)"),
        ("epochs = 3 #" + "x" * LARGEST, DataError, "at most 1,048,576 are read"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_line_or_option(content, kind, told, tmp_path: Path):
    (tmp_path / "own.toml").write_text(content)
    with pytest.raises(kind, match=r"own\.toml") as caught:
        from_file(tmp_path / "own.toml")
    assert told in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(MissingError):
        from_file(tmp_path / "none.toml")


def test_an_unknown_recipe_is_named_with_those_that_are(tmp_path: Path):
    with pytest.raises(UsageError, match=r"^--recipe slow: no such .* quick, tutorial, paper, or give a FILE\.toml"):
        decided("slow", AS_THE_RECIPE, "inception_v3")
    (tmp_path / "own.toml").write_text('recipe = "slow"')
    with pytest.raises(ConfigError, match=r"own\.toml: .*slow: no such recipe \(choose quick, tutorial"):
        decided(tmp_path / "own.toml", AS_THE_RECIPE, "inception_v3")


def test_help_tells_every_option_with_the_recipes_values(capsys):
    assert main(["train", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in fields(Recipe):
        assert f"--{field.name.replace('_', '-')}" in told
    assert "[quick 20, fast 17, tutorial 300, paper by network]" in told
    assert "[quick 64, fast 1024, tutorial 64, paper 32]" in told
    assert "[5]" in told, "where all recipes agree it is said once"
