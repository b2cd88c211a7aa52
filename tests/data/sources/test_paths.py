"""Paths that no system takes, wherever a command meets them: one line and 66, or 65 for what a file holds."""

from __future__ import annotations

import os

import pytest

from inceptory.cli import main
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.tars.source import open_files
from inceptory.errors import DataError, MissingError
from inceptory.system.files import is_file, is_folder
from tests.data.pictures import encoded, noise
from tests.data.sources.tars.test_tars import tar

LONG = "x" * 300


@pytest.mark.parametrize("end", ["", ".csv", ".parquet", ".tar", "-*.tar", "/a.csv", "/train-*.tar", "/a"])
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_name_that_is_too_long_is_missing(tmp_path, capsys, command, end):
    options = ["--model", "googlenet", "--out", str(tmp_path / "run")] if command == "train" else []
    assert main([command, str(tmp_path / (LONG + end)), *options]) == 66
    told = capsys.readouterr().err.strip().split("\n")
    assert told[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", [0, 1])
def test_a_path_in_a_table_that_is_too_long_is_a_picture_that_is_not_there(tmp_path, where):
    (tmp_path / "a.png").write_bytes(encoded(noise(8, 8)))
    rows = [f"{LONG}.png,cat", "a.png,dog", "a.png,cat"]
    rows[0], rows[where] = rows[where], rows[0]
    (tmp_path / "a.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    assert len(open_source(tmp_path / "a.csv").split("train")) == 3


def test_a_table_of_such_paths_alone_is_missing(tmp_path):
    (tmp_path / "a.csv").write_text(f"path,label\n{LONG}.png,cat\n{LONG}.jpg,dog\n")
    with pytest.raises(MissingError, match=r"a\.csv: names"):
        open_source(tmp_path / "a.csv")


def test_a_folder_that_may_not_be_entered_is_missing(tmp_path, monkeypatch, capsys):
    plain = os.stat

    def closed(path, *given, **named):
        if str(path).startswith(str(tmp_path / "closed")):
            raise PermissionError(13, "Permission denied")
        return plain(path, *given, **named)

    monkeypatch.setattr(os, "stat", closed)
    for ask in (is_file, is_folder):
        with pytest.raises(MissingError, match="cannot be looked at, permission denied"):
            ask(tmp_path / "closed" / "a")
    for name in ("closed", "closed/a.csv", "closed/a.tar", "closed/a-*.tar"):
        assert main(["check", str(tmp_path / name)]) == 66
    monkeypatch.setenv("INCEPTORY_DATA", str(tmp_path / "closed"))
    for name in ("cifar10", "fashion-mnist"):
        assert main(["check", name]) == 66
        assert "permission denied" in capsys.readouterr().err


def test_a_folder_of_data_below_a_person_who_is_not_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("INCEPTORY_DATA", "~nobody-of-this-name")
    monkeypatch.setenv("INCEPTORY_OFFLINE", "1")
    with pytest.raises(MissingError):
        open_source("cifar10")


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have pipes among files")
@pytest.mark.parametrize("ending", ["tar", "parquet"])
def test_a_pipe_among_shards_is_refused_and_not_waited_for(tmp_path, ending):
    os.mkfifo(tmp_path / f"a.{ending}")
    with pytest.raises(MissingError, match="not a regular file"):
        open_source(tmp_path)


@pytest.mark.parametrize("ask", [is_file, is_folder])
def test_links_in_a_circle_and_names_with_a_nul_lead_to_nothing(tmp_path, ask):
    (tmp_path / "a").symlink_to(tmp_path / "a")
    assert not ask(tmp_path / "a")
    assert not ask("a\0b")


def test_json_too_deep_to_be_read_is_told(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.json", b"[" * 100_000)])
    with pytest.raises(DataError, match=r"1\.json is not JSON"):
        open_files(path, [path])
