"""Inceptory: the home of the Inception family of image classifiers.

The public names, each loaded on first use: importing the package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from inceptory.version import __version__

if TYPE_CHECKING:
    from inceptory.data.sources.arrays import from_arrays
    from inceptory.data.sources.datasets import from_dataset
    from inceptory.data.sources.layout import Layout
    from inceptory.errors import InceptoryError
    from inceptory.features.features import extract_features
    from inceptory.learn.estimator.classifier import InceptionClassifier
    from inceptory.learn.estimator.features import InceptionFeatures
    from inceptory.learn.settings.recipe import Recipe
    from inceptory.learn.settings.transfer import Transfer
    from inceptory.learn.verbs import train
    from inceptory.nets.catalogue import catalogue, plan
    from inceptory.nets.network import Network, create
    from inceptory.nets.show import models, show
    from inceptory.nets.variant import Variant
    from inceptory.report.compare import compare
    from inceptory.run.bench import bench
    from inceptory.run.check import check
    from inceptory.run.demo import demo
    from inceptory.run.evaluate import evaluate
    from inceptory.run.explain import explain
    from inceptory.run.export import export
    from inceptory.run.predict import predict
    from inceptory.run.reproduction.reproduce import reproduce
    from inceptory.weights.card import Card
    from inceptory.weights.convert import convert
    from inceptory.weights.model import load, open_model
    from inceptory.weights.published.records import published
    from inceptory.weights.store import save
    from inceptory.weights.verify import verify

_HOMES = {
    "Card": "inceptory.weights.card",
    "InceptionClassifier": "inceptory.learn.estimator.classifier",
    "InceptionFeatures": "inceptory.learn.estimator.features",
    "InceptoryError": "inceptory.errors",
    "Layout": "inceptory.data.sources.layout",
    "Network": "inceptory.nets.network",
    "Recipe": "inceptory.learn.settings.recipe",
    "Transfer": "inceptory.learn.settings.transfer",
    "Variant": "inceptory.nets.variant",
    "bench": "inceptory.run.bench",
    "catalogue": "inceptory.nets.catalogue",
    "check": "inceptory.run.check",
    "compare": "inceptory.report.compare",
    "convert": "inceptory.weights.convert",
    "create": "inceptory.nets.network",
    "demo": "inceptory.run.demo",
    "evaluate": "inceptory.run.evaluate",
    "explain": "inceptory.run.explain",
    "export": "inceptory.run.export",
    "extract_features": "inceptory.features.features",
    "from_arrays": "inceptory.data.sources.arrays",
    "from_dataset": "inceptory.data.sources.datasets",
    "load": "inceptory.weights.model",
    "models": "inceptory.nets.show",
    "open_model": "inceptory.weights.model",
    "plan": "inceptory.nets.catalogue",
    "predict": "inceptory.run.predict",
    "published": "inceptory.weights.published.records",
    "reproduce": "inceptory.run.reproduction.reproduce",
    "save": "inceptory.weights.store",
    "show": "inceptory.nets.show",
    "train": "inceptory.learn.verbs",
    "verify": "inceptory.weights.verify",
}

__all__ = [
    "Card",
    "InceptionClassifier",
    "InceptionFeatures",
    "InceptoryError",
    "Layout",
    "Network",
    "Recipe",
    "Transfer",
    "Variant",
    "__version__",
    "bench",
    "catalogue",
    "check",
    "compare",
    "convert",
    "create",
    "demo",
    "evaluate",
    "explain",
    "export",
    "extract_features",
    "from_arrays",
    "from_dataset",
    "load",
    "models",
    "open_model",
    "plan",
    "predict",
    "published",
    "reproduce",
    "save",
    "show",
    "train",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'inceptory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
