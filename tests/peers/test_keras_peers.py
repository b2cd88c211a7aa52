"""Files written by Keras, with the published head, without one and with one's own: the same answers here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from tests.peers.proof import compare, ours

SCRIPT = Path(__file__).with_name("keras_models.py")
PYTHON = os.environ.get("INCEPTORY_KERAS_PYTHON", sys.executable)
STAGES = {"InceptionV3": "Mixed_6e", "InceptionResNetV2": "block17_20", "Xception": "block12"}
CLASSES = {"top": 1000, "notop": 0, "own": 7}


@dataclass(frozen=True)
class Written:
    """What a child process left: files of three kinds and recorded answers."""

    name: str
    head: str
    folder: Path


@pytest.fixture(scope="module", params=[(name, head) for name in STAGES for head in CLASSES], ids="-".join)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    name, head = request.param
    folder = tmp_path_factory.mktemp("keras")
    child = subprocess.run([PYTHON, SCRIPT, name, head, folder], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    yield Written(name, head, folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["h5", "weights.h5", "keras"])
def test_every_kind_of_file_gives_the_answers_that_keras_gave(written: Written, kind: str):
    net = inceptory.load(written.folder / f"model.{kind}")
    assert (net.plan.dialect, net.plan.classes) == ("keras", CLASSES[written.head])
    recorded = np.load(written.folder / "answers.npz")
    for size in sorted({key.split("/")[0] for key in recorded}):
        expected = {key.split("/")[1]: recorded[key] for key in recorded if key.startswith(f"{size}/")}
        x = torch.from_numpy(expected.pop("x").copy())
        name = f"keras {written.name} {written.head} .{kind} at {size}"
        compare(name, expected, ours(net, STAGES[written.name], x), 1e-4)
