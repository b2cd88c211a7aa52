"""The six Inception networks of a tutorial on CIFAR-10, written in Keras 3 from their description.

    python keras_cifar.py NAME FOLDER        # its files, and its answers in fp32 and fp64
    python keras_cifar.py NAME FOLDER back   # whether it takes the files that were written back

Nothing here is shared with the package. `build(name, l2=True, dropout=0.2)` gives the network with the
recipe's regularisers and a softmax, not compiled: an L2 penalty of 1e-4 on every kernel, and on the
biases within modules. Two of them are not told completely by their description: v1 and v2 have the
strides and pools of their ImageNet networks, with same padding.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
from keras import layers

NAMES = ("v1", "v2", "v3", "v3_slim", "v3_slim_352", "v3_stem_slim")
CLASSES = 10
PENALTY = 1e-4


class Maker:
    """Layers as the recipe has them; a norm's settings are those of the network."""

    def __init__(self, penalty: float, eps: float, momentum: float) -> None:
        self.penalty, self.eps, self.momentum = penalty, eps, momentum

    def l2(self) -> Any:
        return keras.regularizers.L2(self.penalty) if self.penalty else None

    def plain(
        self, x: Any, filters: int, kernel: Any, stride: int = 1, *, bias: str = "free", relu: bool = False
    ) -> Any:
        """A convolution alone; its bias is "free" of penalty (stem), "kept" small (modules) or "none"."""
        return layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            activation="relu" if relu else None,
            use_bias=bias != "none",
            kernel_initializer="he_normal",
            kernel_regularizer=self.l2(),
            bias_regularizer=self.l2() if bias == "kept" else None,
        )(x)

    def norm(self, x: Any) -> Any:
        return layers.BatchNormalization(epsilon=self.eps, momentum=self.momentum)(x)

    def conv(self, x: Any, filters: int, kernel: Any, stride: int = 1, *, bias: str = "kept") -> Any:
        """Convolution, norm, ReLU."""
        return layers.Activation("relu")(self.norm(self.plain(x, filters, kernel, stride, bias=bias)))

    def row(self, x: Any, *steps: tuple[int, Any]) -> Any:
        """Convolutions one after another; factorised kernels have no bias."""
        for filters, kernel in steps:
            x = self.conv(x, filters, kernel, bias="none" if isinstance(kernel, tuple) else "kept")
        return x

    def dense(self, x: Any, activation: str | None) -> Any:
        return layers.Dense(
            CLASSES, activation=activation, kernel_initializer="he_normal", kernel_regularizer=self.l2()
        )(x)


def maximum(x: Any, stride: int = 2) -> Any:
    return layers.MaxPooling2D(3, strides=stride, padding="same")(x)


def average(x: Any) -> Any:
    return layers.AveragePooling2D(3, strides=1, padding="same")(x)


def join(name: str | None, *branches: Any) -> Any:
    return layers.Concatenate(name=name)(list(branches))


# --- v3 and its three variants -------------------------------------------------------------------


def module1(m: Maker, x: Any, pool: int) -> Any:
    first = m.row(x, (64, 1))
    second = m.row(x, (48, 1), (64, 3))
    third = m.row(x, (64, 1), (96, 3), (96, 3))
    return join(None, first, second, third, m.row(average(x), (pool, 1)))


def reduce1(m: Maker, x: Any) -> Any:
    first = m.conv(x, 384, 3, 2)
    second = m.conv(m.row(x, (64, 1), (96, 3)), 96, 3, 2)
    return join(None, first, second, maximum(x))


def module2(m: Maker, x: Any, c: int, name: str) -> Any:
    first = m.row(x, (192, 1))
    second = m.row(x, (c, 1), (c, (1, 7)), (192, (7, 1)))
    third = m.row(x, (c, 1), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7)))
    return join(name, first, second, third, m.row(average(x), (192, 1)))


def reduce2(m: Maker, x: Any) -> Any:
    first = m.conv(m.row(x, (192, 1)), 320, 3, 2)
    second = m.conv(m.row(x, (192, 1), (192, (1, 7)), (192, (7, 1))), 192, 3, 2)
    return join(None, first, second, maximum(x))


def module3(m: Maker, x: Any) -> Any:
    first = m.row(x, (320, 1))
    second = m.row(x, (384, 1))
    wide, high = m.row(second, (384, (1, 3))), m.row(second, (384, (3, 1)))
    third = m.row(x, (448, 1), (384, 3))
    wide2, high2 = m.row(third, (384, (1, 3))), m.row(third, (384, (3, 1)))
    return join(None, first, wide, high, wide2, high2, m.row(average(x), (192, 1)))


def full_stem(m: Maker, x: Any, stride: int) -> Any:
    x = m.conv(x, 32, 3, stride, bias="free")
    x = m.conv(m.conv(x, 32, 3, bias="free"), 64, 3, bias="free")
    x = maximum(x, stride)
    x = m.conv(m.conv(x, 80, 1, bias="free"), 192, 3, bias="free")
    return maximum(x, stride)


def v3(name: str, x: Any, m: Maker) -> Any:
    pools, sevens = (32, 64, 64), (128, 160, 160, 160, 192)
    if name == "v3_slim_352":
        pools, sevens = (64,) * 3, (128,) * 5
    if name in ("v3_slim", "v3_slim_352"):
        x = m.plain(x, 192, 3)  # neither norm nor activation, as the tutorial has it
    else:
        x = full_stem(m, x, 1 if name == "v3_stem_slim" else 2)
    for pool in pools:
        x = module1(m, x, pool)
    x = reduce1(m, x)
    for i, c in enumerate(sevens):
        x = module2(m, x, c, f"module2_{i}")
    return module3(m, module3(m, reduce2(m, x)))


