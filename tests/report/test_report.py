"""The files of a finished run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import inceptory
from inceptory import Card
from inceptory.data.picture.preprocess import Preprocess
from inceptory.measure.evaluate import Scored
from inceptory.measure.results import Ending
from inceptory.measure.single_label import SingleEpoch
from inceptory.measure.tasks import SINGLE_LABEL
from inceptory.measure.vectors import NOTHING, Insight, Neighbour, Plane, Reason
from inceptory.report import folder as report
from inceptory.weights.card import read_card
from tests.report.test_page import check_alone, headings, picture

LABELS = ("cat", "</title><script>", "狐\udcff")
PLAN = inceptory.plan("cifar_inception_v1", classes=3, width=0.25)
EPOCHS = [
    SingleEpoch(1, 0.1, 1.1, 1.0, 0.5, 1.0, 0.5, 1.0, 300.0),
    SingleEpoch(2, 0.1, 1.1, 1.0, 0.5, 1.0, 0.5, 3.0, 100.0),
]
LOGITS = np.array([[5.0, 0, 0], [0, 5, 0], [0, 5, 0], [5, 0, 0]], dtype=np.float32)


def refuse(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def write(folder: Path, logits: NDArray[np.float32] = LOGITS, order: str = "RGB", insight: Insight = NOTHING):
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    steps = Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3, order=order)
    pixels = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    pixels[..., 0] = 200
    test = Scored(SINGLE_LABEL, logits, np.array([0, 0, 1, 0]), list("abcd"), pixels.__getitem__)
    card = Card.of(PLAN, labels=LABELS, preprocess=steps, data={"name": "<script>"})
    return report.write_run(
        folder,
        card=card,
        plan=PLAN,
        epochs=EPOCHS,
        test=test,
        split="test",
        minutes=2.5,
        ending=Ending("time", 5, 3),
        command="again & again",
        insight=insight,
    )


def test_a_run_is_told_in_full(tmp_path: Path):
    metrics = write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "calibration.png",
        "confusion.png",
        "curves.png",
        "metrics.json",
        "model.safetensors",
        "report.html",
    }
    found = read(tmp_path / "metrics.json")
    assert (found["top1"], found["n"], found["split"]) == (0.75, 4, "test")
    assert (metrics.top1, list(metrics.interval)) == (found["top1"], found["interval"])
    assert found["file_bytes"] == 1000
    numbers = PLAN.numbers()
    assert found["network"] == {key: numbers[key] for key in ("name", "dialect", "parameters", "total", "macs")}
    assert (found["minutes"], found["epochs"]) == (2.5, 2)
    assert found["images_per_second"] == 150, "600 pictures in 4 seconds"
    assert found["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert [one["label"] for one in found["classes"]] == list(LABELS)
    assert found["classes"][0] == {"label": "cat", "precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert found["classes"][2]["recall"] is None
    assert len(found["reliability"]) == 15
    for name in ("curves", "confusion", "calibration"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 300
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_alone(text)
    assert "again &amp; again" in text


def test_logits_that_are_not_numbers_leave_no_nan_behind(tmp_path: Path):
    logits = LOGITS.copy()
    logits[2] = math.nan
    metrics = write(tmp_path, logits)
    assert math.isnan(metrics.log_loss)
    found = read(tmp_path / "metrics.json")
    assert found["log_loss"] is None
    assert found["n"] == 4


def test_what_vectors_say_is_drawn_and_shown(tmp_path: Path):
    points = np.array([[0.0, 1], [1, 0], [2, 2], [3, 1]])
    plane = Plane(points, (0.6, 0.3), np.array([0, 0, 1, 0]), np.array([False, True, False, False]), 9)
    write(tmp_path, insight=Insight(plane=plane))
    with Image.open(tmp_path / "features.png") as image:
        assert min(image.size) > 300
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert headings(text).index("Features") == headings(text).index("Calibration") - 1
    assert "4 of 9 test pictures" in " ".join(" ".join(check_alone(text).words).split())


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_neighbours_are_shown_in_red_green_blue_and_heat_lies_over_the_picture(tmp_path: Path, order):
    blue = np.zeros((8, 8, 3), dtype=np.uint8)
    blue[..., 2 if order == "RGB" else 0] = 200
    reason = Reason(np.eye(8, dtype=np.float32), (Neighbour("<b>/x.png", "狐", 0.98765, blue),))
    write(tmp_path, order=order, insight=Insight([reason], "Mixed_7c", 2000, 5000))
    found = check_alone((tmp_path / "report.html").read_text(encoding="utf-8"))
    images = {each["alt"]: picture(each["src"]) for tag, each in found.elements if tag == "img"}
    assert images["Near in training"].getpixel((0, 0)) == (0, 0, 200)
    plain, hot = (images["Heat of the answer"].getpixel(place) for place in ((0, 1), (1, 1)))
    assert plain == ((200, 0, 0) if order == "RGB" else (0, 0, 200))
    assert min(hot) > 100, "three quarters of the brightest heat"
    words = " ".join(" ".join(found.words).split())
    assert "Grad-CAM after Mixed_7c" in words
    assert "among 2,000 of 5,000" in words
    assert "狐 0.988 x.png" in words


@pytest.mark.parametrize(("order", "colour"), [("RGB", (200, 0, 0)), ("BGR", (0, 0, 200))])
def test_mistakes_are_shown_in_red_green_blue_whatever_the_network_reads(tmp_path: Path, order, colour):
    write(tmp_path, order=order)
    found = check_alone((tmp_path / "report.html").read_text(encoding="utf-8"))
    (mistake,) = [attributes for tag, attributes in found.elements if tag == "img" and attributes["alt"] == ""]
    assert picture(mistake["src"]).getpixel((0, 0)) == colour


def test_json_keeps_tables_readable_and_says_none_for_what_is_no_number(tmp_path: Path):
    content = {
        "a": {"b": math.nan, "c": [math.inf, 1]},
        "rows": [[1, 2], [3, 4]],
        "of": [{"x": 1}],
        "none": [],
        "no": {},
    }
    (tmp_path / "x.json").write_text(report.json_page({**content, "name": "狐"}), encoding="utf-8")
    assert read(tmp_path / "x.json") == {**content, "a": {"b": None, "c": [None, 1]}, "name": "狐"}
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "\n    [1, 2],\n    [3, 4]\n  ],\n" in text
    assert "狐" in text


def test_the_page_of_a_real_run_is_of_that_run(run: Path):
    text = (run / "report.html").read_text(encoding="utf-8")
    found = check_alone(text)
    words = " ".join(found.words)
    metrics, card = read(run / "metrics.json"), read_card(run / "model.safetensors")
    assert f"{100 * metrics['top1']:.2f} %" in words
    assert f"--out {run} --width 0.25 --epochs 12 --batch 16 --lr 0.02 --precision fp32" in words
    assert card.data["fingerprint"] in words
    assert metrics["file_bytes"] == (run / "model.safetensors").stat().st_size
    assert np.sum(metrics["confusion"]) == metrics["n"]
    assert metrics["images_per_second"] > 0
