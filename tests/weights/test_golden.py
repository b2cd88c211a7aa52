"""What other packages answered, recorded once (tests/golden/record.py), held here without those packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import inceptory
from inceptory.weights.convert import their_names
from inceptory.weights.identify import shapes_of
from inceptory.weights.origins.registry import ORIGINS
from tests.golden import rule

ANSWERS = Path(rule.__file__).with_name("answers.json")
NETWORKS: Mapping[str, Mapping[str, Any]] = json.loads(ANSWERS.read_text(encoding="utf-8"))["networks"]

OURS = {
    "torchvision inception_v3": "inception_v3",
    "torchvision inception_v3 with aux": "inception_v3",
    "torchvision googlenet": "googlenet",
    "torchvision googlenet with aux": "googlenet",
    "timm inception_v3": "inception_v3",
    "timm inception_v4": "inception_v4",
    "timm inception_resnet_v2": "inception_resnet_v2",
    "timm legacy_xception": "xception",
    "timm xception41": "xception41",
    "timm xception65": "xception65",
    "timm xception71": "xception71",
    "cadene bninception": "bn_inception",
    "cadene inceptionv4 1000": "inception_v4",
    "cadene inceptionv4 1001": "inception_v4",
    "cadene inceptionresnetv2 1000": "inception_resnet_v2",
    "cadene inceptionresnetv2 1001": "inception_resnet_v2",
    "cadene xception": "xception",
    "facenet 8631 faces": "inception_resnet_v1",
    "facenet embedding": "inception_resnet_v1",
    "torch-fidelity inception_v3": "inception_v3",
}
# One of every network and of every origin's peculiarity; the rest have the same graphs.
ANSWERED = (
    "torchvision inception_v3 with aux",
    "torchvision googlenet",
    "timm inception_resnet_v2",
    "timm legacy_xception",
    "timm xception41",
    "cadene bninception",
    "cadene inceptionv4 1001",
    "facenet 8631 faces",
    "facenet embedding",
    "torch-fidelity inception_v3",
)


def predicted(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes there, from our tables alone, by our classes: the background class is not ours."""
    recorded, ours = NETWORKS[name], OURS[name]
    to, classes = recorded["to"], recorded["classes"]
    dialect = next(o.dialect for o in ORIGINS if (o.name, o.architecture) == (to, ours))
    plan = inceptory.plan(ours, dialect=dialect, classes=classes, aux=name.endswith("with aux"))
    shapes = shapes_of(plan)
    return {theirs: shapes[mine] for mine, theirs in their_names(plan, to, name).items()}


def test_every_recorded_network_is_held():
    assert set(OURS) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_our_tables_predict_every_name_and_shape_of_theirs(name):
    found = predicted(name)
    assert len(found) == NETWORKS[name]["tensors"]
    assert rule.digest(found) == NETWORKS[name]["digest"]


@pytest.mark.filterwarnings("ignore:.*have the same names and graph")
@pytest.mark.parametrize("name", ANSWERED)
def test_a_file_of_theirs_gives_the_answer_that_they_recorded(name, tmp_path):
    recorded = NETWORKS[name]
    path = tmp_path / "weights.safetensors"
    save_file({theirs: rule.tensor(theirs, shape) for theirs, shape in predicted(name).items()}, path)
    net = inceptory.load(path)
    path.unlink()
    with torch.inference_mode():
        found = net(torch.from_numpy(rule.picture(recorded["size"])))[0].numpy()
    assert abs(found).max() == pytest.approx(recorded["largest"], rel=1e-5)
    first = np.asarray(recorded["first"])
    assert abs(found[: len(first)] - first).max() <= 1e-5 * recorded["largest"]
