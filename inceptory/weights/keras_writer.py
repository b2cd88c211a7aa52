"""Keras' own file of weights, `.weights.h5`, written through h5py (extra `keras`).

Keras 3 names a group after the layer's class and its rank among those of its class in the model's
order (keras/src/saving/saving_lib.py), so the file needs no names of a person's own.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from inceptory import files
from inceptory.errors import ConfigError
from inceptory.nets.catalogue import Plan
from inceptory.weights.keras_order import layer_order

Array = NDArray[np.float32]
Layers = list[tuple[str, str, list[Array]]]
"""Name, class in snake case, variables in Keras' order and shape, layer by layer."""


def write_keras(path: Path, plan: Plan, names: dict[str, str], state: dict[str, Array]) -> int:
    """Write a network in dialect keras, `names` being Keras' for our tensors; gives the number of variables.

    Raises ConfigError without h5py.
    """
    h5py = _h5py()
    layers = keras_layers(plan, names, state)
    content, ranks = io.BytesIO(), dict[str, int]()
    with h5py.File(content, "w") as file:
        for name, kind, variables in layers:
            rank = ranks[kind] = ranks.get(kind, -1) + 1
            group = file.create_group(f"layers/{kind}_{rank}" if rank else f"layers/{kind}").create_group("vars")
            # As Keras itself does: the group's number is a place in the model, the name is the layer's own.
            group.attrs["name"] = name
            for number, variable in enumerate(variables):
                group.create_dataset(str(number), data=variable)
    files.write(path, content.getvalue())
    return sum(len(variables) for _, _, variables in layers)


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
    layers = [(own[path], *_layer(path, state)) for path in layer_order(plan.tree)]
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
