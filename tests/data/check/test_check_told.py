"""What `check` tells of its findings, in words, as a record and before a training, and that it only reads."""

from __future__ import annotations

import json
import os

import pytest

import inceptory
from inceptory.cli import main
from inceptory.data.check.check import cheap, check
from inceptory.data.check.findings import KINDS
from inceptory.data.sources.opening import open_source
from tests.data.check.test_duplicates import scene
from tests.data.checked import fill, found, kinds, put
from tests.data.pictures import encoded, noise
from tests.imports import loaded_by


def test_the_record_lists_every_file_of_every_finding(tmp_path, capsys):
    fill(tmp_path, "cat", "dog")
    copies = [put(tmp_path, f"cat/a{row}.png", encoded(scene(77))) for row in range(9)]
    assert main(["check", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"findings", "classes", "verdict"}
    assert record["classes"] == {"cat": {"train": 12}, "dog": {"train": 3}}
    assert record["verdict"] == "warnings"
    (finding,) = record["findings"]
    assert (finding["kind"], finding["files"], finding["grade"]) == ("same-file", copies, "warning")


def test_the_text_names_a_few_and_counts_the_rest(tmp_path):
    fill(tmp_path, "cat", "dog")
    for row in range(9):
        put(tmp_path, f"cat/a{row}.png", encoded(scene(77)))
    text = str(check(str(tmp_path)))
    assert "the same file twice: 9 files" in text
    assert text.count("/a") == 3
    assert "... and 6 more" in text
    assert text.endswith("with 1 warning (--strict would refuse them)")


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--strict"], 65), (["--strict", "--json"], 65)])
def test_the_command_prints_its_report_before_it_fails(tmp_path, capsys, words, code):
    fill(tmp_path, "cat", "dog")
    put(tmp_path, "cat/a.png", encoded(scene(1000)))
    assert main(["check", str(tmp_path), *words]) == code
    out, err = capsys.readouterr()
    assert ('"verdict": "warnings"' if "--json" in words else "verdict:") in out
    assert err.count("\n") == (code == 65)
    assert err.startswith("error: ") == (code == 65)


NAUGHTY = [
    "a\nb.png",
    "\x1b[31mred.png",
    "‮gpj.png",
    "=1+1.png",
    "<script>.png",
    "💥" * 60 + ".png",
    "%s%n.png",
    " .png",
]


@pytest.mark.skipif(os.name != "posix", reason="Windows forbids such names")
def test_naughty_names_are_shown_escaped_and_recorded_as_they_are(tmp_path, capsys):
    fill(tmp_path, "cat", "dog", count=40)
    names = [*NAUGHTY, "x" * 251 + ".png", os.fsdecode(b"\xff\xfe.png")]
    files = []
    for name in names:
        try:
            files.append(put(tmp_path, f"cat/{name}", encoded(scene(3))))
        except OSError:  # macOS takes valid Unicode only
            continue
    report = check(str(tmp_path))
    assert sorted(found(report, "same-file")[0]) == sorted(files)
    assert all(line.isprintable() for line in str(report).split("\n"))
    assert main(["check", str(tmp_path), "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["findings"][0]["files"]) == sorted(files)


def test_nothing_is_changed(tmp_path):
    fill(tmp_path, "cat", "dog")
    put(tmp_path, "cat/cut.png", encoded(noise(40, 40))[:300])

    def state():
        return {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in tmp_path.rglob("*")}

    before = state()
    check(str(tmp_path))
    assert state() == before


def test_the_cheap_part_decodes_nothing_and_tells_warnings(tmp_path, monkeypatch):
    fill(tmp_path, "train/cat", "train/dog", "test/dog")
    put(tmp_path, "train/eel/a.png", b"no picture")
    monkeypatch.setattr("inceptory.data.picture.decode.open_picture", lambda *a: pytest.fail("a picture was decoded"))
    lines = cheap(open_source(tmp_path))
    assert lines[0] == "3 classes of 1 to 3 training pictures"
    assert "test has no picture of 2 classes, 'cat', 'eel'" in lines[1]
    assert "one training picture only of 'eel'" in lines[2]
    assert len(lines) == 3


def test_the_command_imports_no_torch(tmp_path):
    fill(tmp_path, "cat", "dog")
    code = "from inceptory.cli import main\nassert main(['check', sys.argv[1], '--model', 'inception_v3']) == 0"
    assert "torch" not in loaded_by(code, str(tmp_path))


def test_the_function_is_public(tmp_path):
    fill(tmp_path, "cat", "dog")
    assert inceptory.check(str(tmp_path)) == check(str(tmp_path))
    assert all(grade in ("fault", "warning", "note") for grade, _ in KINDS.values())


@pytest.mark.slow
def test_ten_thousand_real_pictures_hold_near_duplicates_and_nothing_else(cifar10):
    report = check(str(cifar10 / "test.parquet"))
    assert kinds(report) == {"no-training", "near-duplicate"}
