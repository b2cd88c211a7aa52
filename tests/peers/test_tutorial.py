"""The recipe `tutorial` against Keras itself: the same losses and the same statistics, step by step."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from inceptory.engines.device import Device
from inceptory.learn.pictures import Targets
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.settings.recipes import document
from inceptory.learn.step import Stepper
from tests.peers.proof import FOUND

HERE = Path(__file__).parent
PYTHON = os.environ.get("INCEPTORY_KERAS_PYTHON", sys.executable)
EXACTLY = replace(document("tutorial"), penalty=float(np.float32(1e-4)), momentum=float(np.float32(0.9)))
"""Keras holds the factor of L2 and the momentum in single precision; the 2.5e-8 between both would be
magnified a hundred thousandfold in the next step by batch norms of eight pictures."""
NETWORKS = {"v1": "cifar_inception_v1", "v3_slim": "cifar_inception_v3_slim"}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name of the network, and the folder that Keras left."""
    folder = tmp_path_factory.mktemp(request.param)
    command = [PYTHON, HERE / "keras_training.py", request.param, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return NETWORKS[request.param], folder


def losses(folder: Path, name: str, recipe: Recipe) -> tuple[list[float], inceptory.Network]:
    """The loss of each of Keras' steps, taken here, and the network after them."""
    net = inceptory.load(folder / "start.h5", name=name).double().to(memory_format=torch.channels_last)
    net.head.dropout.p = 0.0
    steps = np.load(folder / "steps.npz")
    stepper, found = Stepper(net, recipe, Device("cpu")), []
    for number, (values, classes, rate) in enumerate(
        zip(steps["values"], steps["classes"], steps["rates"], strict=True)
    ):
        x = torch.from_numpy(values.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(classes)
        outcome = stepper.step(number, float(rate), [(x, Targets(labels))])
        found.append(outcome.losses / outcome.seen)
    return found, net.eval()


def test_steps_across_a_drop_of_the_rate(trained: tuple[str, Path]):
    name, folder = trained
    theirs = np.load(folder / "steps.npz")["losses"]
    mine, net = losses(folder, name, EXACTLY)
    far = np.abs(np.asarray(mine) - theirs).max()
    FOUND.append(f"{name}: losses of {len(mine)} steps in fp64 {far:.1e} (from {theirs[0]:.4f} to {theirs[-1]:.4f})")
    assert far <= 1e-4
    after = inceptory.load(folder / "end.h5", name=name)
    pairs = zip(net.state_dict().items(), after.state_dict().values(), strict=True)
    worst = {key: float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for (key, a), b in pairs}
    statistics = {key: far for key, far in worst.items() if "running" in key}
    assert statistics
    FOUND.append(f"{name}: moving statistics after them {max(statistics.values()):.1e}")
    assert max(statistics.values()) <= 1e-6, "files hold single precision"
    assert max(worst.values()) <= 1e-5


@pytest.mark.parametrize(
    "changed", [{"momentum_rule": "torch"}, {"penalty": 0.5e-4}, {"moving_variance": "unbiased"}], ids=str
)
def test_each_switch_of_the_recipe_matters(trained: tuple[str, Path], changed: dict):
    """Without it the proof above would fail."""
    name, folder = trained
    if name != "cifar_inception_v1":
        pytest.skip("the smaller network shows it")
    theirs = np.load(folder / "steps.npz")["losses"]
    mine, net = losses(folder, name, replace(EXACTLY, **changed))
    after = inceptory.load(folder / "end.h5", name=name)
    variances = [key for key in net.state_dict() if key.endswith("running_var")]
    statistics = max(float((net.state_dict()[key] / after.state_dict()[key] - 1).abs().max()) for key in variances)
    assert np.abs(np.asarray(mine) - theirs).max() > 1e-4 or statistics > 1e-6
