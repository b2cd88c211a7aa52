"""Run with a Python that has Keras: steps of the Xception tutorial's fine-tuning, in double precision.

    python keras_finetuning.py FOLDER DECAY

Xception without its top, pooled, under a new Dense layer; every layer learns. Writes start.h5 and end.h5 (weights
before and after), and steps.npz with the batches, the loss and the rate of every step. The
tutorial's SGD(lr=1e-3, decay=1e-6,
momentum=0.9, nesterov=True) of Keras 2 is InverseTimeDecay in Keras 3, which has no `decay`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import keras_models
from keras_training import single

BATCH, CLASSES, SIZE, STEPS = 16, 2, 75, 10
"""The tutorial's batch; pictures of 75 pixels, as 299 would take minutes."""


def batches() -> tuple[np.ndarray, np.ndarray]:
    """Values from -1 to 1 and classes of every batch; each class has a colour, so that there is something to learn."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, CLASSES, (STEPS, BATCH))
    colours = rng.uniform(-0.5, 0.5, (CLASSES, 3))
    noise = rng.uniform(-0.5, 0.5, (STEPS, BATCH, SIZE, SIZE, 3))
    return colours[classes][:, :, None, None, :] + noise, classes


def main(folder: Path, decay: float) -> None:
    keras.config.set_floatx("float64")
    base = keras.applications.Xception(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg")
    network = keras.Model(base.inputs, keras.layers.Dense(CLASSES, activation="softmax")(base.output))
    keras_models.randomise(network)
    single(network)
    network.save(folder / "start.h5")
    rate = keras.optimizers.schedules.InverseTimeDecay(1e-3, 1, decay)
    network.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy()
    )
    values, classes = batches()
    losses, rates = [], []
    for x, labels in zip(values, classes, strict=True):
        rates.append(float(network.optimizer.learning_rate))
        network.reset_metrics()
        losses.append(float(network.train_on_batch(x, labels)))
    network.save(folder / "end.h5")
    np.savez(folder / "steps.npz", values=values, classes=classes, losses=losses, rates=rates)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
