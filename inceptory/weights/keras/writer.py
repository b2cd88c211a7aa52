"""Keras' own files of weights, `.weights.h5` and the older `.h5`, written through h5py (extra `keras`).

Keras 3 names a group of `.weights.h5` after the layer's class and its rank among those of its class
in the model's order (keras/src/saving/saving_lib.py). An `.h5` of the layout of 2016 lists its layers,
and Keras 2 and 3 both pair them with a model's by position (legacy/saving/legacy_h5_format.py). So
neither depends on how a person named the layers.
"""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.errors import ConfigError
from inceptory.nets.catalogue import Plan
from inceptory.weights.keras.order import layer_order

Array = NDArray[np.float32]
Layers = list[tuple[str, str, list[Array]]]
"""Name, class in snake case, variables in Keras' order and shape, layer by layer."""


def keras_file(name: str, plan: Plan, names: dict[str, str], state: dict[str, Array]) -> tuple[bytes, int]:
    """(a network in dialect keras as a file, its number of variables); `names` are Keras' for our tensors.

    The layout is Keras 3's where the file is called .weights.h5, else that of 2016. Raises ConfigError
    without h5py.
    """
    h5py = _h5py()
    layers = keras_layers(plan, names, state)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        if name.lower().endswith(".weights.h5"):
            _write_newer(file, layers)
        else:
            _write_older(file, layers)
    return content.getvalue(), sum(len(variables) for _, _, variables in layers)


def _write_newer(file: Any, layers: Layers) -> None:
    ranks = dict[str, int]()
    for name, kind, variables in layers:
        rank = ranks[kind] = ranks.get(kind, -1) + 1
        group = file.create_group(f"layers/{kind}_{rank}" if rank else f"layers/{kind}").create_group("vars")
        # As Keras itself does: the group's number is a place in the model, the name is the layer's own.
        group.attrs["name"] = name
        for number, variable in enumerate(variables):
            group.create_dataset(str(number), data=variable)


def _write_older(file: Any, layers: Layers) -> None:
    file.attrs["layer_names"] = [name.encode() for name, _, _ in layers]
    # Without a version Keras takes a file for one of Keras 1, and turns its kernels.
    file.attrs["keras_version"], file.attrs["backend"] = b"2.15.0", b"tensorflow"
    for name, kind, variables in layers:
        group = file.create_group(name)
        listed = [f"{name}/{role}:0" for role in _roles(kind, len(variables))]
        group.attrs["weight_names"] = [weight.encode() for weight in listed]
        for weight, variable in zip(listed, variables, strict=True):
            group.create_dataset(weight, data=variable)


def _roles(kind: str, count: int) -> tuple[str, ...]:
    """What Keras calls a layer's variables; a norm without gamma lacks the first."""
    if kind == "batch_normalization":
        return ("gamma", "beta", "moving_mean", "moving_variance")[4 - count :]
    return ("depthwise_kernel", "pointwise_kernel") if kind == "separable_conv2d" else ("kernel", "bias")[:count]


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise ConfigError("writing Keras files needs h5py (pip install 'inceptory[keras]')") from None
    return h5py  # type: ignore[no-any-return]


def keras_layers(plan: Plan, names: dict[str, str], state: dict[str, Array]) -> Layers:
    """The layers that hold variables, in the model's order."""
    dense = sorted({name.rsplit(".", 1)[0] for name in state if name.startswith("head.classifier")})
    own = {ours.rsplit(".", 1)[0]: _own_name(theirs) for ours, theirs in names.items()}
    # The tutorial's v3 joins the six maps of its last modules at once; Keras' own nests two joins.
    order = layer_order(plan.tree, flat=plan.architecture.startswith("cifar_"))
    layers = [(own[path], *_layer(path, state)) for path in order]
    return layers + [(own[path], "dense", [state[f"{path}.weight"].T, state[f"{path}.bias"]]) for path in dense]


def _own_name(theirs: str) -> str:
    """conv2d_3 for conv2d#3.weight, the fourth that Keras numbers; the first has no number."""
    return theirs.rsplit(".", 1)[0].replace("#0", "").replace("#", "_")


def _layer(path: str, state: dict[str, Array]) -> tuple[str, list[Array]]:
    if f"{path}.running_mean" in state:
        roles = ("weight", "bias", "running_mean", "running_var")
        return "batch_normalization", [state[f"{path}.{role}"] for role in roles if f"{path}.{role}" in state]
    kernel = state[f"{path}.weight"].transpose(2, 3, 1, 0)
    bias = [state[f"{path}.bias"]] if f"{path}.bias" in state else []
    if path.endswith(".dw.conv"):
        pointwise = state[path.replace(".dw.conv", ".pw.conv") + ".weight"]
        # One output for each input: (H, W, 1, C) there is (H, W, C, 1).
        return "separable_conv2d", [kernel.transpose(0, 1, 3, 2), pointwise.transpose(2, 3, 1, 0)]
    return "conv2d", [kernel, *bias]
