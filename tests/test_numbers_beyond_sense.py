"""Numbers and names that no computer can take end with 64, 66 or 74 and one line, and leave nothing."""

from __future__ import annotations

import json
import os

import pytest

from inceptory.cli import main
from inceptory.errors import InterruptedRun, MissingError, WriteError
from inceptory.system.files import exists, is_folder, of_the_system

BIG = str(10**30)
LONG = "n" * 300
TRAIN = ["--model", "cifar_inception_v1", "--width", "0.25"]


def refused(words: list[str], capsys) -> tuple[int, str]:
    code, told = main(words), capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert told.startswith("error: ")
    assert "internal" not in told
    return code, told


@pytest.mark.parametrize(
    "flag", ["batch", "accumulate", "image", "epochs", "patience", "stop-after", "seed", "workers"]
)
@pytest.mark.parametrize("number", [BIG, f"-{BIG}", "9" * 400, "1.5", "nan", "inf"])
def test_a_number_beyond_sense_is_64_and_leaves_no_folder(colours, tmp_path, capsys, flag, number):
    words = ["train", str(colours), *TRAIN, f"--{flag}={number}", "--out", str(tmp_path / "run")]
    assert refused(words, capsys)[0] == 64
    assert not (tmp_path / "run").exists()


def test_pictures_too_large_leave_no_folder(colours, tmp_path, capsys):
    words = ["train", str(colours), *TRAIN, "--image", "100000", "--out", str(tmp_path / "run")]
    assert "--image 100000: above 2,048" in refused(words, capsys)[1]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["check", LONG], 66),
        (["predict", LONG, "RED"], 66),
        (["predict", "RUN", LONG], 66),
        (["evaluate", LONG, "DATA"], 66),
        (["evaluate", "RUN", LONG], 66),
        (["evaluate", "RUN", "DATA", "--out", LONG], 74),
        (["verify", LONG], 66),
        (["convert", LONG, "x.pth", "--to", "timm"], 66),
        (["compare", LONG, "RUN"], 66),
        (["compare", "a\0b", "RUN"], 66),
        (["compare", "RUN", "RUN", "--out", LONG], 74),
        (["show", "xception", "--draw", f"{LONG}.svg"], 74),
        (["train", LONG, *TRAIN, "--out", "new"], 66),
        (["train", "DATA", *TRAIN, "--out", LONG], 74),
        (["train", "DATA", *TRAIN, "--recipe", f"{LONG}.toml", "--out", "new"], 66),
        (["train", "--resume", LONG], 66),
        (["demo", "--out", LONG], 74),
        (["reproduce", "cifar10", "--out", LONG], 74),
    ],
)
def test_names_that_no_system_takes_are_one_line(run, colours, tmp_path, monkeypatch, capsys, words, code):
    monkeypatch.chdir(tmp_path)
    known = {"RUN": run, "DATA": colours, "RED": colours / "red" / "0.png"}
    assert refused([str(known.get(word, word)) for word in words], capsys)[0] == code
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "null", '"x"', "", '{"format": 1}'])
@pytest.mark.parametrize("name", ["run.json", "metrics.json", "history.csv"])
def test_records_that_are_no_records_are_65(run, tmp_path, capsys, name, text):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    words = ["train", "--resume", str(tmp_path / "run")]
    assert refused(words, capsys)[0] == 65


ODD = [None, 5, -1, 10**30, "x", [], {}, True, 1.5, [[["a"]]]]


@pytest.mark.parametrize("key", ["data", "model", "variant", "recipe", "fingerprint", "layout", "workers", "finished"])
def test_a_record_with_values_of_other_kinds_is_65_or_taken(run, tmp_path, capsys, key):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    plain = json.loads((run / "run.json").read_text())
    refusals = 0
    for odd in ODD:
        (tmp_path / "run" / "run.json").write_text(json.dumps({**plain, key: odd}))
        code, told = main(["train", "--resume", str(tmp_path / "run"), "--lr", "0.9"]), capsys.readouterr().err
        assert code in (65, 78), told  # 78: another --lr than the run's
        assert "internal" not in told
        refusals += code == 65
    assert refusals >= 5


def test_a_deep_table_of_options_is_65(colours, tmp_path, capsys):
    (tmp_path / "deep.toml").write_text("drops = " + "[" * 100_000)
    words = ["train", str(colours), *TRAIN, "--recipe", str(tmp_path / "deep.toml"), "--out", str(tmp_path / "run")]
    assert refused(words, capsys)[0] == 65


def test_what_the_system_refuses_is_told_as_its_own():
    full = of_the_system(OSError(28, "No space left on device", "x"))
    assert isinstance(full, WriteError)
    assert str(full) == "x: no space left on device (make room, or look at the disk)"
    assert isinstance(of_the_system(PermissionError(13, "Permission denied", "y")), MissingError)
    assert isinstance(of_the_system(MemoryError()), InterruptedRun)
    assert isinstance(
        of_the_system(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")), InterruptedRun
    )
    assert of_the_system(RuntimeError("x")) is None
    assert of_the_system(ValueError("x")) is None


def test_whether_a_path_is_there_is_told_or_refused_in_one_line(tmp_path):
    (tmp_path / "f").write_text("x")
    assert exists(tmp_path / "f")
    assert not is_folder(tmp_path / "f")
    assert is_folder(tmp_path)
    assert not exists(tmp_path / "g")
    assert not exists(tmp_path / "f" / "g")
    assert not exists(tmp_path / "a\0b")
    with pytest.raises(MissingError, match="cannot be looked at"):
        exists(tmp_path / LONG)
