"""`predict --coverage`: sets of classes that hold the truth as often as was asked, from a checkpoint that knows how."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory.cli import main
from inceptory.measure.calibration import Calibration
from inceptory.run import evaluate


@pytest.fixture(scope="module")
def calibrated(run, tmp_path_factory):
    """The checkpoint of a run with a calibration that is made up: of 99 pictures, all levels of surprise."""
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 3, 99)
    logits = np.eye(3)[labels] * np.linspace(-1, 8, 99)[:, None]
    net = inceptory.load(run)
    path = tmp_path_factory.mktemp("calibrated") / "model.safetensors"
    plain = Calibration.of(logits, labels, "held-out").to_json()
    inceptory.save(net, path, replace(net.card, calibration=plain))
    return path


def test_sets_grow_with_the_coverage_and_hold_what_the_calibration_says(calibrated, colours, tmp_path):
    pictures = sorted(colours.rglob("*.png"))[::5]
    # And some between two of the classes, of which the network cannot be sure.
    for step in range(9):
        pictures.append(tmp_path / f"{step}.png")
        Image.new("RGB", (32, 32), (255 - 25 * step, 25 * step, 30)).save(pictures[-1])
    sizes = []
    for coverage in (0.5, 0.9, 0.98):
        predictions = inceptory.predict(calibrated, *pictures, coverage=coverage)
        sizes.append([len(each.labels) for each in predictions])
        assert all(list(each.probabilities) == sorted(each.probabilities, reverse=True) for each in predictions)
    assert all(small <= large for less, more in pairwise(sizes) for small, large in zip(less, more, strict=True))
    assert sum(sizes[0]) < sum(sizes[2])
    card = inceptory.load(calibrated).card
    threshold = Calibration.from_json(card.calibration).threshold(0.9)
    for each in inceptory.predict(calibrated, *pictures, coverage=0.9):
        assert all(1 - p <= threshold + 1e-6 for p in each.probabilities)


@pytest.mark.slow
def test_the_files_say_the_coverage(calibrated, colours, tmp_path):
    picture = next(colours.rglob("*.png"))
    for kind in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"answers.{kind}"
        for _ in range(2):  # its own file is replaced
            assert main(["predict", str(calibrated), str(picture), "--coverage", "0.9", "--out", str(out)]) == 0
    assert json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[0])["coverage"] == 0.9
    assert (tmp_path / "answers.csv").read_text().splitlines()[0] == "picture,rank,label,probability,coverage"


def test_what_cannot_be_promised_is_refused(calibrated, run, colours, capsys):
    picture = str(next(colours.rglob("*.png")))
    for words, code, told in (
        ([str(calibrated), picture, "--coverage", "1.5"], 64, "--coverage 1.5"),
        ([str(calibrated), picture, "--coverage", "nan"], 64, "--coverage nan"),
        ([str(calibrated), picture, "--coverage", "0.999"], 64, "99 calibration pictures"),
        ([str(run), picture, "--coverage", "0.9"], 78, "no calibration"),
    ):
        assert main(["predict", *words]) == code
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("damage", [{"temperature": 0}, {"n": 10**400, "lac": [0.5] * 1_000, "aps": [0.5] * 1_000}])
def test_a_damaged_calibration_is_one_line(run, calibrated, colours, tmp_path, capsys, damage):
    net = inceptory.load(run)
    calibration = {**inceptory.load(calibrated).card.calibration, **damage}
    inceptory.save(net, tmp_path / "m.safetensors", replace(net.card, calibration=calibration))
    assert (
        main(["predict", str(tmp_path / "m.safetensors"), str(next(colours.rglob("*.png"))), "--coverage", "0.9"]) == 65
    )
    assert "calibration is damaged" in capsys.readouterr().err


def test_evaluate_says_what_sets_achieve_on_pictures_that_are_not_of_the_calibration(
    calibrated, colours, tmp_path, capsys
):
    out = tmp_path / "m.json"
    assert main(["evaluate", str(calibrated), str(colours), "--out", str(out)]) == 0
    assert "coverage" not in json.loads(out.read_text()), "the model was trained on these"
    copy, other = tmp_path / "copy", tmp_path / "other"
    shutil.copytree(colours, copy)
    assert main(["evaluate", str(calibrated), str(copy), "--out", str(out)]) == 0
    assert "coverage" not in json.loads(out.read_text()), "nor where they lie elsewhere"
    shutil.copytree(colours, other)
    next(other.rglob("*.png")).unlink()  # not the same data any more
    assert main(["evaluate", str(calibrated), str(other), "--out", str(out)]) == 0
    coverage = json.loads(out.read_text())["coverage"]
    assert list(coverage) == ["0.8", "0.9", "0.95"]
    said = capsys.readouterr().err
    assert "sets asked to hold the truth of 90 %: truth in the set" in said
    pictures = sorted(other.rglob("*.png"))
    predictions = inceptory.predict(calibrated, *pictures, coverage=0.9)
    held = [path.parent.name in each.labels for path, each in zip(pictures, predictions, strict=True)]
    assert coverage["0.9"]["share"] == pytest.approx(np.mean(held))
    assert coverage["0.9"]["size"] == pytest.approx(np.mean([len(each.labels) for each in predictions]))


@pytest.mark.parametrize(
    ("trained", "measured", "seen"),
    [
        ("photos", "photos", True),
        ("photos", "photos/val", True),
        ("photos", "photos/test", False),
        ("photos", "photos-of-others", False),
        ("photos/train", "photos", True),
        ("photos/train", "photos/val", False),
    ],
)
def test_part_of_the_training_data_is_known_again(trained, measured, seen, calibrated, tmp_path):
    """The only part of a folder that is not of the calibration is its test split."""
    part = inceptory.from_arrays(np.zeros((4, 8, 8, 3), dtype=np.uint8), [0, 0, 1, 1])
    card = inceptory.load(calibrated).card
    card = replace(card, data={**card.data, "name": str(tmp_path / trained)})
    assert evaluate._trained_on(card, replace(part, name=str(tmp_path / measured))) == seen
