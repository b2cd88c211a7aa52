"""The recipe `tutorial-finetune` against Keras itself: the same losses, weights and statistics, step by step."""

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
from inceptory.learn.settings.recipes import document
from inceptory.learn.step import Stepper
from inceptory.learn.update.schedule import rate
from tests.peers.proof import FOUND

HERE = Path(__file__).parent
PYTHON = os.environ.get("INCEPTORY_KERAS_PYTHON", sys.executable)
RECIPE = replace(document("tutorial-finetune"), momentum=float(np.float32(0.9)))
"""Keras holds the momentum in single precision, and the rate: steps are taken at the rates that it had."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that Keras left. A decay of a hundredth, as a millionth a step could not be told from none."""
    folder = tmp_path_factory.mktemp("xception")
    command = [PYTHON, HERE / "keras_finetuning.py", folder, "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def losses(folder: Path) -> tuple[np.ndarray, inceptory.Network]:
    """The loss of each of Keras' steps, taken here, and the network after them."""
    net = inceptory.load(folder / "start.h5").double().to(memory_format=torch.channels_last)
    steps, stepper, found = np.load(folder / "steps.npz"), Stepper(net, RECIPE, Device("cpu")), []
    every = zip(steps["values"], steps["classes"], steps["rates"], strict=True)
    for number, (values, classes, lr) in enumerate(every):
        x = torch.from_numpy(values.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
        outcome = stepper.step(number, float(lr), [(x, Targets(torch.from_numpy(classes)))])
        found.append(outcome.losses / outcome.seen)
    return np.asarray(found), net.eval()


def test_the_rate_of_every_step(trained: Path):
    theirs = np.load(trained / "steps.npz")["rates"]
    asked = replace(RECIPE, decay=0.01)
    assert [rate(asked, step, 10, 5) for step in range(10)] == pytest.approx(list(theirs), rel=2e-7)
    assert RECIPE.decay == 1e-6, "the tutorial's own"


def test_ten_steps_of_all_layers(trained: Path):
    theirs = np.load(trained / "steps.npz")["losses"]
    mine, net = losses(trained)
    apart = np.abs(mine - theirs).max()
    FOUND.append(
        f"tutorial-finetune: losses of 10 steps in fp64 {apart:.1e} (from {theirs[0]:.4f} to {theirs[-1]:.4f})"
    )
    after = inceptory.load(trained / "end.h5")
    pairs = zip(net.state_dict().items(), after.state_dict().values(), strict=True)
    worst = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for (_, a), b in pairs)
    FOUND.append(f"tutorial-finetune: weights and statistics after them {worst:.1e}")
    assert len(theirs) == 10
    assert apart <= 1e-6
    assert worst <= 1e-5, "files hold single precision"
