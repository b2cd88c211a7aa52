"""RMSProp against TensorFlow itself: the same weights after steps across changes of the rate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.update.optim import Optimizer
from tests.peers.proof import FOUND

HERE = Path(__file__).parent
PYTHON = os.environ.get("INCEPTORY_KERAS_PYTHON", sys.executable)
RATES = [0.045] * 10 + [0.045 * 0.94] * 10 + [0.001] * 5


def walked(folder: Path, rho: float, momentum: float, epsilon: float, **changed: str) -> np.ndarray:
    """One kernel of a network after random steps of ours; the folder is left as TensorFlow's side wants it."""
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v1", width=0.25, classes=3).double()
    # TensorFlow holds its settings in single precision, whatever the weights are in.
    rho, momentum, epsilon = (float(np.float32(number)) for number in (rho, momentum, epsilon))
    known = {"momentum": momentum, "rms_decay": rho, "epsilon": epsilon, "weight_decay": 0.0, **changed}
    optimizer = Optimizer(net, Recipe(optimizer="rmsprop", **known))
    kernel, gradients = optimizer.parameters[0], []
    start = kernel.detach().numpy().copy()
    for rate in RATES:
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        gradients.append(kernel.grad.numpy().copy())
        optimizer.step(rate)
    np.savez(
        folder / "steps.npz",
        start=start,
        gradients=np.stack(gradients),
        rates=np.asarray(RATES),
        rho=rho,
        momentum=momentum,
        epsilon=epsilon,
    )
    return kernel.detach().numpy()


def theirs(folder: Path) -> np.ndarray:
    command = [PYTHON, HERE / "tensorflow_rmsprop.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "end.npy")


@pytest.mark.parametrize(("rho", "momentum", "epsilon"), [(0.9, 0.9, 1.0), (0.5, 0.0, 1e-3)])
def test_steps_are_tensorflows(rho: float, momentum: float, epsilon: float, tmp_path: Path):
    mine = walked(tmp_path, rho, momentum, epsilon)
    far = np.abs(mine - theirs(tmp_path)).max()
    FOUND.append(f"RMSProp, rho {rho}, momentum {momentum}, epsilon {epsilon}: {len(RATES)} steps in fp64 {far:.1e}")
    assert far <= 1e-13


def test_the_rule_of_the_rate_matters(tmp_path: Path):
    """With the rate outside of the momentum, as PyTorch has it, the proof above would fail."""
    mine = walked(tmp_path, 0.9, 0.9, 1.0, momentum_rule="torch")
    assert np.abs(mine - theirs(tmp_path)).max() > 1e-3
