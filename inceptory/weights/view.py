"""A weight file in PyTorch's terms: names with a layer and a tensor's role, shapes as a module has them.

PyTorch's own files are so already. Keras stores kernels with the channels last, calls roles by other
names, and numbers layers without a name by a counter of the whole process: here the k-th of them is
conv2d#k, whatever its number in the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.errors import DataError
from inceptory.weights.files.formats import Weights
from inceptory.weights.files.source import quoted

Array = NDArray[Any]

ROLES = {
    "kernel": "weight",
    "depthwise_kernel": "depthwise",
    "pointwise_kernel": "pointwise",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "W": "weight",
    "b": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "running_mean": "running_mean",
    "running_std": "running_var",  # the name of 2015; what it holds is the variance
}
BLOB = re.compile(r"(.+?)(?::([01])|_([wb])_0)")
BLOBS = {"0": "weight", "1": "bias", "w": "weight", "b": "bias"}
"""A Caffe layer's blobs by their number, or by Caffe2's letter."""
SLIM_ROLES = {
    "weights": "conv.weight",
    "biases": "conv.bias",
    "depthwise_weights": "depthwise",
    "pointwise_weights": "pointwise",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""tf-slim's words for a variable; a norm is a scope of its own."""
OLDEST = re.compile(rf"(.+?)_({'|'.join(ROLES)})")
"""Keras 1 has a layer and a role in one word: convolution2d_1_W."""
AUTOMATIC = re.compile(r"(conv2d|batch_normalization|dense|separable_conv2d)(?:_(\d+))?")
OLD_AUTOMATIC = {
    "convolution2d": "conv2d",
    "batchnormalization": "batch_normalization",
    "separableconvolution2d": "separable_conv2d",
}


@dataclass(frozen=True)
class View:
    """Names and shapes in PyTorch's terms, and the way to each tensor."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Array]
    """One tensor in float32 by its name here."""
    stored: Mapping[str, str]
    """Name here to the name in the file."""
    layers: Mapping[str, str] = field(default_factory=dict)
    """Keras: name here to the layer's own name."""


def view(weights: Weights) -> View:
    """The view of an open file."""
    if weights.kind.startswith("keras"):
        try:
            return _keras(weights)
        except (ValueError, LookupError):
            # Keras names a variable by a number below the count of its layer; this file has other names.
            raise DataError(f"{weights.path}: variables are not called as Keras calls them (save it again)") from None
    if weights.kind.startswith("tensorflow"):
        return _tensorflow(weights)
    if weights.kind in ("caffe model", "onnx model"):
        return _caffe(weights)
    names = {name: name for name in weights.entries}
    return View({name: entry.shape for name, entry in weights.entries.items()}, weights.read, names)


def _caffe(weights: Weights) -> View:
    """Blobs by the layer: conv1/7x7_s2:0 or conv1/7x7_s2_w_0 is conv1/7x7_s2.weight; shapes are PyTorch's already."""
    stored: dict[str, str] = {}
    for there in weights.entries:
        match = BLOB.fullmatch(there)
        stored[f"{match[1]}.{BLOBS[match[2] or match[3]]}" if match else there] = there
    shapes = {here: weights.entries[there].shape for here, there in stored.items()}
    return View(shapes, lambda name: weights.read(stored[name]), stored)


def _tensorflow(weights: Weights) -> View:
    """Variables by scope: Net/Mixed_5b/Conv2d_0a_1x1/weights is Net.Mixed_5b.Conv2d_0a_1x1.conv.weight."""
    named: dict[str, str] = {}
    for there in weights.entries:
        *scopes, last = there.split("/")
        scopes = ["bn" if scope == "BatchNorm" else scope for scope in scopes]
        named[".".join((*scopes, SLIM_ROLES.get(last, last)))] = there
    if len(named) < len(weights.entries):
        raise DataError(f"{weights.path}: two variables have one name here (save it again under other scopes)")
    shapes = {here: _torch_shape(here, weights.entries[there].shape) for here, there in named.items()}
    return View(shapes, lambda name: _torch_order(name, weights.read(named[name])), named)


def _keras(weights: Weights) -> View:
    own = _own_names(weights)
    variables = Counter(name.rsplit("/vars/", 1)[0] for name in weights.entries if "/vars/" in name)
    roles = {name: _layer_and_role(variables, own, name) for name in weights.entries}
    named = _numbered(weights, roles)
    shapes = {here: _torch_shape(here, weights.entries[there].shape) for here, there in named.items()}

    def read(name: str) -> Array:
        return _torch_order(name, weights.read(named[name]))

    return View(shapes, read, named, {here: roles[there][0] for here, there in named.items()})


