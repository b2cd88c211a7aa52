"""What commands write to: their own files again without a word, nothing else without --force, an input never."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inceptory.cli import main
from inceptory.learn.verbs import WRITTEN


@pytest.fixture
def place(run: Path, colours: Path, tmp_path: Path) -> Path:
    """A copy of a run's model and of some pictures, to be destroyed."""
    for name in ("model.safetensors", "metrics.json", "history.csv"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(run / name, tmp_path / "run" / name)
    shutil.copytree(colours, tmp_path / "data")
    return tmp_path


def commands(place: Path, out: Path | str) -> dict[str, list[str]]:
    """Each command that writes to a file of one's choice, with its --out."""
    model, data, red = str(place / "run"), str(place / "data"), str(place / "data" / "red" / "0.png")
    return {
        "predict": ["predict", model, red, "--out", str(out)],
        "evaluate": ["evaluate", model, data, "--out", str(out)],
        "check": ["check", data, "--from", model, "--out", str(out)],
        "show": ["show", "cifar_inception_v1", "--draw", str(out)],
        "convert": ["convert", str(place / "run" / "model.safetensors"), str(out), "--to", "keras"],
    }


NAMES = [
    ("predict", "out.csv"),
    ("predict", "out.jsonl"),
    ("predict", "out.parquet"),
    ("evaluate", "out.json"),
    ("show", "out.svg"),
    ("check", "out.html"),
]


@pytest.mark.parametrize(("command", "name"), NAMES)
@pytest.mark.slow
def test_a_line_that_is_run_again_replaces_its_own_file(place, command, name, capsys):
    out = place / name
    assert main(commands(place, out)[command]) == 0
    first = out.read_bytes()
    out.write_bytes(first + b"\n")  # what follows is the user's, or a part that was cut off
    if name.endswith("parquet"):
        out.write_bytes(first)
    assert main(commands(place, out)[command]) == 0
    assert out.read_bytes() == first
    assert "exists" not in capsys.readouterr().err


@pytest.mark.parametrize(("command", "name"), [*NAMES, ("convert", "out.h5")])
@pytest.mark.slow
def test_a_file_of_another_kind_is_kept_without_force(place, command, name, capsys):
    out = place / name
    out.write_text("mine, and of years of work\n")
    words = commands(place, out)[command]
    assert main(words) == 78
    assert out.read_text() == "mine, and of years of work\n"
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--force to replace it" in told
    assert main([*words, "--force"]) in ((0, 65) if command == "convert" else (0,))


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["plain", "forced"])
def test_what_a_command_reads_is_never_replaced(place, force, capsys):
    model, picture = place / "run" / "model.safetensors", place / "data" / "red" / "0.png"
    before = {path: path.read_bytes() for path in (model, picture)}
    for words in (
        ["predict", str(place / "run"), str(picture), "--out", str(model), "--format", "csv"],
        ["predict", str(place / "run"), str(picture), "--out", str(picture), "--format", "jsonl"],
        ["predict", str(place / "run"), str(place / "data"), "--out", str(picture), "--format", "csv"],
        ["evaluate", str(place / "run"), str(place / "data"), "--out", str(model)],
        ["evaluate", str(place / "run"), str(place / "data"), "--out", str(picture)],
        ["convert", str(model), str(model), "--to", "timm"],
        ["check", str(place / "data"), "--from", str(place / "run"), "--out", str(model)],
        ["check", str(place / "data"), "--from", str(place / "run"), "--out", str(picture)],
    ):
        assert main([*words, *force]) == 64, words
        assert "(choose another name)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (model, picture)} == before


def test_a_runs_own_metrics_are_not_those_that_evaluate_writes(place):
    before = (place / "run" / "metrics.json").read_bytes()
    assert main(commands(place, place / "run" / "metrics.json")["evaluate"]) == 78
    assert (place / "run" / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("name", WRITTEN)
def test_a_run_replaces_nothing_that_lies_in_its_folder(place, name, capsys):
    (place / "data" / name).write_text("mine")
    words = ["train", str(place / "data"), "--model", "cifar_inception_v1", "--out", str(place / "data")]
    assert main(words) == 78
    assert "a run would replace it" in capsys.readouterr().err
    assert (place / "data" / name).read_text() == "mine"


def test_what_a_run_leaves_is_what_it_would_replace(run):
    left = {path.name for path in run.iterdir() if path.is_file()} - {"run.json", "history.csv"}
    assert left == set(WRITTEN)


@pytest.mark.parametrize("name", ["compare.csv", "compare.png", "compare.html"])
def test_a_comparison_replaces_itself_and_no_file_of_another(place, name, capsys):
    words = ["compare", str(place / "run"), str(place / "run"), "--out", str(place / "c")]
    assert main(words) == 0
    assert main(words) == 0
    (place / "c" / name).write_text("mine")
    others = {path: path.stat().st_mtime_ns for path in (place / "c").iterdir()}
    assert main(words) == 78
    assert {path: path.stat().st_mtime_ns for path in (place / "c").iterdir()} == others
    assert main([*words, "--force"]) == 0
    assert (place / "c" / name).read_bytes() != b"mine"


def test_tensors_that_convert_wrote_are_replaced_and_pytorchs_never(tmp_path, capsys):
    import inceptory

    inceptory.save(inceptory.create("googlenet", classes=2, aux=False), tmp_path / "own.safetensors")
    for name, again in (("there.safetensors", 0), ("there.pth", 78), ("own-2.safetensors", 78)):
        shutil.copy(tmp_path / "own.safetensors", tmp_path / "own-2.safetensors")
        words = ["convert", str(tmp_path / "own.safetensors"), str(tmp_path / name), "--to", "torchvision"]
        assert main(words) == (0 if name.startswith("there") else again)
        assert main(words) == again


def test_an_out_that_cannot_be_written_is_told_before_the_work(place, monkeypatch, capsys):
    monkeypatch.setattr("inceptory.engines.torch.torch_engine", lambda *_: pytest.fail("the work must not begin"))
    monkeypatch.setattr("inceptory.measure.evaluate.score", lambda *_: pytest.fail("the work must not begin"))
    (place / "file").write_text("x")
    for command, name in (("predict", "x.csv"), ("evaluate", "x.json")):
        assert main(commands(place, place / "file" / name)[command]) == 74
        assert "cannot be written" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="/dev/stdout is of POSIX")
def test_standard_output_takes_a_file_and_nothing_else(place):
    words = [*commands(place, "/dev/stdout")["predict"], "--format", "csv"]
    done = subprocess.run([sys.executable, "-m", "inceptory", *words], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert set(rows[0]) == {"picture", "rank", "label", "probability"}


def test_a_name_without_an_ending_needs_a_format(place, capsys):
    words = commands(place, place / "answers")["predict"]
    assert main(words) == 64
    assert "end it in .csv, .jsonl, .parquet, or give --format" in capsys.readouterr().err
    assert main([*words, "--format", "jsonl"]) == 0
    assert (place / "answers").read_text().startswith('{"picture": ')
