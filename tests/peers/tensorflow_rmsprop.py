"""Run with a Python that has TensorFlow: steps of its RMSProp along given gradients, in double precision.

    python tensorflow_rmsprop.py FOLDER

Reads steps.npz (start, gradients, rates, rho, momentum, epsilon) and writes end.npy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf


def main(folder: Path) -> None:
    given = np.load(folder / "steps.npz")
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        weight = tf.compat.v1.get_variable("w", initializer=given["start"])
        rate = tf.compat.v1.placeholder(tf.float64, [])
        gradient = tf.compat.v1.placeholder(tf.float64, given["start"].shape)
        optimizer = tf.compat.v1.train.RMSPropOptimizer(
            rate, float(given["rho"]), float(given["momentum"]), float(given["epsilon"])
        )
        step = optimizer.apply_gradients([(gradient, weight)])
        session.run(tf.compat.v1.global_variables_initializer())
        for g, lr in zip(given["gradients"], given["rates"], strict=True):
            session.run(step, {gradient: g, rate: lr})
        np.save(folder / "end.npy", session.run(weight))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
