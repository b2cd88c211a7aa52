"""Run with a Python that has Keras: one of its networks as files of every kind, and its answers.

    python keras_models.py NAME HEAD FOLDER        # write files and answers.npz
    python keras_models.py NAME HEAD FOLDER back   # whether Keras takes the files that were written back

HEAD is top (the published classifier), notop (none), own (a Dense layer of one's own behind the
network's layers), nested (the same in a Sequential, the network being one layer of it) or deep (two
Dense layers with Dropout, in a functional model around the network). Keras and PyTorch do not share a
process well, so the proof runs this as a child.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
NATIVE, ODD = 299, 225
OWN_CLASSES = 7
WEIGHTS = "model.weights.h5"


def inner(model: Any, name: str) -> Any:
    """The map in the middle that the proof compares."""
    if name == "Xception":
        return model.get_layer("block13_sepconv1_act").input
    return model.get_layer({"InceptionV3": "mixed7", "InceptionResNetV2": "block17_20_ac"}[name]).output


def build(name: str, head: str) -> tuple[Any, Any]:
    """A model, and the network in it."""
    import keras

    layers, make = keras.layers, getattr(keras.applications, name)
    if head == "top":
        model = make(weights=None, classifier_activation=None)
        return model, model
    base = make(weights=None, include_top=False, input_shape=(None, None, 3))
    pool = layers.GlobalAveragePooling2D(name="avg_pool")
    if head == "notop":
        return base, base
    if head == "own":
        return keras.Model(base.inputs, layers.Dense(OWN_CLASSES, name="flowers")(pool(base.output))), base
    if head == "nested":
        parts = [keras.Input((None, None, 3)), base, pool, layers.Dropout(0.5), layers.Dense(OWN_CLASSES)]
        return keras.Sequential(parts), base
    inputs = keras.Input((None, None, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.Dropout(0.5)(layers.Dense(64, activation="relu")(pool(base(x))))
    return keras.Model(inputs, layers.Dense(OWN_CLASSES, activation="softmax")(x)), base


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
    values = [value(rng, variable.name, variable.shape) for variable in model.weights]
    model.set_weights([array.astype(np.float32) for array in values])


def save(model: Any, folder: Path) -> None:
    """Every kind of file, and those of Keras 3 as they were before it noted the layers' names."""
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.save_weights(folder / WEIGHTS)
    shutil.copy(folder / WEIGHTS, folder / f"nameless.{WEIGHTS}")
    forget_names(folder / f"nameless.{WEIGHTS}")
    with zipfile.ZipFile(folder / "model.keras") as old, zipfile.ZipFile(folder / "nameless.keras", "w") as new:
        for entry in old.namelist():
            content = io.BytesIO(old.read(entry))
            if entry == WEIGHTS:
                forget_names(content)
            new.writestr(entry, content.getvalue())


def forget_names(place: Any) -> None:
    """Take out of a file of weights what Keras notes of its layers' names."""
    import h5py

    with h5py.File(place, "a") as file:
        file.visititems(lambda _, part: part.attrs.pop("name", None) and None)


def answers(model: Any, base: Any, name: str, head: str, size: int, dtype: str) -> dict[str, np.ndarray]:
    """The pictures and every answer, maps with the channels first."""
    import keras

    x = ((np.random.default_rng(size).integers(0, 256, (2, size, size, 3)) - 128) / 128).astype(dtype)
    last = model.get_layer("avg_pool").output if head == "top" else base.output
    inside = keras.Model(base.inputs, {"map": inner(base, name), "last": last})
    found = {key: np.asarray(a) for key, a in inside(x, training=False).items()}
    embedding = found["last"] if head == "top" else found["last"].mean((1, 2))
    told = {"x": x.transpose(0, 3, 1, 2), "map": found["map"].transpose(0, 3, 1, 2), "embedding": embedding}
    # A head of several layers is not ours to answer for.
    return told if head in ("notop", "deep") else {**told, "logits": np.asarray(model(x, training=False))}


def check_back(make: Callable[[], Any], folder: Path) -> None:
    """Write back.json: by kind, whether every variable came back bit for bit, and how far the answers are."""
    before = make()
    before.load_weights(folder / WEIGHTS)
    size = before.input_shape[1] or ODD
    x = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    expected = np.asarray(before(x, training=False))
    told = {}
    for kind in ("weights.h5", "h5"):
        after = make()
        after.load_weights(folder / f"back.{kind}")
        pairs = zip(before.get_weights(), after.get_weights(), strict=True)
        apart = abs(np.asarray(after(x, training=False)) - expected).max() / abs(expected).max()
        told[kind] = {"equal": all(np.array_equal(a, b) for a, b in pairs), "apart": float(apart)}
    (folder / "back.json").write_text(json.dumps(told), encoding="utf-8")


def main(name: str, head: str, folder: Path, *back: str) -> None:
    import keras

    if back:
        check_back(lambda: build(name, head)[0], folder)
        return
    model, base = build(name, head)
    randomise(model)
    save(model, folder)
    # A network with the published classifier takes pictures of its native size only.
    sizes = (NATIVE,) if head == "top" else (ODD,) if head in ("nested", "deep") else (NATIVE, ODD)
    recorded = {
        f"{size}/{key}": a for size in sizes for key, a in answers(model, base, name, head, size, "float32").items()
    }
    if head in ("top", "own"):
        keras.config.set_dtype_policy("float64")
        wide, inside = build(name, head)
        wide.set_weights(model.get_weights())
        size = sizes[-1]
        wider = answers(wide, inside, name, head, size, "float64")
        recorded |= {f"{size} in fp64/{key}": a for key, a in wider.items()}
    np.savez(folder / "answers.npz", parameters=model.count_params(), **recorded)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
