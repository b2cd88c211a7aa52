"""Validation pictures that choose the best epoch, and those that are kept apart to calibrate what it left."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.errors import InterruptedRun
from inceptory.learn import halves
from inceptory.learn.halves import Halves
from inceptory.learn.loop import Loop
from inceptory.learn.validation import Validation
from inceptory.measure.calibration import Calibration
from inceptory.weights.card import read_card
from tests.learn.running import digests
from tests.learn.stopped import stopped_after, unpainted  # noqa: F401, a fixture

NET = "cifar_inception_v1"
TINY = Variant(width=0.25)
FAST = Recipe(epochs=2, batch=32, precision="fp32", validation=0.4)


def pictures(count: int, seed: int = 0, several: bool = False):
    """(pixels, labels) of three colours with so much noise that none is sure."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    levels = np.full((count, 1, 1, 3), 100.0)
    levels[np.arange(count), :, :, labels] += 12
    pixels = levels + chance.normal(0, 12, (count, 1, 1, 3)) + chance.normal(0, 30, (count, 32, 32, 3))
    shown = np.eye(3, dtype=np.uint8)[labels] if several else labels
    if several:
        shown[::9] = 1  # so that it is seen that a picture may show several
    return pixels.clip(0, 255).astype(np.uint8), shown


def trained(data, out, **changed):
    settings = {"model": NET, "variant": TINY, "recipe": FAST, "tensorboard": False, **changed}
    return inceptory.train(data, out=out, **settings)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A run on 180 + 120 pictures, 60 of which calibrate it, not to be touched."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("inceptory.report.plots.png", lambda _: b"a picture")
        return trained(pictures(300), tmp_path_factory.mktemp("calibrated") / "run")


@pytest.mark.parametrize("several", [False, True])
def test_half_is_kept_apart_of_each_class_its_share_and_no_picture_is_in_both(several, monkeypatch):
    labels = np.repeat([0, 1, 2], [100, 51, 2])
    given = np.eye(3, dtype=np.uint8)[labels] if several else labels
    for seed in range(10):
        monkeypatch.setattr(halves, "SEED", seed)
        found = Halves.of(given, True)
        assert sorted([*found.choose, *found.calibrate]) == list(range(153))
        assert len(found.calibrate) == 76
        counts = np.bincount(labels[found.calibrate], minlength=3)
        assert np.abs(counts - np.array([100, 51, 2]) / 2).max() <= 1


def test_a_picture_of_a_small_class_has_the_same_chance_as_any_other(monkeypatch):
    """A part of each class with at least one held out would never take the only picture of a class, or always."""
    labels, taken = np.append(np.zeros(149, dtype=np.int64), 1), 0
    for seed in range(200):
        monkeypatch.setattr(halves, "SEED", seed)
        taken += 149 in Halves.of(labels, True).calibrate
    assert 70 < taken < 130, "of 200, at a chance of a half"


@pytest.mark.parametrize(("count", "kept"), [(99, 0), (100, 50), (4000, 2000), (9000, 2000)])
def test_too_few_are_not_parted_and_of_many_most_choose(count, kept):
    found = Halves.of(np.zeros(count, dtype=np.int64), True)
    assert len(found.calibrate) == kept
    assert len(found.choose) == count - kept
    assert ("too few to keep some apart" in found.note) == (not kept)
    old = Halves.of(np.zeros(count, dtype=np.int64), False)
    assert (len(old.choose), len(old.calibrate), old.note) == (count, 0, "")


def test_a_fresh_run_keeps_its_calibration_and_says_of_how_many(calibrated):
    card = read_card(calibrated.folder / "model.safetensors")
    found = Calibration.from_json(card.calibration)
    assert (found.kind, found.n) == ("held-out", 60)
    assert (card.metrics["n"], calibrated.metrics.n) == (60, 60), "the others chose"
    assert card.data["splits"] == {"train": 180, "validation": 120}, "training loses none"
    assert json.loads((calibrated.folder / "metrics.json").read_text())["n"] == 60
    page = (calibrated.folder / "report.html").read_text()
    assert "120 validation pictures were kept apart, 60 of those of validation to calibrate it" in page
    assert "the figures below are of the same 60 validation pictures" in page


def test_evaluating_its_validation_pictures_calls_no_coverage_achieved(calibrated, tmp_path, capsys):
    assert inceptory.evaluate(calibrated.folder, pictures(300), out=tmp_path / "m.json").n == 120
    assert "coverage" not in json.loads((tmp_path / "m.json").read_text())
    assert "those that calibrate it had no part in the run's own figures" in capsys.readouterr().err


@pytest.mark.slow
def test_sets_hold_the_truth_of_pictures_never_seen_about_as_often_as_asked(calibrated, tmp_path):
    pixels, labels = pictures(900, seed=1)
    path = tmp_path / "m.json"
    inceptory.evaluate(calibrated.folder, {"test": (pixels, labels)}, out=path)
    achieved = json.loads(path.read_text())["coverage"]["0.9"]
    assert achieved["share"] == pytest.approx(0.9, abs=0.12), "three deviations of 60 pictures"
    assert 1 < achieved["size"] < 3, "neither sure of all nor of none"


