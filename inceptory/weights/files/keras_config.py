"""What a Keras model's config says, read as plain data: its layers in order, with names and settings.

A config is anybody's text. Parts that do not have the form that Keras gives them are skipped, and
nothing is ever built from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """One layer of a model, or of a model within it."""

    parent: str
    """The group of its model's layers: "layers", "layers/functional/layers"."""
    kind: str
    """Its class: "Conv2D"."""
    name: str
    settings: Settings

    @property
    def snake(self) -> str:
        """Its class as Keras 3 names groups (keras/src/utils/naming.py)."""
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", self.kind))
        return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def layers_of(config: Settings | None) -> list[Layer]:
    """Every layer that is no model itself, in the order of the config."""
    return [layer for layer, inner in _walk(config or {}, "layers") if inner is None]


def _walk(model: Settings, parent: str) -> Iterator[tuple[Layer, Settings | None]]:
    """Each layer with its own config where it is a model."""
    ranks: dict[str, int] = {}
    for record in _listed(model):
        settings = record.get("config")
        inner = record if _listed(record) else None
        name = settings.get("name") if isinstance(settings, dict) else record.get("name")
        layer = Layer(parent, str(record.get("class_name")), str(name), settings if isinstance(settings, dict) else {})
        yield layer, inner
        rank = ranks[layer.snake] = ranks.get(layer.snake, -1) + 1
        if inner is not None:
            group = f"{layer.snake}_{rank}" if rank else layer.snake
            yield from _walk(inner, f"{parent}/{group}/layers")


def _listed(model: Settings) -> list[Settings]:
    """The layers of a model; a Sequential of Keras 1 is the list itself."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def ranked(groups: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Groups of Keras 3 by (parent, class), each list in the order of the model's layers."""
    numbered: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for group in groups:
        parent, _, last = group.rpartition("/")
        name, _, number = last.rpartition("_")
        # conv2d is the first and conv2d_1 the second: the class itself may hold an underscore.
        kind, rank = (name, int(number)) if name and number.isdecimal() else (last, 0)
        numbered.setdefault((parent, kind), []).append((rank, group))
    return {key: [group for _, group in sorted(members)] for key, members in numbered.items()}


def names_of_groups(config: Settings | None, groups: Iterable[str]) -> dict[str, str]:
    """The layers' own names by their groups of variables, for each class of which config and file have equally many.

    A group is called by the layer's class and its rank among those of its class
    (keras/src/saving/saving_lib.py, _save_container_state).
    """
    names_by_class: dict[tuple[str, str], list[str]] = {}
    for layer in layers_of(config):
        names_by_class.setdefault((layer.parent, layer.snake), []).append(layer.name)
    named: dict[str, str] = {}
    for key, members in ranked(groups).items():
        names = names_by_class.get(key, [])
        if len(names) == len(members):
            named |= dict(zip(members, names, strict=True))
    return named
