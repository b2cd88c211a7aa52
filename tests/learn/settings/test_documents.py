"""Recipes as documents: what each says in its first lines, and that its options are those that always stood there."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from importlib import resources
from typing import Any

import pytest

from inceptory import Recipe
from inceptory.cli import application
from inceptory.learn.settings.options import AS_THE_RECIPE, decided
from inceptory.learn.settings.recipes import PAPERS, document, documents, named
from inceptory.nets.catalogue import catalogue

# Every option as it stood in the code before recipes were documents.
QUICK = {
    "epochs": 20,
    "time": None,
    "batch": 64,
    "accumulate": 1,
    "stop_after": 0,
    "optimizer": "sgd",
    "lr": 0.05,
    "schedule": "cosine",
    "warmup": 0.2,
    "drops": (),
    "decay_rate": 0.94,
    "decay_epochs": 2.0,
    "decay": 1e-6,
    "patience": 5,
    "momentum": 0.9,
    "nesterov": True,
    "momentum_rule": "torch",
    "rms_decay": 0.0,
    "epsilon": 0.0,
    "weight_decay": 0.0005,
    "penalty": 0.0,
    "unfreeze": 1.0,
    "depth_rate": 1.0,
    "freeze_norms": False,
    "whitening": False,
    "clip": 0.0,
    "label_smoothing": 0.1,
    "class_weights": False,
    "balanced": False,
    "skip_easy": 0.0,
    "average": 0.999,
    "norm_momentum": "auto",
    "moving_variance": "unbiased",
    "drop_path": 0.0,
    "statistics": "own",
    "flip": "random",
    "shift": 0.125,
    "shift_kind": "reflect",
    "progressive": 0.0,
    "crop": 0.0,
    "trivial": False,
    "colour": 0.0,
    "light": 0.0,
    "erase": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "validation": 0.1,
    "seed": 0,
    "device": "auto",
    "precision": "auto",
    "gradient_checkpointing": False,
    "compile": False,
}
TUTORIAL = {
    **QUICK,
    "epochs": 300,
    "lr": 0.01,
    "schedule": "step",
    "warmup": 0.0,
    "drops": (1 / 3, 2 / 3),
    "momentum_rule": "keras",
    "weight_decay": 0.0,
    "penalty": 1e-4,
    "label_smoothing": 0.0,
    "average": 0.0,
    "norm_momentum": "origin",
    "moving_variance": "biased",
    "statistics": "cifar10",
    "shift_kind": "continuous",
}
PAPER = {
    **QUICK,
    "epochs": 100,
    "batch": 32,
    "schedule": "exponential",
    "warmup": 0.0,
    "label_smoothing": 0.0,
    "average": 0.9999,
    "shift": 0.0,
    "crop": 0.08,
}
GOOGLENET = {"epochs": 250, "lr": 0.01, "decay_rate": 0.96, "decay_epochs": 8.0, "nesterov": False}
BN_INCEPTION = {"epochs": 150, "lr": 0.045, "decay_rate": 0.96, "decay_epochs": 8 / 6, "nesterov": False}
RMSPROP = {"optimizer": "rmsprop", "lr": 0.045, "nesterov": False, "momentum_rule": "keras", "rms_decay": 0.9}
RMSPROP |= {"epsilon": 1.0, "weight_decay": 4e-5}
RECIPES: dict[str, dict[str, Any]] = {
    "quick": QUICK,
    "tutorial": TUTORIAL,
    "tutorial_200": {**TUTORIAL, "epochs": 200, "drops": (0.5,)},
    "paper_googlenet": {**PAPER, **GOOGLENET, "momentum_rule": "keras", "weight_decay": 2e-4},
    "paper_bn_inception": {**PAPER, **BN_INCEPTION, "weight_decay": 4e-5},
    "paper_inception_v3": {**PAPER, **RMSPROP, "clip": 2.0, "label_smoothing": 0.1},
    "paper_inception_v4": {**PAPER, **RMSPROP},
    "paper_xception": {**PAPER, "lr": 0.045, "nesterov": False, "weight_decay": 1e-5},
    "paper_xception_aligned": {**PAPER, "lr": 0.05, "weight_decay": 4e-5},
}
FAST = {"epochs": 17, "batch": 1024, "optimizer": "muon", "lr": 0.2, "schedule": "onecycle", "warmup": 0.0}
FAST |= {"momentum": 0.6, "rms_decay": 0.99, "epsilon": 1e-8, "weight_decay": 0.0, "whitening": True}
FAST |= {"label_smoothing": 0.1, "flip": "alternate", "shift": 0.0625, "light": 0.14}
RECIPES["fast"] = {**QUICK, **FAST}
RECIPES["finetune"] = {**QUICK, "epochs": 10, "batch": 32, "lr": 0.01, "warmup": 0.1, "average": 0.99}
RECIPES["finetune"] |= {"clip": 1.0, "depth_rate": 0.9, "freeze_norms": True, "validation": 0.2}
RECIPES["tutorial-finetune"] = {**TUTORIAL, "epochs": 5, "batch": 16, "lr": 0.001, "schedule": "inverse", "drops": ()}
RECIPES["tutorial-finetune"] |= {"penalty": 0.0, "statistics": "own", "shift": 0.0, "shift_kind": "reflect"}
OF_PAPERS = {
    "googlenet": "paper_googlenet",
    "bn_inception": "paper_bn_inception",
    "inception_v2": "paper_bn_inception",
    "inception_v3": "paper_inception_v3",
    "inception_v4": "paper_inception_v4",
    "inception_resnet_v1": "paper_inception_v4",
    "inception_resnet_v2": "paper_inception_v4",
    "xception": "paper_xception",
    "xception41": "paper_xception_aligned",
    "xception65": "paper_xception_aligned",
    "xception71": "paper_xception_aligned",
}
FOLDER = resources.files("inceptory").joinpath("recipes")


def text_of(name: str) -> str:
    return FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8")


def told(name: str) -> list[dict[str, str]]:
    """What the comment above the options says of each figure, by the word in front of its colon."""
    head, _, _ = text_of(name).partition("\n\n")
    assert all(line.startswith("#") for line in head.splitlines()), "the first lines are a comment"
    joined = re.sub(r"\n# {2,}", " ", head)
    figures: list[dict[str, str]] = []
    for word, value in re.findall(r"^# (Reaches|Command|Machine|Date): +(.*)$", joined, re.MULTILINE):
        if word == "Reaches":
            figures.append({})
        figures[-1][word] = value
    return figures


def test_these_are_all_documents():
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}.toml" for name in RECIPES}
    assert dict(PAPERS) == OF_PAPERS
    assert documents("cifar_inception_fast") == {"fast": "fast", "quick": "quick"}, "its own is the usual one"
    for network in set(catalogue()) - {"cifar_inception_fast"}:
        older = network in ("cifar_inception_v1", "cifar_inception_v2")
        assert documents(network) == {
            "quick": "quick",
            "tutorial": "tutorial_200" if older else "tutorial",
            **({"paper": OF_PAPERS[network]} if network in OF_PAPERS else {}),
        }


@pytest.mark.parametrize("name", RECIPES)
def test_a_document_is_the_recipe_that_stood_in_the_code(name):
    assert repr(vars(document(name))) == repr(RECIPES[name]), "the kinds of the numbers too"


@pytest.mark.parametrize("name", RECIPES)
def test_a_document_holds_known_options_and_no_more(name):
    assert tomllib.loads(text_of(name)).keys() <= {field.name for field in fields(Recipe)}


@pytest.mark.parametrize("name", RECIPES)
def test_its_first_lines_say_what_it_reaches_with_which_command_where_and_when_or_that_nothing_was_measured(name):
    figures = told(name)
    assert figures
    for figure in figures:
        if not figure["Reaches"].startswith("not measured"):
            assert re.search(r"\d %", figure["Reaches"])
            assert re.search(r"\d cores of an AMD EPYC|the same", figure["Machine"])
            assert re.match(r"20\d\d-\d\d-\d\d", figure["Date"])


@pytest.mark.parametrize("name", [name for name in RECIPES if "finetune" not in name])
def test_its_command_is_one_of_ours_and_takes_it(name):
    for figure in told(name):
        program, *words = shlex.split(figure["Command"])
        assert program == "inceptory"
        command, bound, _ = application().parse_args(words, exit_on_error=False, print_error=False)
        assert command.__name__ == "train"
        asked = bound.kwargs
        assert named(asked.get("recipe"), asked["model"]) == document(name)
        assert decided(asked.get("recipe"), asked.get("options", AS_THE_RECIPE), asked["model"])
