"""Runs beside one another."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save_file

import inceptory
from inceptory import Card
from inceptory.errors import DataError, MissingError, UsageError, WriteError
from inceptory.measure.metrics import wilson
from inceptory.weights.card import KEY
from tests.report.test_page import check_alone, headings

HISTORY = (
    "epoch,lr,train_objective,train_log_loss,train_top1,validation_log_loss,validation_top1,seconds,images_per_second\n"
)


def made(
    folder: Path,
    right: int,
    n: int = 400,
    *,
    data: str = "pets",
    split: str = "test",
    width: float = 0.25,
    **recipe: object,
) -> Path:
    """A run folder as `train` leaves it, without the training."""
    folder.mkdir(parents=True)
    plan = inceptory.plan("cifar_inception_v1", classes=3, width=width)
    record = {"name": data, "fingerprint": f"print of {data}"}
    card = Card.of(plan, recipe={"lr": width / 10, **recipe}, data=record, metrics={"epoch": 2})
    save_file({}, folder / "model.safetensors", metadata={KEY: card.to_json()})
    (folder / "history.csv").write_text(HISTORY + "1,0.1,3,2,0.3,2.5,0.2,1,90\n2,0.1,2,1,0.6,1.5,0.5,1,90\n")
    metrics = {"top1": right / n, "interval": wilson(right, n), "log_loss": 0.5, "n": n, "split": split, "minutes": 1.5}
    metrics |= {"images_per_second": 90.4, "network": {"parameters": plan.numbers()["parameters"]}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def standing(*runs: Path) -> list[str | None]:
    found = inceptory.compare(*runs)
    return [found.against_best(run) for run in found.runs]


def test_a_run_is_told_in_the_numbers_of_its_own_files(tmp_path: Path):
    a, b = made(tmp_path / "a", 300), made(tmp_path / "b", 200, width=0.5)
    found = inceptory.compare(a, b).to_json()["runs"][1]
    plan = inceptory.plan("cifar_inception_v1", classes=3, width=0.5)
    assert found == {
        "name": "b",
        "parameters": plan.numbers()["parameters"],
        "file_bytes": (b / "model.safetensors").stat().st_size,
        "split": "test",
        "n": 400,
        "top1": 0.5,
        "interval": list(wilson(200, 400)),
        "log_loss": 0.5,
        "best_epoch": 2,
        "images_per_second": 90.4,
        "minutes": 1.5,
        "network": "cifar_inception_v1",
        "dialect": "keras",
        "data": "pets",
        "fingerprint": "print of pets",
        "epochs": 2,
        "against_best": "below",
    }


def test_intervals_that_meet_are_said_to_overlap(tmp_path: Path):
    runs = [made(tmp_path / name, right) for name, right in (("a", 280), ("b", 300), ("c", 200), ("d", 300))]
    assert wilson(280, 400)[1] > wilson(300, 400)[0] > wilson(200, 400)[1]
    assert standing(*runs) == ["overlaps", "best", "below", "overlaps"]
    assert "may not tell them apart" in str(inceptory.compare(*runs))
    assert "overlap" not in str(inceptory.compare(runs[1], runs[2]))


@pytest.mark.parametrize("other", [{"data": "birds"}, {"split": "validation"}, {"n": 401}], ids=str)
def test_runs_on_other_pictures_are_not_ranked_and_that_is_said(tmp_path: Path, other):
    runs = made(tmp_path / "a", 300), made(tmp_path / "b", 200, **other)
    assert standing(*runs) == [None, None]
    notes = " ".join(inceptory.compare(*runs).notes())
    assert "Not measured on the same pictures" in notes
    assert "a on pets test (n 400)" in notes
    assert ("too good" in notes) is (other == {"split": "validation"})


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path):
    runs = made(tmp_path / "x" / "run", 300), made(tmp_path / "y" / "run", 200)
    assert [run.name for run in inceptory.compare(*runs).runs] == [str(run) for run in runs]


def test_the_table_has_a_line_for_each_run(tmp_path: Path):
    a, b = made(tmp_path / "a", 300), made(tmp_path / "b\n", 200)
    head, _, *lines = str(inceptory.compare(a, b)).splitlines()
    assert head.startswith("run")
    assert lines[0].split()[:2] == ["a", "cifar_inception_v1"]
    assert "75.00  70.53 to 78.99  best" in lines[0]
    assert "2 of 2        90      1.5" in lines[0]
    assert lines[1].startswith("b\\n ")
    assert len(lines) == 2


def test_out_writes_a_page_a_drawing_and_a_table(tmp_path: Path):
    a, b = made(tmp_path / "a", 300), made(tmp_path / "<script>", 200, width=0.5)
    inceptory.compare(a, b, out=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.csv", "compare.html", "compare.png"}
    text = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert headings(text) == ["Curves", "What differs in network and recipe", "Measured on"]
    found = check_alone(text)
    words = " ".join(" ".join(found.words).split())
    assert "option a <script> width 0.25 0.5 lr 0.025 0.05" in words
    assert "<script> pets test (n 400)" in words
    with open(tmp_path / "out" / "compare.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "<script>"]
    assert [float(row["top1"]) for row in rows] == [0.75, 0.5]
    assert float(rows[0]["interval_low"]) == wilson(300, 400)[0]


@pytest.mark.slow
def test_a_real_run_stands_beside_itself(run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "copy")
    found = inceptory.compare(run, tmp_path / "copy", out=tmp_path / "out")
    assert [found.against_best(one) for one in found.runs] == ["best", "overlaps"]
    assert found.differences() == []
    assert len(found.runs[0].history) == 12
    with pytest.raises(WriteError):
        inceptory.compare(run, run, out=run / "metrics.json")


BROKEN = {
    "metrics.json": ["", "[]", "{}", "[" * 100_000, '{"interval": [1]}', "\udcff"],
    "history.csv": ["", HISTORY, "epoch\n1\n", HISTORY + "1,x,x,x,x,x,x,x,x\n", HISTORY + "1\n"],
    "model.safetensors": ["", "no weights"],
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in BROKEN.items() for text in texts])
def test_a_damaged_run_is_one_line_that_names_the_file(tmp_path: Path, name, content):
    a, b = made(tmp_path / "a", 300), made(tmp_path / "b", 300)
    (b / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as caught:
        inceptory.compare(a, b, out=tmp_path / "out")
    assert str(b / name) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_is_no_finished_run_is_said(tmp_path: Path):
    a, b = made(tmp_path / "a", 300), made(tmp_path / "b", 300)
    with pytest.raises(UsageError, match="two or more"):
        inceptory.compare(a)
    with pytest.raises(MissingError, match="no such folder"):
        inceptory.compare(a, a / "metrics.json")
    (b / "metrics.json").unlink()
    with pytest.raises(DataError, match="unfinished"):
        inceptory.compare(a, b)
    (b / "history.csv").unlink()
    with pytest.raises(DataError, match="not a run"):
        inceptory.compare(a, b)


def test_a_checkpoint_that_no_training_wrote_is_named(tmp_path: Path):
    a, b = made(tmp_path / "a", 300), made(tmp_path / "b", 300)
    inceptory.save(inceptory.create("cifar_inception_v1", width=0.25), b / "model.safetensors")
    with pytest.raises(DataError, match="names no epoch"):
        inceptory.compare(a, b)


def test_comparing_imports_no_torch(tmp_path: Path):
    runs = [str(made(tmp_path / name, 300)) for name in ("a", "b")]
    script = (
        "import sys\nfrom inceptory.cli import main\n"
        "assert main(['compare', *sys.argv[1:3], '--out', sys.argv[3], '--json']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    words = [sys.executable, "-c", script, *runs, str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [one["name"] for one in json.loads(done.stdout)["runs"]] == ["a", "b"]
