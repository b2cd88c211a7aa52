"""Names for the layers of a bare `.weights.h5` of older Keras 3, which notes none: by their place.

Such a file numbers its groups by place in the model's order. Which place is which layer follows from
the network alone (`layer_order`), so the network whose layers have these classes and shapes names them.
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
    by_class = ranked(groups)
    parents = {parent for parent, kind in by_class if kind == "conv2d"}
    if len(parents) != 1:
        return {}
    (parent,) = parents
    in_model = {kind: names for (above, kind), names in by_class.items() if above == parent}
    for origin in ORIGINS:
        named = _named(in_model, groups, origin) if origin.name == "keras" else {}
        if named:
            # Groups outside the backbone are a head's; they keep the name that Keras gives such layers.
            return {group: named.get(group, group.rpartition("/")[2]) for group in groups}
    return {}


def _named(in_model: Mapping[str, list[str]], groups: Mapping[str, Shapes], origin: Origin) -> dict[str, str]:
    """Names of the groups of a backbone, where it is the one of this origin."""
    named: dict[str, str] = {}
    backbone = _backbone(origin)
    if any(kind in in_model and kind not in backbone for kind in ("conv2d", "batch_normalization", "separable_conv2d")):
        return {}
    for kind, layers in backbone.items():
        in_file = in_model.get(kind, [])
        if [groups[group] for group in in_file] != [shapes for _, shapes in layers]:
            return {}
        named |= {group: name for group, (name, _) in zip(in_file, layers, strict=True)}
    return named


@cache
def _backbone(origin: Origin) -> Mapping[str, list[tuple[str, Shapes]]]:
    """Name and shapes of every layer but the classifier, by class, in the model's order."""
    network = plan(origin.architecture, dialect=origin.dialect, classes=0)
    shapes = shapes_of(network)
    names = {ours: str(theirs) for ours, theirs in names_there(origin.table, shapes).items()}
    # Zeros that take no memory: only their shapes are used.
    state = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    layers: dict[str, list[tuple[str, Shapes]]] = {}
    for name, kind, variables in keras_layers(network, names, state):
        layers.setdefault(kind, []).append((name, [variable.shape for variable in variables]))
    return layers
