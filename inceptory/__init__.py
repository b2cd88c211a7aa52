"""Inceptory: the home of the Inception family of image classifiers.

The public names, each loaded on first use: importing the package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from inceptory.version import __version__

if TYPE_CHECKING:
    from inceptory.data.arrays import from_arrays
    from inceptory.data.check import check
    from inceptory.data.datasets import from_dataset
    from inceptory.errors import InceptoryError
    from inceptory.learn.compare import compare
    from inceptory.learn.recipe import Recipe
    from inceptory.learn.verbs import evaluate, train
    from inceptory.nets.catalogue import catalogue, plan
    from inceptory.nets.network import Network, create
    from inceptory.nets.variant import Variant
    from inceptory.run.predict import predict
    from inceptory.weights.adopt import load
    from inceptory.weights.card import Card
    from inceptory.weights.store import save

_HOMES = {
    "Card": "inceptory.weights.card",
    "InceptoryError": "inceptory.errors",
    "Network": "inceptory.nets.network",
    "Recipe": "inceptory.learn.recipe",
    "Variant": "inceptory.nets.variant",
    "catalogue": "inceptory.nets.catalogue",
    "check": "inceptory.data.check",
    "compare": "inceptory.learn.compare",
    "create": "inceptory.nets.network",
    "evaluate": "inceptory.learn.verbs",
    "from_arrays": "inceptory.data.arrays",
    "from_dataset": "inceptory.data.datasets",
    "load": "inceptory.weights.adopt",
    "plan": "inceptory.nets.catalogue",
    "predict": "inceptory.run.predict",
    "save": "inceptory.weights.store",
    "train": "inceptory.learn.verbs",
}

__all__ = [
    "Card",
    "InceptoryError",
    "Network",
    "Recipe",
    "Variant",
    "__version__",
    "catalogue",
    "check",
    "compare",
    "create",
    "evaluate",
    "from_arrays",
    "from_dataset",
    "load",
    "plan",
    "predict",
    "save",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'inceptory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
