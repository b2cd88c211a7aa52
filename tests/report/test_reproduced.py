"""The networks of the tutorials beside one another: table, notes, page."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import inceptory
from inceptory.measure.metrics import wilson
from inceptory.report import plots
from inceptory.report.reproduced import TUTORIALS, WRITTEN, Reproduced
from tests.report.test_compare import HISTORY, made
from tests.report.test_page import check_alone, headings

NAMES = tuple(TUTORIALS)
LINE = "inceptory reproduce cifar10 --width 0.25"


def reproduced(place: Path, data: str = "cifar10") -> Reproduced:
    """Two of six networks, each with 400 test pictures: the first was best in epoch 2 of 3, the other in its last."""
    for name in NAMES[:2]:
        made(place / name, 200, data=data, computed_on="cpu bf16")
    rows = "1,0.1,3,2,0.3,2.5,0.2,1,90\n2,0.1,2,1,0.6,1.5,0.5,1,90\n3,0.1,2,0.9,0.7,1.6,0.45,1,90\n"
    (place / NAMES[0] / "history.csv").write_text(HISTORY + rows)
    return Reproduced.of(place, NAMES, LINE)


def test_best_and_last_come_from_the_history_with_their_intervals(tmp_path: Path):
    first, second = reproduced(tmp_path).records()
    numbers = inceptory.plan("cifar_inception_v1", classes=3, width=0.25).numbers()
    assert first == {
        "network": NAMES[0],
        "total": numbers["total"],
        "trainable": numbers["parameters"],
        "non_trainable": numbers["total"] - numbers["parameters"],
        "file_bytes": (tmp_path / NAMES[0] / "model.safetensors").stat().st_size,
        "best": 0.5,
        "best_interval": wilson(200, 400),
        "best_epoch": "2 of 3",
        "last": 0.45,
        "last_interval": wilson(180, 400),
        "minutes": 1.5,
        "images_per_second": 90.4,
        "tutorial": "-",
    }
    assert (second["best"], second["last"], second["best_epoch"]) == (0.5, 0.5, "2 of 2")


def test_the_table_and_what_its_reader_must_know(tmp_path: Path):
    told = str(reproduced(tmp_path, "cifar10 (JPEG copies), its test pictures as validation"))
    table, _, notes = (part.splitlines() for part in told.partition("\n\n"))
    head, _, *figures = (re.split(" {2,}", line) for line in table)
    assert head == ["cifar_inception_", "v1", "v2"]
    assert ["best, %", "50.00", "50.00"] in figures
    assert ["95 % interval", "45.12 to 54.88", "45.12 to 54.88"] in figures
    assert ["in epoch", "2 of 3", "2 of 2"] in figures
    assert ["last, %", "45.00", "50.00"] in figures
    assert ["95 % interval", "40.20 to 49.90", "45.12 to 54.88"] in figures
    for words in (
        "cifar10 (JPEG copies), its test pictures as validation, n 400",
        "3 points below",
        "a little too good",
        "5,984,936; 10,210,090",
        f"Not finished yet: {', '.join(NAMES[2:])}",
        str(tmp_path / "reproduced.html"),
    ):
        assert words in "\n".join(notes)
    assert "3 points below" not in str(reproduced(tmp_path / "originals"))


def test_the_page_holds_the_table_the_curves_and_the_line(tmp_path: Path):
    reproduced(tmp_path).write()
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == set(WRITTEN)
    text = (tmp_path / "reproduced.html").read_text(encoding="utf-8")
    assert headings(text) == ["Curves", "How"]
    words = " ".join(" ".join(check_alone(text).words).split())
    assert LINE in words
    assert "cpu bf16" in words
    assert "45.12 to 54.88" in words
    with open(tmp_path / "reproduced.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == list(NAMES[:2])
    assert float(rows[0]["last_high"]) == wilson(180, 400)[1]


def test_the_curves_are_called_those_of_the_test_pictures(tmp_path: Path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "png", lambda figure: figures.append(figure) or b"\x89PNG" + bytes(30))
    reproduced(tmp_path).write()
    assert figures[0].get_suptitle().startswith("test (lines) and training (dotted)")
    words = [text.get_text().strip() for text in figures[0].axes[0].get_legend().get_texts()]
    assert words[:2] == ["v1", "v2"]
