"""Checkpoints written by TensorFlow of tf-slim's own networks: the same answers here, from either layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from tests.peers.proof import compare
from tests.peers.slim_networks import answered

pytest.importorskip("tf_slim")


@pytest.mark.parametrize(
    ("name", "ours", "size"),
    [("inception_v1", "googlenet", 224), ("inception_v2", "inception_v2", 224), ("inception_v3", "inception_v3", 299)],
)
def test_a_checkpoint_of_slim_answers_as_slim_does_without_the_background_class(name, ours, size, tmp_path: Path):
    pictures, expected, paths = answered(name, size, tmp_path)
    x = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    for layout, path in paths.items():
        net = inceptory.load(path)
        assert (net.plan.architecture, net.plan.dialect) == (ours, "slim")
        with torch.inference_mode():
            compare(f"slim {name} of {layout}", {"logits": expected[:, 1:]}, {"logits": net(x)}, 1e-5)
