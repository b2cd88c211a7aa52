"""A file in the layout of 2016, as Keras 2 published its networks, written through h5py alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py

from tests.golden.rule import keras_tensor


def write(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Weights of the rule under "conv2d_3/kernel" and the like; layers are listed by the alphabet."""
    layers: dict[str, list[str]] = {}
    for name in shapes:
        layers.setdefault(name.rsplit("/", 1)[0], []).append(name)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in sorted(layers)]
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{name}:0".encode() for name in names]
            for name in names:
                group.create_dataset(f"{name}:0", data=keras_tensor(name, shapes[name]))
