"""Names for the layers of a bare `.weights.h5` of older Keras 3, which notes none: by their place.

Such a file numbers its groups by place in the model's order. Which place is which layer follows from
the network alone (`keras_order`), so the network whose layers have these classes and shapes names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from inceptory.nets.catalogue import plan
from inceptory.weights.files.keras_config import ranked
from inceptory.weights.identify import shapes_of
from inceptory.weights.keras.writer import keras_layers
from inceptory.weights.origins.registry import ORIGINS, Origin
from inceptory.weights.rules import names_there

Shapes = list[tuple[int, ...]]
"""Shapes of a layer's variables, in Keras' order."""


def names_by_place(groups: Mapping[str, Shapes]) -> dict[str, str]:
    """Layer names by group; nothing where the layers are those of no network that Keras has."""
    found = ranked(groups)
    parents = {parent for parent, kind in found if kind == "conv2d"}
    if len(parents) != 1:
        return {}
    (parent,) = parents
    here = {kind: names for (above, kind), names in found.items() if above == parent}
    for origin in ORIGINS:
        named = _named(here, groups, origin) if origin.name == "keras" else {}
        if named:
            # What is not the backbone's is a head; its groups are called as Keras calls such layers.
            return {group: named.get(group, group.rpartition("/")[2]) for group in groups}
    return {}


def _named(here: Mapping[str, list[str]], groups: Mapping[str, Shapes], origin: Origin) -> dict[str, str]:
    """Names of the groups of a backbone, where it is the one of this origin."""
    named: dict[str, str] = {}
    wanted = _backbone(origin)
    if any(kind in here and kind not in wanted for kind in ("conv2d", "batch_normalization", "separable_conv2d")):
        return {}
    for kind, layers in wanted.items():
        found = here.get(kind, [])
        if [groups[group] for group in found] != [shapes for _, shapes in layers]:
            return {}
        named |= {group: name for group, (name, _) in zip(found, layers, strict=True)}
    return named


@cache
def _backbone(origin: Origin) -> Mapping[str, list[tuple[str, Shapes]]]:
    """Name and shapes of every layer but the classifier, by class, in the model's order."""
    found = plan(origin.architecture, dialect=origin.dialect, classes=0)
    shapes = shapes_of(found)
    names = {ours: str(theirs) for ours, theirs in names_there(origin.table, shapes).items()}
    # Zeros that take no room: only their shapes are asked for.
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    told: dict[str, list[tuple[str, Shapes]]] = {}
    for name, kind, variables in keras_layers(found, names, state):
        told.setdefault(kind, []).append((name, [variable.shape for variable in variables]))
    return told
