"""A Keras model's config against the network that its tensors fit: what tensors cannot tell.

Strides, padding, epsilon, pools and activations change every answer and no shape. Where the config
tells them, it decides between networks with the same tensors, and a network that is none of ours is
refused by name: it would give wrong answers without notice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isclose
from typing import Any

from inceptory.errors import DataError
from inceptory.nets.arithmetic import join
from inceptory.nets.blocks import Act, Conv, Node, Norm, Pool, Residual, Tree, children
from inceptory.nets.catalogue import plan
from inceptory.weights.files.formats import Weights
from inceptory.weights.files.keras_config import Layer, Settings, layers_of
from inceptory.weights.identify import Identity
from inceptory.weights.view import View

POOLS = {"MaxPooling2D": "max", "AveragePooling2D": "avg"}
QUIET = {
    *POOLS,
    *("InputLayer", "Conv2D", "Convolution2D", "SeparableConv2D", "SeparableConvolution2D", "BatchNormalization"),
    *("Activation", "ReLU", "Softmax", "Concatenate", "Add", "Merge", "Lambda", "CustomScaleLayer", "Dense", "Flatten"),
    *("GlobalAveragePooling2D", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
}
"""Layers that our networks have too, that only regroup, or that do nothing in inference."""
APPLIES = ("Activation", "Conv2D", "Convolution2D", "SeparableConv2D", "SeparableConvolution2D")
"""Layers that may apply a ReLU; that of a dense layer is the head's."""
RANDOM = "Random"
"""Beginning of the names of layer classes that change pictures in training only."""
OLD = {"strides": "subsample", "padding": "border_mode"}
"""What Keras 1 called a setting."""

Facts = Mapping[str, Any]


def settle(weights: Weights, inside: View, identity: Identity, *, free: bool) -> Identity:
    """The identity as the file's config has it; `free` says that the caller named no network.

    Raises DataError with the first setting that no network with these tensors has.
    """
    layers = layers_of(weights.config)
    named = {layer.name: layer for layer in layers}
    if identity.origin.name != "keras" or not layers:
        return identity
    matched = {ours: named.get(inside.layers[there]) for ours, there in identity.match.pairs.items()}
    if None in matched.values():
        return identity
    layer_of = {ours: layer for ours, layer in matched.items() if layer is not None}
    faults = []
    candidates = [identity, *_twins(identity)] if free else [identity]
    for candidate in candidates:
        fault = next(_contradictions(candidate, layer_of, layers), None)
        if fault is None:
            origin = replace(candidate.origin, twins=())
            return replace(
                candidate,
                origin=origin,
                decided="by its config",
                notes=(*candidate.notes, *_notes(inside, candidate, layers)),
            )
        faults.append(fault)
    raise DataError(f"{weights.path}: its config has {faults[0]} (say dialect= to read it all the same)")


def _twins(identity: Identity) -> Iterator[Identity]:
    """Other networks of ours with the same names and shapes."""
    for name in identity.origin.twins:
        twin = plan(name, dialect=identity.plan.dialect, classes=identity.plan.classes)
        yield replace(identity, plan=twin, origin=replace(identity.origin, architecture=name))


def _contradictions(identity: Identity, layer_of: Mapping[str, Layer], layers: list[Layer]) -> Iterator[str]:
    name, tree = identity.plan.architecture, identity.plan.tree
    for ours, expected in _expected(tree):
        layer = layer_of[ours]
        for key, value in expected.items():
            actual = _setting(layer.settings, key)
            if actual is not None and not _equal(actual, value):
                yield f"{key} {actual} at {layer.name}, where {name} has {value}"
    for kind, size, stride, pad in Counter(_pools(tree)) - Counter(_config_pools(layers)):
        yield f"other pools than {name}: it lacks {kind} over {size} cells with strides {stride}, padding {pad}"
    needed, relus = _relus(tree), sum(map(_is_relu, layers))
    # A head that is not loaded may have its own.
    if relus < needed or (relus > needed and not identity.head):
        yield f"{relus} ReLUs, where {name} has {needed}"


def _expected(tree: Tree) -> Iterator[tuple[str, Facts]]:
    """A tensor of every convolution and norm, and the settings that its layer must have."""
    for stage in tree.stages:
        for path, node in _parts(stage.body, stage.name):
            match node:
                case Conv(norm=norm, kernel=kernel, stride=stride, pad=pad):
                    # A 1x1 convolution never reaches over the border.
                    padding = {} if kernel == (1, 1) else {"padding": pad}
                    yield f"{path}.conv.weight", {"strides": stride, **padding}
                    if isinstance(norm, Norm):
                        yield f"{path}.bn.running_mean", {"epsilon": norm.eps}
                case Norm(eps=eps):
                    yield f"{path}.running_mean", {"epsilon": eps}


def _parts(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, child in children(node):
        yield from _parts(child, join(path, name))


def _pools(tree: Tree) -> Iterator[tuple[str, int, int, str]]:
    for stage in tree.stages:
        for _, node in _parts(stage.body, stage.name):
            if isinstance(node, Pool):
                yield node.kind, node.kernel, node.stride, str(node.pad)


def _config_pools(layers: list[Layer]) -> Iterator[tuple[str, Any, Any, Any]]:
    for layer in layers:
        if layer.kind in POOLS:
            size, stride, pad = (_setting(layer.settings, key) for key in ("pool_size", "strides", "padding"))
            yield POOLS[layer.kind], size, stride, pad


def _relus(tree: Tree) -> int:
    nodes = [node for stage in tree.stages for _, node in _parts(stage.body, stage.name)]
    return sum(isinstance(node, Act) or (isinstance(node, Conv | Residual) and bool(node.act)) for node in nodes)


def _is_relu(layer: Layer) -> bool:
    return layer.kind == "ReLU" or (layer.kind in APPLIES and _setting(layer.settings, "activation") == "relu")


def _setting(settings: Settings, key: str) -> Any:
    """A setting by its present name; a pair of equal numbers is one number, as in our tables."""
    value = settings.get(key, settings.get(OLD.get(key, key)))
    if isinstance(value, list):
        value = value[0] if len(set(map(repr, value))) == 1 else repr(value)
    return value if isinstance(value, int | float | str) else None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # An epsilon may have been through float32.
        return isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def _notes(inside: View, identity: Identity, layers: list[Layer]) -> tuple[str, ...]:
    """What the config says that our network does not do, though every tensor finds its place."""
    head_layers = {inside.layers[name] for name in identity.head}
    ignored = [layer for layer in layers if layer.name not in head_layers and not _is_ours(layer)]
    listed = [f"{layer.name} ({layer.kind})" for layer in ignored]
    notes = (
        [f"layers of its config are left out: {', '.join(listed[:3])}{', ...' if listed[3:] else ''}"] if listed else []
    )
    last = _setting(layers[-1].settings, "activation")
    if identity.plan.classes and last not in (None, "linear", "softmax"):
        notes.append(f"its classifier ends in {last}, ours in logits")
    return tuple(notes)


def _is_ours(layer: Layer) -> bool:
    """Whether our networks have such a layer, or it does nothing in inference."""
    if layer.kind == "Rescaling":
        # Bytes to [-1, 1), as the network's own preparation of pictures has it.
        scale, offset = (_setting(layer.settings, key) for key in ("scale", "offset"))
        return isinstance(scale, float) and abs(scale * 127.5 - 1) < 1e-6 and offset == -1
    return layer.kind in QUIET or layer.kind.startswith(RANDOM)
