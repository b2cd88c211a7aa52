"""Half of the validation pictures choose nothing and calibrate the network that is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

import inceptory
from inceptory import Recipe, Variant, train
from inceptory.cli import main
from inceptory.data.sources.given import from_arrays
from inceptory.errors import InterruptedRun
from inceptory.learn.loop import Loop
from inceptory.measure.calibration import Calibration
from inceptory.weights.card import read_card
from tests.learn.stopped import stopped_after, unpainted  # noqa: F401

RECIPE = Recipe(epochs=2, batch=16, precision="fp32", validation=0.5)


def pictures(count=240):
    chance = np.random.default_rng(0)
    labels = np.arange(count) % 3
    levels = 60 * labels[:, None, None, None] + chance.integers(0, 100, (count, 32, 32, 3))
    return levels.astype(np.uint8), labels


def start(out, **more):
    given = {"model": "cifar_inception_v2", "variant": Variant(width=0.25), "recipe": RECIPE, "tensorboard": False}
    return train(pictures(), out=out, **{**given, **more})


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("inceptory.report.plots.png", lambda _: b"a picture")
        return start(tmp_path_factory.mktemp("runs") / "r")


def test_half_of_them_choose_and_half_calibrate(calibrated):
    assert calibrated.metrics.n == 60
    card = read_card(calibrated.folder / "model.safetensors")
    known = Calibration.from_json(card.calibration)
    assert (known.kind, known.n) == ("held-out", 60)
    assert card.data["splits"] == {"train": 120, "validation": 60, "calibration": 60}
    assert "60 calibration" in (calibrated.folder / "report.html").read_text()
    assert str(inceptory.verify(calibrated.folder / "model.safetensors"))


def test_the_calibration_is_of_the_network_that_is_kept(calibrated):
    held = from_arrays(*pictures()).with_validation(0.5).with_calibration(50).split("calibration")
    net, card = inceptory.load(calibrated.folder), read_card(calibrated.folder / "model.safetensors")
    answers = inceptory.extract_features(calibrated.folder, (np.stack(held.pictures), held.labels), precision="fp32")
    head = net.head.classifier
    logits = answers.vectors @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    mine = Calibration.of(logits, held.labels, "held-out")
    assert Calibration.from_json(card.calibration).temperature == pytest.approx(mine.temperature, rel=1e-3)


def test_no_picture_has_two_parts(monkeypatch, tmp_path):
    parts = {}
    made = Loop.__init__

    def seen(self, stepper, feeds, *rest):
        parts.update({name: {hash(b.pixels.numpy().tobytes()) for b in _single(feed)} for name, feed in feeds.items()})
        made(self, stepper, feeds, *rest)

    monkeypatch.setattr(Loop, "__init__", seen)
    start(tmp_path / "r", recipe=Recipe(epochs=1, batch=60, precision="fp32", validation=0.5))
    assert {name: len(part) for name, part in parts.items()} == {"train": 120, "validation": 60, "calibration": 60}
    assert not parts["train"] & parts["validation"] | parts["train"] & parts["calibration"]
    assert not parts["validation"] & parts["calibration"]


def _single(feed):
    import torch

    return feed.batches([torch.tensor([row]) for row in range(len(feed.labels))])


def test_sets_of_classes_can_be_asked_of_it(calibrated, tmp_path):
    fresh, labels = pictures(300)
    found = inceptory.predict(calibrated.folder, *_files(tmp_path, fresh[240:]), coverage=0.9)
    names = read_card(calibrated.folder / "model.safetensors").labels
    held = [names[label] in one.labels for one, label in zip(found, labels[240:], strict=True)]
    assert np.mean(held) > 0.75


def _files(folder, arrays):
    from PIL import Image

    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{number:03}.png")
    return sorted(folder.glob("*.png"))


def test_a_run_that_was_stopped_ends_with_the_same(calibrated, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        with pytest.raises(InterruptedRun):
            start(tmp_path / "r")
    train(pictures(), resume=tmp_path / "r")
    mine, theirs = (read_card(folder / "model.safetensors") for folder in (tmp_path / "r", calibrated.folder))
    assert mine.calibration == theirs.calibration


def test_a_run_of_an_older_version_keeps_its_whole_validation(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        with pytest.raises(InterruptedRun):
            start(tmp_path / "r")
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    del record["calibrates"]
    (tmp_path / "r" / "run.json").write_text(json.dumps(record))
    for path in (tmp_path / "r" / "state").iterdir():
        path.unlink()
    assert train(pictures(), resume=tmp_path / "r").metrics.n == 120
    assert not read_card(tmp_path / "r" / "model.safetensors").calibration


def test_few_pictures_all_choose(run, colours, capsys):
    assert not read_card(run / "model.safetensors").calibration
    assert main(["predict", str(run), str(next(colours.rglob("*.png"))), "--coverage", "0.9"]) == 78
    assert "100 validation pictures or more" in capsys.readouterr().err
