"""Run with a Python that has Keras: one of its networks as files of three kinds, and its answers.

    python keras_models.py NAME HEAD FOLDER

HEAD is top (the published classifier), notop (none) or own (a Dense layer of one's own). Keras and
PyTorch do not share a process well, so the proof runs this as a child and reads answers.npz.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
NATIVE, ODD = 299, 225
OWN_CLASSES = 7


def inner(model: Any, name: str) -> Any:
    """The map in the middle that the proof compares."""
    if name == "Xception":
        return model.get_layer("block13_sepconv1_act").input
    return model.get_layer({"InceptionV3": "mixed7", "InceptionResNetV2": "block17_20_ac"}[name]).output


def build(name: str, head: str) -> Any:
    import keras

    make = getattr(keras.applications, name)
    if head == "top":
        return make(weights=None, classifier_activation=None)
    base = make(weights=None, include_top=False, input_shape=(None, None, 3))
    if head == "notop":
        return base
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(base.output)
    return keras.Model(base.inputs, keras.layers.Dense(OWN_CLASSES, name="flowers")(pooled))


def value(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """He-normal kernels; every statistic of a norm matters."""
    if "variance" in name or "gamma" in name:
        return rng.uniform(0.8, 1.2, shape)
    if len(shape) == 1:
        return rng.normal(0, 0.1, shape)
    inputs = shape[:2] if "depthwise" in name else shape[:-1]
    return rng.normal(0, np.sqrt(2 / np.prod(inputs)), shape)


def randomise(model: Any) -> None:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([value(rng, w.name, w.shape).astype(np.float32) for w in layer.weights])


def answers(model: Any, name: str, head: str, size: int) -> dict[str, np.ndarray]:
    """The pictures and every answer, maps with the channels first."""
    import keras

    x = ((np.random.default_rng(size).integers(0, 256, (2, size, size, 3)) - 128) / 128).astype(np.float32)
    outputs = {"map": inner(model, name)}
    if head == "notop":
        outputs["last"] = model.output
    else:
        outputs |= {"embedding": model.get_layer("avg_pool").output, "logits": model.output}
    found = {key: np.asarray(a) for key, a in keras.Model(model.inputs, outputs)(x, training=False).items()}
    if head == "notop":
        found["embedding"] = found.pop("last").mean((1, 2))
    return {"x": x.transpose(0, 3, 1, 2), **found, "map": found["map"].transpose(0, 3, 1, 2)}


def main(name: str, head: str, folder: Path) -> None:
    model = build(name, head)
    randomise(model)
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / "model.weights.h5")
    # A network with the published classifier takes pictures of its native size only.
    sizes = (NATIVE,) if head == "top" else (NATIVE, ODD)
    recorded = {f"{size}/{key}": a for size in sizes for key, a in answers(model, name, head, size).items()}
    np.savez(folder / "answers.npz", **recorded)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
