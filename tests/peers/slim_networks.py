"""tf-slim's own networks with random variables, their answers, and the checkpoints that TensorFlow writes of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

SHIMS = ("", ".base", ".convolutional", ".core", ".normalization", ".pooling", ".variable_scope_shim")


def modules() -> tuple[Any, Any, Any]:
    """(TensorFlow 1, tf_slim, its inception networks); its layers look for Keras 2 where it no longer is."""
    for name in SHIMS:
        there = importlib.import_module(f"tf_keras.src.legacy_tf_layers{name}")
        sys.modules.setdefault(f"tf_keras.legacy_tf_layers{name}", there)
    tf = importlib.import_module("tensorflow").compat.v1
    return tf, importlib.import_module("tf_slim"), importlib.import_module("tf_slim.nets.inception")


def answered(name: str, size: int, folder: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Path]]:
    """(pictures NHWC, logits, a checkpoint for each of the layouts) of a network with 1001 classes."""
    tf, slim, nets = modules()
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        given = tf.placeholder(tf.float32, [None, size, size, 3])
        with slim.arg_scope(getattr(nets, f"{name}_arg_scope")()):
            logits, _ = getattr(nets, name)(given, num_classes=1001, is_training=False)
        for variable in tf.global_variables():
            variable.load(_value(random, variable.name, variable.shape.as_list()), session)
        pictures = random.normal(0, 1, (2, size, size, 3)).astype(np.float32)
        found = session.run(logits, {given: pictures})
        paths = {}
        for layout, version in (("2016", tf.train.SaverDef.V1), ("index", tf.train.SaverDef.V2)):
            paths[layout] = folder / f"{layout}.ckpt"
            tf.train.Saver(write_version=version).save(session, str(paths[layout]), write_meta_graph=False)
    return pictures, found, paths


def _value(random: np.random.Generator, name: str, shape: list[int]) -> np.ndarray:
    if "variance" in name:
        value = random.uniform(0.8, 1.2, shape)
    else:
        value = random.normal(0, (2 / np.prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.1, shape)
    return value.astype(np.float32)
