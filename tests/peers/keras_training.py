"""Run with a Python that has Keras: twenty steps of the tutorial's training, in double precision.

    python keras_training.py NAME FOLDER

Writes start.h5 and end.h5 (weights before and after), and steps.npz with the batches and the loss of
every step, penalty included, as Keras reports it. The rate falls to a tenth in the middle.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import keras_cifar
import keras_models

STEPS, BATCH = 20, 8
RATES = [0.01] * (STEPS // 2) + [0.001] * (STEPS // 2)


def batches() -> tuple[np.ndarray, np.ndarray]:
    """Values and classes of every batch; each class has a colour, so that there is something to learn."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, keras_cifar.CLASSES, (STEPS, BATCH))
    colours = rng.normal(size=(keras_cifar.CLASSES, 3))
    return colours[classes][:, :, None, None, :] + rng.normal(size=(STEPS, BATCH, 32, 32, 3)), classes


def single(network: Any) -> None:
    """Make every weight a number of single precision, which files of either side hold exactly."""
    network.set_weights([w.astype(np.float32).astype(np.float64) for w in network.get_weights()])


def main(name: str, folder: Path) -> None:
    keras.config.set_floatx("float64")
    network = keras_cifar.build(name, l2=True, dropout=0.0)
    keras_models.randomise(network)
    single(network)
    network.save(folder / "start.h5")
    network.compile(
        keras.optimizers.SGD(RATES[0], momentum=0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy()
    )
    values, classes = batches()
    losses = []
    for x, labels, rate in zip(values, classes, RATES, strict=True):
        network.optimizer.learning_rate.assign(rate)
        network.reset_metrics()
        losses.append(float(network.train_on_batch(x, labels)))
    network.save(folder / "end.h5")
    np.savez(folder / "steps.npz", values=values, classes=classes, losses=losses, rates=RATES)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
