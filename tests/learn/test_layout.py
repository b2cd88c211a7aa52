"""What is said about columns and folders, from the flag to the run's record and back."""

from __future__ import annotations

import json
import shlex

import pytest

import inceptory
from inceptory import Layout, Recipe, Variant
from inceptory.cli import application, main
from inceptory.learn.settings.command import train_command
from inceptory.learn.settings.job import Job
from tests.conftest import COLOURS, paint
from tests.learn.running import digests

SMALL = ["--model", "cifar_inception_v1", "--width", "0.25", "--epochs", "1", "--batch", "8", "--precision", "fp32"]


def words_of(data, out, *more):
    return ["train", str(data), "--out", str(out), *SMALL, "--no-tensorboard", *more]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of ids, breeds and folds: 24 pictures that lie in a folder beside it, without their endings."""
    root = tmp_path_factory.mktemp("kaggle")
    (root / "images").mkdir()
    lines = ["id,breed,fold"]
    for row in range(24):
        breed = list(COLOURS)[row % 3]
        paint(root / "images" / f"x{row}.jpg", COLOURS[breed], seed=row)
        lines.append(f"x{row},{breed},{row % 4}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root / "labels.csv"


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A run for which the label column had to be said, on the command line."""
    out = tmp_path_factory.mktemp("runs") / "breeds"
    assert main(words_of(table, out, "--label-column", "breed", "--path-column", "id")) == 0
    return out


def test_training_is_refused_until_the_label_column_is_said(table, tmp_path, capsys):
    assert main(words_of(table, tmp_path / "run")) == 65
    assert "the labels may stand in 'breed', 'fold' (say --label-column NAME)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_record_of_a_run_opens_the_same_data_again(trained, table):
    job = Job.read(trained)
    assert job.layout == Layout(label_column="breed", path_column="id")
    assert job.source().classes == ("blue", "green", "red")
    job.check_data(trained, job.source())
    assert json.loads((trained / "run.json").read_text())["layout"]["label_column"] == ["breed"]


def test_a_run_made_before_there_was_anything_to_say_is_still_read(trained, tmp_path):
    record = json.loads((trained / "run.json").read_text())
    del record["layout"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert Job.read(tmp_path).layout == Layout()


def test_the_command_of_a_run_says_it_again(trained):
    command = Job.read(trained).command
    assert "--path-column=id --label-column=breed" in command
    assert command in (trained / "report.html").read_text(encoding="utf-8")


def test_a_resumed_run_is_of_the_same_columns_and_no_others(trained, capsys):
    assert main(["train", "--resume", str(trained), "--label-column", "breed", "--path-column", "id"]) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert main(["train", "--resume", str(trained), "--label-column", "fold"]) == 78
    assert "--label-column breed, not fold" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_without_being_told_again(trained, table, tmp_path):
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inceptory.learn.fit.fit", lambda *_, **__: None)
        inceptory.train(
            str(table),
            model="cifar_inception_v1",
            out=out,
            variant=Variant(width=0.25),
            recipe=Recipe(epochs=1, batch=8, precision="fp32"),
            layout=Layout(label_column="breed"),
            tensorboard=False,
        )
    assert not (out / "model.safetensors").exists()
    inceptory.train(resume=out)
    assert digests(out) == digests(trained)


def test_evaluation_takes_the_same_flags_and_tells_how_it_read(trained, table, tmp_path, capsys):
    words = ["evaluate", str(trained), str(table)]
    assert main(words) == 65
    assert "say --label-column NAME" in capsys.readouterr().err
    assert main([*words, "--label-column", "breed", "--split", "train", "--out", str(tmp_path / "r.json")]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["n"] == len(Job.read(trained).source().split("train"))
    assert "labels from 'breed'" in capsys.readouterr().err
    metrics = inceptory.evaluate(trained, str(table), split="train", layout=Layout(label_column="breed"))
    assert metrics.to_json()["n"] == json.loads((tmp_path / "r.json").read_text())["n"]


def test_folders_that_are_classes_by_their_flag_are_trained_on(tmp_path, capsys):
    for row in range(12):
        name = ("train", "test")[row % 2]
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        paint(tmp_path / "photos" / name / f"{row}.png", list(COLOURS.values())[row % 2], seed=row)
    assert main(words_of(tmp_path / "photos", tmp_path / "run")) == 65
    assert "--split-folders on or off says which" in capsys.readouterr().err
    assert main(words_of(tmp_path / "photos", tmp_path / "run", "--split-folders", "off")) == 0
    job = Job.read(tmp_path / "run")
    assert job.source().classes == ("test", "train")
    assert "--split-folders=off" in job.command
    with pytest.raises(SystemExit):
        application()(["train", "--split-folders", "maybe"])


@pytest.mark.parametrize(
    "layout",
    [
        Layout(split_folders="on"),
        Layout(path_column="the path", label_column=["cat", "dog's", "--x"]),
        Layout(path_column="-p", label_column="品种"),
        Layout(),
    ],
    ids=str,
)
def test_the_line_is_read_back_as_what_was_said(layout):
    program, *words = shlex.split(train_command("photos", "xception", "x", Variant(), Recipe(), layout))
    _, bound, _ = application().parse_args(words, exit_on_error=False, print_error=False)
    assert bound.kwargs.get("layout", Layout()) == layout
    assert (program, len(words) > 6) == ("inceptory", layout != Layout())
