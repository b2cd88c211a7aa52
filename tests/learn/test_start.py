"""A run that begins with a network on hand: its preprocessing, its frozen parts, and an exact resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source
from inceptory.errors import DataError, InterruptedRun
from inceptory.learn.fit import Start, find_rate, fit
from inceptory.learn.loop import Loop
from inceptory.learn.settings.job import Job
from inceptory.learn.update.depth import scales
from inceptory.system import clock
from inceptory.weights.card import read_card
from tests.learn.running import MODEL, TINY, digests, recipe
from tests.learn.stopped import stopped_after, unpainted  # noqa: F401, fixture

OWN = Preprocess(size=32, resize=40, mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5), order="BGR")


def started(seed: int = 5) -> Start:
    torch.manual_seed(seed)
    return Start(inceptory.create(MODEL, width=0.25, classes=3), OWN)


def trained(colours: Path, folder: Path, start: Start, resumed: bool = False) -> None:
    source = open_source(str(colours)).with_validation(0.1)
    asked = recipe(epochs=1, unfreeze=0.5, depth_rate=0.5)
    job = Job(str(colours), MODEL, TINY, asked, source.fingerprint(), "", tensorboard=False)
    if not resumed:
        folder.mkdir()
        job.write(folder)
    fit(job, source, folder, clock.now(), resumed, start)


@pytest.fixture(scope="module")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "run"
    trained(colours, folder, started())
    return folder


def test_frozen_stages_come_out_as_they_went_in_with_the_preprocessing_they_had(run: Path):
    start, end = started().net, load_file(run / "model.safetensors")
    learning = set(scales(start, 0.5, 0.5))
    equal = {name.partition(".")[0] for name, value in start.state_dict().items() if torch.equal(value, end[name])}
    moved = {name.partition(".")[0] for name, value in start.state_dict().items() if not torch.equal(value, end[name])}
    assert equal.isdisjoint(moved)
    assert equal
    assert moved == learning
    card = read_card(run / "model.safetensors")
    assert card.preprocess == OWN
    assert len(card.labels) == 3


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit_from_the_same_network_only(run: Path, colours: Path, tmp_path: Path):
    with pytest.MonkeyPatch.context() as patched:
        stopped_after(2, patched)
        with pytest.raises(InterruptedRun):
            trained(colours, tmp_path / "run", started())
    other = started()
    next(other.net.buffers()).add_(1)
    with pytest.raises(DataError, match="its frozen stages are those of another network"):
        trained(colours, tmp_path / "run", other, resumed=True)
    trained(colours, tmp_path / "run", started(), resumed=True)
    assert digests(tmp_path / "run") == digests(run)


def test_a_rate_is_looked_for_from_the_network_on_hand(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    begun = list[Loop]()

    def objectives(self: Loop, *_: object) -> list[tuple[float, float]]:
        begun.append(self)
        return [(1e-3, 2.0), (1e-2, 1.0)]

    monkeypatch.setattr(Loop, "objectives", objectives)
    start = started()
    source = open_source(str(colours)).with_validation(0.1)
    find_rate(Job(str(colours), MODEL, TINY, recipe(), source.fingerprint(), ""), source, tmp_path, start)
    assert begun[0].stepper.net is start.net
    assert begun[0].preprocess == OWN
