"""Every public name does its work, whatever was imported before: no submodule hides one."""

from __future__ import annotations

import importlib
import pkgutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inceptory
from tests.data.tiny_cifar10 import written

TINY: dict[str, Any] = {"classes": 3, "width": 0.25, "image": 32}


@pytest.fixture(scope="module", autouse=True)
def _everything_imported() -> None:
    for found in pkgutil.walk_packages(inceptory.__path__, "inceptory."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def _opened(run: Path) -> str:
    with inceptory.open_model(run) as model:
        return f"{model.certificate()}"


def _saved(place: Path) -> Path:
    """A checkpoint, and torchvision's file of the same network."""
    inceptory.save(inceptory.create("inception_v3", classes=3, width=1.0, aux=True), place / "ours.safetensors")
    return place / "ours.safetensors"


def _reproduced(place: Path) -> Any:
    """A network trained on few pictures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("INCEPTORY_DATA", str(written(place / "data")))
        small: dict[str, Any] = {"networks": ["cifar_inception_v1"], "width": 0.25, "epochs": 1}
        return inceptory.reproduce("cifar10", out=place / "out", **small)


CALLS: dict[str, Callable[[Path, Path, Path], Any]] = {
    "Card": lambda run, data, place: inceptory.load(run / "model.safetensors").card.labels,
    "InceptionClassifier": lambda run, data, place: (
        inceptory.InceptionClassifier(run, strength=0.01)
        .fit(sorted(data.rglob("*.png"))[::6], ["one", "two"] * 6)
        .predict([next(data.rglob("*.png"))])
        .tolist()
    ),
    "InceptionFeatures": lambda run, data, place: (
        inceptory.InceptionFeatures(run, cache=False).transform([next(data.rglob("*.png"))]).shape
    ),
    "InceptoryError": lambda run, data, place: inceptory.InceptoryError("told").line(),
    "Layout": lambda run, data, place: inceptory.Layout(split_folders="off"),
    "Network": lambda run, data, place: inceptory.Network(inceptory.plan("inception_v2", **TINY)),
    "Recipe": lambda run, data, place: inceptory.Recipe(epochs=2).check() or True,
    "Transfer": lambda run, data, place: inceptory.Transfer(views=2),
    "Variant": lambda run, data, place: inceptory.Variant(width=0.5),
    "bench": lambda run, data, place: inceptory.bench(
        run, engines=("onnxruntime",), batch=(1,), threads=(1,)
    ).records()[0]["model"],
    "catalogue": lambda run, data, place: inceptory.catalogue()["xception"],
    "check": lambda run, data, place: inceptory.check(str(data)),
    "compare": lambda run, data, place: inceptory.compare(run, run),
    "convert": lambda run, data, place: inceptory.convert(str(_saved(place)), str(place / "v3.pth"), to="torchvision"),
    "create": lambda run, data, place: inceptory.create("inception_v2", **TINY).eval()(torch.rand(1, 3, 32, 32)).shape,
    "demo": lambda run, data, place: inceptory.demo(out=str(place / "demo")),
    "evaluate": lambda run, data, place: inceptory.evaluate(run, str(data)),
    "explain": lambda run, data, place: inceptory.explain(run, next(data.rglob("*.png")), out=str(place / "why")),
    "export": lambda run, data, place: inceptory.export(run, to="torch-export", out=str(place / "exported")),
    "extract_features": lambda run, data, place: inceptory.extract_features(run, data, cache=False),
    "from_arrays": lambda run, data, place: inceptory.from_arrays(np.zeros((4, 8, 8), np.uint8), list("abab")),
    "from_dataset": lambda run, data, place: callable(inceptory.from_dataset),
    "load": lambda run, data, place: inceptory.load(str(run / "model.safetensors")),
    "models": lambda run, data, place: inceptory.models(),
    "open_model": lambda run, data, place: _opened(run),
    "plan": lambda run, data, place: inceptory.plan("xception").numbers(),
    "predict": lambda run, data, place: inceptory.predict(run, next(data.rglob("*.png"))),
    "published": lambda run, data, place: inceptory.published()["inception_v3.tf_in1k"].name,
    "reproduce": lambda run, data, place: _reproduced(place).runs,
    "save": lambda run, data, place: _saved(place).stat().st_size,
    "show": lambda run, data, place: inceptory.show("inception_v3", draw=str(place / "v3.svg")),
    "train": lambda run, data, place: inceptory.train(
        str(data),
        model="cifar_inception_v2",
        out=str(place / "run"),
        variant=inceptory.Variant(width=0.25),
        recipe=inceptory.Recipe(epochs=1, lr=0.001),
    ),
    "verify": lambda run, data, place: inceptory.verify(str(run / "model.safetensors")),
}


def test_every_public_name_has_a_call_here():
    assert {*CALLS, "__version__"} == set(inceptory.__all__)


def test_no_public_name_is_that_of_a_room_or_module():
    rooms = {found.name for found in pkgutil.iter_modules(inceptory.__path__)}
    assert rooms & set(inceptory.__all__) == set()
    assert not any(isinstance(getattr(inceptory, name), types.ModuleType) for name in inceptory.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_public_name_works_after_everything_is_imported(name, run, colours, tmp_path):
    assert CALLS[name](run, colours, tmp_path)
