"""Inceptory: the home of the Inception family of image classifiers.

The public names, each loaded on first use: importing the package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inceptory.errors import InceptoryError
    from inceptory.learn import evaluate, train
    from inceptory.nets.catalogue import catalogue, plan
    from inceptory.nets.network import Network, create
    from inceptory.run.predict import predict
    from inceptory.weights.card import Card
    from inceptory.weights.store import load, save

__version__ = "0.1.0"

_HOMES = {
    "Card": "inceptory.weights.card",
    "InceptoryError": "inceptory.errors",
    "Network": "inceptory.nets.network",
    "catalogue": "inceptory.nets.catalogue",
    "create": "inceptory.nets.network",
    "evaluate": "inceptory.learn",
    "load": "inceptory.weights.store",
    "plan": "inceptory.nets.catalogue",
    "predict": "inceptory.run.predict",
    "save": "inceptory.weights.store",
    "train": "inceptory.learn",
}

__all__ = [
    "Card",
    "InceptoryError",
    "Network",
    "catalogue",
    "create",
    "evaluate",
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
    return sorted([*__all__, "__version__"])
