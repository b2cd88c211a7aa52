"""Files written by Keras, with the published head, without one and with one's own: the same answers here."""

from __future__ import annotations

import json
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
from inceptory.weights.convert import convert
from inceptory.weights.verify import inspect
from tests.peers.proof import FOUND, compare, ours

HERE = Path(__file__).parent
PYTHON = os.environ.get("INCEPTORY_KERAS_PYTHON", sys.executable)
STAGES = {
    "InceptionV3": "Mixed_6e",
    "InceptionResNetV2": "block17_20",
    "Xception": "block12",
    "v1": "Mixed_4f",
    "v2": "Mixed_4e",
    **dict.fromkeys(("v3", "v3_slim", "v3_slim_352", "v3_stem_slim"), "Mixed_6f"),
}
CLASSES = {"top": 1000, "notop": 0, "own": 7, "nested": 7, "deep": 0, "cifar": 10}
CIFAR = {
    "v1": (5_984_936, 59, 54),
    "v2": (10_210_090, 70, 66),
    "v3": (23_397_866, 105, 59),
    "v3_slim": (23_229_370, 101, 59),
    "v3_slim_352": (21_215_770, 101, 59),
    "v3_stem_slim": (23_397_866, 105, 59),
}
"""Parameters as the tutorial prints them, all; kernels, and biases within modules, counted by hand."""
KINDS = ("h5", "weights.h5", "nameless.keras", "nameless.weights.h5")


@dataclass(frozen=True)
class Written:
    """What a child process left: files of every kind and recorded answers."""

    name: str
    head: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.name}-{self.head}"

    def run(self, *words: str) -> None:
        """Run the child that has Keras."""
        script = ("keras_cifar.py", self.name) if self.head == "cifar" else ("keras_models.py", self.name, self.head)
        command = [PYTHON, HERE / script[0], *script[1:], self.folder, *words]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr[-3000:]

    def path(self, kind: str) -> Path:
        """A file of a kind; its stem tells whether it notes the layers' names."""
        names = {"nameless.keras": "nameless.keras", "nameless.weights.h5": "nameless.model.weights.h5"}
        return self.folder / names.get(kind, f"model.{kind}")

    @property
    def asked(self) -> str | None:
        """The name that is needed where a file of weights alone cannot tell it."""
        return "cifar_inception_v3_stem_slim" if self.name == "v3_stem_slim" else None


CASES = [
    *((name, head) for name in ("InceptionV3", "InceptionResNetV2", "Xception") for head in ("top", "notop", "own")),
    *((name, head) for name in ("InceptionV3", "Xception") for head in ("nested", "deep")),
    *((name, "cifar") for name in CIFAR),
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    found = Written(*request.param, tmp_path_factory.mktemp("keras"))
    found.run()
    yield found
    shutil.rmtree(found.folder)


def test_the_answers_are_those_that_keras_gave(written: Written):
    net = inceptory.load(written.path("keras"))
    assert (net.plan.dialect, net.plan.classes) == ("keras", CLASSES[written.head])
    recorded = np.load(written.folder / "answers.npz")
    for case in sorted({key.split("/")[0] for key in recorded if "/" in key}):
        expected = {key.split("/")[1]: recorded[key] for key in recorded if key.startswith(f"{case}/")}
        x = torch.from_numpy(expected.pop("x").copy())
        wide = "fp64" in case
        found = ours(net.double() if wide else net.float(), STAGES[written.name], x)
        compare(f"keras {written} at {case}", expected, found, 1e-9 if wide else 1e-4)


@pytest.mark.filterwarnings("ignore:.*have the same names and graph")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_holds_the_same_network_bit_for_bit(written: Written, kind: str):
    first = inceptory.load(written.path("keras"))
    # A config tells what tensors cannot; a file of weights alone has none.
    net = inceptory.load(written.path(kind), name=written.asked if "weights" in kind else None)
    assert net.plan == first.plan
    state = net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


def test_a_config_settles_what_the_tensors_cannot(written: Written):
    for kind in ("keras", "h5", "nameless.keras"):
        told = inspect(written.path(kind))
        assert told.dialect_decided == "by its config"
        assert told.alternatives == told.notes == ()
        assert bool(told.head) == (written.head == "deep")


def test_the_cifar_networks_count_what_the_tutorial_prints(written: Written):
    if written.head != "cifar":
        pytest.skip("of the CIFAR networks only")
    parameters, kernels, biases = CIFAR[written.name]
    recorded = np.load(written.folder / "answers.npz")
    assert recorded["parameters"] == parameters
    assert recorded["penalties"].tolist() == [kernels, biases]
    assert inceptory.load(written.path("keras")).plan.numbers()["total"] == parameters


def test_keras_takes_the_files_that_are_written_back(written: Written):
    if written.head not in ("top", "cifar"):
        pytest.skip("the published networks are written back, not a person's own model")
    for kind in ("weights.h5", "h5"):
        convert(written.path("keras"), written.folder / f"back.{kind}", to="keras")
    written.run("back")
    for kind, told in json.loads((written.folder / "back.json").read_text(encoding="utf-8")).items():
        FOUND.append(f"{f'keras {written} back as .{kind}':55}logits {told['apart']:.1e}")
        assert told["equal"]
        assert told["apart"] <= 1e-6
