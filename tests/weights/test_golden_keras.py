"""What Keras answered, recorded once (tests/golden/record_keras.py), held here without Keras."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inceptory
from inceptory.weights.convert import their_names
from inceptory.weights.identify import shapes_of
from tests.golden import keras_file, rule

ANSWERS = Path(rule.__file__).with_name("keras_answers.json")
NETWORKS: Mapping[str, Mapping[str, Any]] = json.loads(ANSWERS.read_text(encoding="utf-8"))["networks"]
# One of every graph; the rest differ in widths only.
ANSWERED = (
    "inception_v3",
    "inception_resnet_v2",
    "xception",
    "cifar_inception_v1",
    "cifar_inception_v2",
    "cifar_inception_v3",
    "cifar_inception_v3_slim",
    "cifar_inception_v3_stem_slim",
)
ROLES = {"running_mean": "moving_mean", "running_var": "moving_variance"}


def predicted(name: str) -> dict[str, tuple[int, ...]]:
    """Keras' names and shapes, from our tables alone."""
    plan = inceptory.plan(name, dialect="keras", classes=NETWORKS[name]["classes"])
    shapes = shapes_of(plan)
    names = their_names(plan, "keras", name)
    if name.startswith("cifar"):
        # A single dense layer is the head, whatever it is called; the tutorial gives it no name.
        names = {ours: theirs.replace("predictions", "dense") for ours, theirs in names.items()}
    return dict(_keras(theirs, shapes[ours]) for ours, theirs in names.items())


def _keras(theirs: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """("conv2d_3/kernel", (3, 3, 32, 64)) of ("conv2d#3.weight", (64, 32, 3, 3))."""
    layer, role = theirs.replace("#0", "").replace("#", "_").split(".")
    if role in ("depthwise", "pointwise"):
        return f"{layer}/{role}_kernel", (*shape[2:], *((shape[0], 1) if role == "depthwise" else shape[1::-1]))
    if len(shape) > 1:
        return f"{layer}/kernel", (*shape[2:], shape[1], shape[0])
    norm = {"weight": "gamma", "bias": "beta"} if "batch_normalization" in layer or layer.endswith("_bn") else {}
    return f"{layer}/{norm.get(role, ROLES.get(role, role))}", shape


@pytest.mark.parametrize("name", NETWORKS)
def test_our_tables_predict_every_name_and_shape_of_keras(name):
    found = predicted(name)
    assert len(found) == NETWORKS[name]["tensors"]
    assert rule.digest(found) == NETWORKS[name]["digest"]


@pytest.mark.filterwarnings("ignore:.*have the same names and graph")
@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.slow
def test_a_file_in_their_layout_gives_the_answer_that_keras_gave(name, tmp_path):
    recorded = NETWORKS[name]
    path = tmp_path / "weights.h5"
    keras_file.write(path, predicted(name))
    net = inceptory.load(path, name=name)
    path.unlink()
    with torch.inference_mode():
        found = net(torch.from_numpy(rule.picture(recorded["size"])))[0].numpy()
    assert abs(found).max() == pytest.approx(recorded["largest"], rel=1e-5)
    first = np.asarray(recorded["first"])
    assert abs(found[: len(first)] - first).max() <= 1e-5 * recorded["largest"]