# --- v1: GoogLeNet with biases, no norms within modules ------------------------------------------

GOOGLENET = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    "max",
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    "max",
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
"""#1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj: table 1 of arXiv 1409.4842."""


def v1(x: Any, m: Maker) -> Any:
    def conv(x: Any, filters: int, kernel: int, stride: int = 1, bias: str = "kept") -> Any:
        return m.plain(x, filters, kernel, stride, bias=bias, relu=True)

    x = m.norm(maximum(conv(x, 64, 7, 2, "free")))
    x = maximum(m.norm(conv(conv(x, 64, 1, 1, "free"), 192, 3, 1, "free")))
    for i, widths in enumerate(GOOGLENET):
        if widths == "max":
            x = maximum(x)
            continue
        a, b, c, d, e, f = widths
        first, second, third = conv(x, a, 1), conv(conv(x, b, 1), c, 3), conv(conv(x, d, 1), e, 5)
        x = join(f"inception_{i}", first, second, third, conv(maximum(x, 1), f, 1))
    return x


# --- v2: BN-Inception with slim's projections, biases and norms everywhere -----------------------

BN_INCEPTION = (
    (64, 64, 64, 64, 96, "avg", 32),
    (64, 64, 96, 64, 96, "avg", 64),
    (0, 128, 160, 64, 96, "through", 0),
    (224, 64, 96, 96, 128, "avg", 128),
    (192, 96, 128, 96, 128, "avg", 128),
    (160, 128, 160, 128, 160, "avg", 96),
    (96, 128, 192, 160, 192, "avg", 96),
    (0, 128, 192, 192, 256, "through", 0),
    (352, 192, 320, 160, 224, "avg", 128),
    (352, 192, 320, 192, 224, "max", 128),
)
"""#1x1, #3x3 reduce, #3x3, #double reduce, #double, pool, projection: table of arXiv 1502.03167, tf-slim's 4c, 4d."""


def v2(x: Any, m: Maker) -> Any:
    x = maximum(m.conv(x, 64, 7, 2, bias="free"))
    x = maximum(m.conv(m.conv(x, 64, 1, bias="free"), 192, 3, bias="free"))
    for i, (a, b, c, d, e, pool, f) in enumerate(BN_INCEPTION):
        stride = 2 if pool == "through" else 1
        first = [m.row(x, (a, 1))] if a else []
        second = m.conv(m.row(x, (b, 1)), c, 3, stride)
        third = m.conv(m.row(x, (d, 1), (e, 3)), e, 3, stride)
        pooled = average(x) if pool == "avg" else maximum(x, stride)
        x = join(f"inception_{i}", *first, second, third, m.row(pooled, (f, 1)) if f else pooled)
    return x


INNER = {"v1": "inception_7", "v2": "inception_6"}
"""A map in the middle that the proof compares; of the others module2_4."""


def build(name: str, *, l2: bool = False, dropout: float | None = None, softmax: bool = True) -> Any:
    """One of NAMES for 32x32 pictures and 10 classes; `dropout` None is the network's own (v1 0.4, else 0.2)."""
    x = inputs = keras.Input((32, 32, 3))
    m = Maker(PENALTY if l2 else 0.0, *((1e-3, 0.99) if name == "v1" else (1e-5, 0.9)))
    x = v1(x, m) if name == "v1" else v2(x, m) if name == "v2" else v3(name, x, m)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    x = layers.Dropout((0.4 if name == "v1" else 0.2) if dropout is None else dropout)(x)
    if name == "v1":
        x = m.dense(x, None)
    return keras.Model(inputs, m.dense(x, "softmax" if softmax else None))


def answers(name: str, network: Any, dtype: str) -> dict[str, np.ndarray]:
    """Embedding, inner map and logits on two pictures, maps with the channels first."""
    x = ((np.random.default_rng(32).integers(0, 256, (2, 32, 32, 3)) - 128) / 128).astype(dtype)
    outputs = {
        "embedding": network.get_layer("embedding").output,
        "map": network.get_layer(INNER.get(name, "module2_4")).output,
        "logits": network.output,
    }
    found = {key: np.asarray(a) for key, a in keras.Model(network.inputs, outputs)(x, training=False).items()}
    return {"x": x.transpose(0, 3, 1, 2), **found, "map": found["map"].transpose(0, 3, 1, 2)}


def penalties(network: Any) -> list[int]:
    """How many kernels and how many biases are under the L2 penalty."""
    return [
        sum(getattr(layer, f"{part}_regularizer", None) is not None for layer in network.layers)
        for part in ("kernel", "bias")
    ]


def main(name: str, folder: Path, *back: str) -> None:
    import keras_models

    if back:
        keras_models.check_back(lambda: build(name, softmax=False), folder)
        return
    network = build(name, l2=True, softmax=False)
    keras_models.randomise(network)
    keras_models.save(network, folder)
    recorded = {f"32/{key}": a for key, a in answers(name, network, "float32").items()}
    keras.config.set_dtype_policy("float64")
    wide = build(name, l2=True, softmax=False)
    wide.set_weights(network.get_weights())
    recorded |= {f"32 in fp64/{key}": a for key, a in answers(name, wide, "float64").items()}
    np.savez(folder / "answers.npz", parameters=network.count_params(), penalties=penalties(network), **recorded)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