def _own_names(weights: Weights) -> Mapping[str, str]:
    """The layers' names by their groups in a Keras 3 file: noted there, taken from its config, or found by place.

    Raises DataError where there are none: groups are numbered by place in the model, which is not the
    order of creation, and layers of equal shape would be swapped unnoticed.
    """
    groups: dict[str, list[tuple[int, ...]]] = {}
    for name, entry in weights.entries.items():
        if "/vars/" in name:
            groups.setdefault(name.rsplit("/vars/", 1)[0], []).append(entry.shape)
    nameless = sorted(groups - weights.layer_names.keys())
    if not nameless:
        return weights.layer_names
    from inceptory.weights.keras.place import names_by_place

    named = names_by_place(groups)
    if not named:
        problem = f"{len(nameless)} layers without a name of their own, the first: {quoted(nameless[0])}"
        raise DataError(f"{weights.path}: {problem} (save it again with a newer Keras, or as .h5)")
    return named


def _layer_and_role(variables: Mapping[str, int], own: Mapping[str, str], name: str) -> tuple[str, str]:
    """("conv2d_3", "weight") of conv2d_3/conv2d_3/kernel:0 (2016) or layers/conv2d_3/vars/0 (Keras 3).

    `variables` counts those of each group of Keras 3.
    """
    parts = name.removesuffix(":0").split("/")
    if "vars" in parts:
        group = name.rsplit("/vars/", 1)[0]
        return own.get(group, parts[-3]), _role_of_variable(variables[group], parts[-3], int(parts[-1]))
    *before, last = parts
    oldest = OLDEST.fullmatch(last)
    if oldest is not None and last not in ROLES:
        return oldest[1], ROLES[oldest[2]]
    return before[-1] if before else last, ROLES.get(last, last)


def _role_of_variable(count: int, kind: str, index: int) -> str:
    """Keras 3 numbers a layer's variables; the layer's class, which names its group, tells their order."""
    if kind.startswith("batch_normalization"):
        return ("weight", "bias", "running_mean", "running_var")[index + 4 - count]
    if kind.startswith(("separable_conv2d", "depthwise_conv2d")):
        return ("depthwise", "pointwise", "bias")[index]
    return ("weight", "bias")[index] if index < 2 else str(index)


def _numbered(weights: Weights, roles: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Name here to name in the file; layers that nobody named are numbered by rank within their kind."""
    numbers: dict[str, set[int]] = {}
    for layer, _ in roles.values():
        kind, number = _automatic(layer)
        if kind:
            numbers.setdefault(kind, set()).add(number)
    ranks = {kind: {number: rank for rank, number in enumerate(sorted(values))} for kind, values in numbers.items()}
    named: dict[str, str] = {}
    for there, (layer, role) in roles.items():
        kind, number = _automatic(layer)
        here = f"{kind}#{ranks[kind][number]}.{role}" if kind else f"{layer}.{role}"
        if here in named:
            raise DataError(f"{weights.path}: two layers are called {layer} (give each a name of its own)")
        named[here] = there
    return _with_one_head(weights, named)


def _automatic(layer: str) -> tuple[str, int]:
    for old, new in OLD_AUTOMATIC.items():
        layer = re.sub(rf"^{old}", new, layer)
    match = AUTOMATIC.fullmatch(layer)
    return (match[1], int(match[2] or 0)) if match else ("", 0)


def _with_one_head(weights: Weights, named: dict[str, str]) -> dict[str, str]:
    """A file with a single dense layer has one head, whatever it is called: here "predictions"."""
    dense = [name for name, there in named.items() if len(weights.entries[there].shape) == 2]
    if len(dense) != 1:
        return named
    layer = dense[0].rsplit(".", 1)[0]
    return {re.sub(rf"^{re.escape(layer)}\.", "predictions.", name): there for name, there in named.items()}


def _torch_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        high, wide, inputs, outputs = shape
        return (inputs * outputs, 1, high, wide) if name.endswith(".depthwise") else (outputs, inputs, high, wide)
    return shape[::-1] if len(shape) == 2 else shape


def _torch_order(name: str, array: Array) -> Array:
    """H x W x in x out to out x in x H x W; a depthwise kernel's outputs run fastest within an input."""
    if array.ndim == 4:
        order = (2, 3, 0, 1) if name.endswith(".depthwise") else (3, 2, 0, 1)
        return np.ascontiguousarray(array.transpose(order)).reshape(_torch_shape(name, array.shape))
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array