def test_the_weights_are_those_of_the_best_epoch_and_the_calibration_is_of_them(calibrated):
    """In full precision, on the pictures that were kept apart and on no other."""
    model = inceptory.load(calibrated.folder)
    pixels, labels = pictures(300)
    held = inceptory.from_arrays(pixels, labels).with_validation(0.4)
    rows = Halves.of(held.split("validation").labels, True).calibrate
    part = held.split("validation").take(rows)
    values = np.stack([np.asarray(one) for one in part.pictures])
    mean, std = (np.array(each) for each in (model.card.preprocess.mean, model.card.preprocess.std))
    with torch.inference_mode():
        logits = model(torch.from_numpy((values / 255 - mean) / std).float().permute(0, 3, 1, 2)).numpy()
    expected = Calibration.of(logits, part.labels, "held-out")
    found = Calibration.from_json(model.card.calibration)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-3)
    np.testing.assert_allclose(found.lac, expected.lac, atol=1e-4)


@pytest.mark.slow
def test_the_epoch_is_chosen_by_one_half_alone(tmp_path, monkeypatch):
    """Labels of the other half, turned round, change no epoch and no weight: only what it is for."""
    found = []
    for turned in (False, True):
        with monkeypatch.context() as patched:
            if turned:
                of = Validation.__init__

                def wrong(self, stepper, feeds, parts, *others, of=of):
                    labels = feeds["validation"].labels = feeds["validation"].labels.clone()
                    labels[parts.calibrate] = (labels[parts.calibrate] + 1) % 3
                    of(self, stepper, feeds, parts, *others)

                patched.setattr(Validation, "__init__", wrong)
            run = trained(pictures(300), tmp_path / f"{turned}")
            found.append((run, read_card(run.folder / "model.safetensors"), digests(run.folder)))
    (right, card, files), (other, wrong_card, wrong_files) = found
    assert files["last.safetensors"] == wrong_files["last.safetensors"]
    assert card.metrics == wrong_card.metrics
    assert [row.validation_log_loss for row in right.epochs] == [row.validation_log_loss for row in other.epochs]
    assert card.calibration != wrong_card.calibration


def test_too_few_pictures_are_said_and_all_of_them_choose(tmp_path, capsys):
    run = trained(pictures(90), tmp_path / "run")
    told = "36 validation pictures are too few to keep some apart for `predict --coverage`, all choose the best epoch"
    assert f"{told} (100 would do)" in capsys.readouterr().err
    assert read_card(run.folder / "model.safetensors").calibration == {}
    assert run.metrics.n == 36


def test_pictures_of_several_classes_are_calibrated_too(tmp_path):
    run = trained(pictures(300, several=True), tmp_path / "run")
    found = Calibration.from_json(read_card(run.folder / "model.safetensors").calibration)
    assert found.multi_label
    assert found.n == 61


def test_the_test_split_calibrates_nothing_and_is_measured_whole(tmp_path, monkeypatch):
    """And the time at the end is kept for both."""
    parts = {"train": pictures(90), "validation": pictures(120, 1), "test": pictures(45, 2)}
    budgets, budget = [], Loop._budget
    monkeypatch.setattr(Loop, "_budget", lambda self: budgets.append(budget(self)) or budgets[-1])
    run = trained(parts, tmp_path / "run", recipe=replace(FAST, epochs=1, time="10m"))
    assert (run.split, run.metrics.n) == ("test", 45)
    assert read_card(run.folder / "model.safetensors").calibration["n"] == 60
    assert budgets[0].pictures[:3] == (32, 60, 45 + 60)
    assert budgets[0].full > 0, "it is timed on a batch"


@pytest.mark.parametrize("older", [False, True])
def test_a_run_that_is_gone_on_with_is_parted_as_it_began(older, calibrated, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stopped_after(7, patched)  # in the second epoch
        with pytest.raises(InterruptedRun):
            trained(pictures(300), tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    if older:  # an older version writes no such word, and all pictures have chosen in the first epoch
        plain = json.loads(record.read_text())
        assert plain.pop("calibrated") is True
        record.write_text(json.dumps(plain))
    capsys.readouterr()
    run = inceptory.train(pictures(300), resume=tmp_path / "run")
    told = capsys.readouterr().err
    assert ("of 120 validation pictures 60 choose" in told) == (not older)
    card = read_card(run.folder / "model.safetensors")
    if older:
        assert (card.calibration, run.metrics.n) == ({}, 120)
    else:
        assert digests(run.folder) == digests(calibrated.folder)


def test_coverage_of_a_fresh_run_without_one_names_the_remedy(tmp_path, capsys, run, colours):
    picture = str(next(colours.rglob("*.png")))
    assert main(["predict", str(run), picture, "--coverage", "0.9"]) == 78
    assert "train with 100 validation pictures or more" in capsys.readouterr().err
