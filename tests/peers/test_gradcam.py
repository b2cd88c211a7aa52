"""Grad-CAM is that of the package grad-cam, on the same network and picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import Device
from inceptory.engines.explain.attribution import attribute
from inceptory.engines.explain.branches import joint_of
from inceptory.engines.torch import TorchEngine
from tests.peers.proof import FOUND

grad_cam = pytest.importorskip("pytorch_grad_cam")

STAGES = {
    "inception_v3": ("Mixed_5d", "Mixed_6e", "Mixed_7c"),
    "xception": ("block4", "block13", "block14_sepconv2"),
    "inception_resnet_v2": ("Mixed_6a", "block17_20", "Conv2d_7b_1x1"),
}


def random(name: str) -> inceptory.Network:
    """A network whose weights are random, and whose every norm matters."""
    torch.manual_seed(0)
    net = inceptory.create(name, classes=10, image=139).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
            torch.nn.init.normal_(part.bias, std=0.1)
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.normal_(part.weight, std=0.5)
    return net


@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name, stages in STAGES.items() for stage in stages])
def test_heat_maps_are_those_of_the_package(name: str, stage: str):
    net = random(name)
    preprocess = Preprocess(size=139, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 139, 139), dtype=np.uint8)
    found = attribute(TorchEngine(net, preprocess, Device("cpu")), pixels, stage, joint_of(net.plan), 3)
    net.requires_grad_(True)
    values = torch.from_numpy(preprocess.values(pixels.transpose(0, 2, 3, 1)))
    correlations = []
    with grad_cam.GradCAM(model=net, target_layers=[net.get_submodule(stage)]) as theirs:
        for rank in range(3):
            labels = [grad_cam.utils.model_targets.ClassifierOutputTarget(int(label)) for label in found.best[:, rank]]
            for ours, map_ in zip(found.heat[:, rank], theirs(input_tensor=values, targets=labels), strict=True):
                assert map_.shape == ours.shape
                # Where nothing is above zero they have an empty map, too.
                assert (ours.max() > 0) == (map_.max() > 0)
                if ours.max() > 0:
                    correlations.append(np.corrcoef(ours.ravel(), map_.ravel())[0, 1])
    assert correlations, "some label has something that speaks for it"
    FOUND.append(f"{f'Grad-CAM of {name} {stage}':55}least correlation {min(correlations):.6f}, n {len(correlations)}")
    assert min(correlations) >= 0.99
