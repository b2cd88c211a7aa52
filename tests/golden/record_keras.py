"""Record what Keras answers, for the proof that needs it no more.

    python -m tests.golden.record_keras

Run by hand from the root of the repository with a Python that has Keras; writes keras_answers.json
beside this file. Run it again only when Keras changes its answers, and read the difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.golden.rule import digest, keras_tensor, picture
from tests.peers import keras_cifar

PLACE = Path(__file__).with_name("keras_answers.json")
SHOWN = 8
LEAST = 96
"""A small size that every published network runs."""


def published(name: str) -> Callable[[], Any]:
    make = getattr(keras.applications, name)
    return lambda: make(weights=None, input_shape=(LEAST, LEAST, 3), classifier_activation=None)


def cifar(name: str) -> Callable[[], Any]:
    return lambda: keras_cifar.build(name, softmax=False)


NETWORKS = {
    "inception_v3": published("InceptionV3"),
    "inception_resnet_v2": published("InceptionResNetV2"),
    "xception": published("Xception"),
    **{f"cifar_inception_{name}": cifar(name) for name in keras_cifar.NAMES},
}


def record(make: Callable[[], Any]) -> dict[str, Any]:
    """Names, shapes and answers of one network under the weights of the rule."""
    # Names count from the first layer of the process.
    keras.backend.clear_session()
    model = make()
    named = {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.weights}
    for name, variable in named.items():
        variable.assign(keras_tensor(name, tuple(variable.shape)))
    size = model.input_shape[1]
    logits = np.asarray(model(picture(size).transpose(0, 2, 3, 1), training=False))[0]
    return {
        "classes": len(logits),
        "size": size,
        "tensors": len(named),
        "digest": digest({name: tuple(variable.shape) for name, variable in named.items()}),
        "largest": float(f"{abs(logits).max():.6e}"),
        "first": [float(f"{value:.6e}") for value in logits[:SHOWN]],
    }


def main() -> None:
    networks = {name: record(make) for name, make in NETWORKS.items()}
    content = {"versions": {"keras": keras.__version__, "backend": keras.backend.backend()}, "networks": networks}
    PLACE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
