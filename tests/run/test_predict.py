"""Pictures in, ranked labels out."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

import inceptory
from inceptory.errors import ConfigError, DataError, MissingError, UsageError, WriteError


def test_pictures_get_their_labels_best_first(run: Path, colours: Path):
    found = inceptory.predict(run, colours / "red", top=2)
    assert len(found) == 24
    right = [one for one in found if one.labels[0] == "red"]
    assert len(right) >= 22
    for one in found:
        assert len(one.labels) == 2
        assert one.probabilities[0] >= one.probabilities[1]
        assert sum(one.probabilities) <= 1.0001


def test_probabilities_equal_the_networks_own(run: Path, colours: Path):
    import numpy as np
    import torch

    from inceptory.data.picture.decode import open_picture

    path = colours / "blue" / "3.png"
    net = inceptory.load(run / "model.safetensors")
    pixels = net.card.preprocess.pixels(open_picture(path, "x"))
    with torch.inference_mode():
        expected = net(torch.from_numpy(net.card.preprocess.values(np.stack([pixels])))).softmax(1)[0]
    (found,) = inceptory.predict(run, path, top=3)
    by_name = dict(zip(found.labels, found.probabilities, strict=True))
    for label, probability in zip(net.card.labels, expected.tolist(), strict=True):
        assert by_name[label] == pytest.approx(probability, abs=1e-5)


def test_folders_are_searched_and_more_classes_than_there_are_is_all_of_them(run: Path, colours: Path):
    found = inceptory.predict(run, colours, top=50)
    assert len(found) == 72
    assert all(len(one.labels) == 3 for one in found)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_answers_are_written_in_three_formats(run: Path, colours: Path, tmp_path: Path, ending: str):
    out = tmp_path / f"answers{ending}"
    found = inceptory.predict(run, colours / "red" / "0.png", colours / "blue" / "0.png", top=2, out=out)
    expected = [
        (one.picture, rank, label, pytest.approx(probability, abs=1e-6))
        for one in found
        for rank, (label, probability) in enumerate(zip(one.labels, one.probabilities, strict=True), 1)
    ]
    assert _rows(out) == expected


def _rows(out: Path) -> list[tuple[str, int, str, float]]:
    if out.suffix == ".jsonl":
        records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        return [
            (one["picture"], rank, label, probability)
            for one in records
            for rank, (label, probability) in enumerate(zip(one["labels"], one["probabilities"], strict=True), 1)
        ]
    if out.suffix == ".csv":
        with open(out, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(out).to_pylist()
    return [(row["picture"], int(row["rank"]), row["label"], float(row["probability"])) for row in rows]


@pytest.mark.parametrize("name", ["=1+1.png", "+1.png", "-1.png", "@SUM(A1).png"])
def test_a_name_that_a_spreadsheet_would_run_is_made_inert_in_csv_only(run, colours, tmp_path, monkeypatch, name):
    shutil.copy(colours / "red" / "0.png", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for ending, written in ((".csv", f"'{name}"), (".jsonl", name), (".parquet", name)):
        inceptory.predict(run, name, top=1, out=Path(f"out{ending}"))
        assert [row[0] for row in _rows(Path(f"out{ending}"))] == [written]


def test_a_name_that_is_not_utf8_comes_back_from_csv_and_jsonl_and_is_printable_in_parquet(run, colours, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(colours / "red" / "0.png", path)
    for ending in (".csv", ".jsonl", ".parquet"):
        inceptory.predict(run, path, top=1, out=tmp_path / f"out{ending}")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        (row,) = csv.DictReader(file)
    assert os.fsencode(row["picture"]) == os.fsencode(path)
    assert Path(json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))["picture"]).samefile(path)
    assert [row[0] for row in _rows(tmp_path / "out.parquet")] == [str(tmp_path / r"caf\udce9.png")]


def test_unreadable_pictures_are_named_counted_and_skipped(run: Path, colours: Path, tmp_path: Path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "good.png").write_bytes((colours / "red" / "1.png").read_bytes())
    found = inceptory.predict(run, tmp_path)
    assert [Path(one.picture).name for one in found] == ["good.png"]
    assert len(found.skipped) == 1
    told = capsys.readouterr().err
    assert "broken.jpg" in told
    assert "skipped 1 unreadable" in told


def test_when_no_picture_can_be_read_it_is_an_error(run: Path, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"1 of 1 pictures"):
        inceptory.predict(run, tmp_path / "broken.jpg")


def test_misuse_names_the_input_and_the_remedy(run: Path, colours: Path, tmp_path: Path):
    picture = colours / "red" / "0.png"
    with pytest.raises(MissingError, match="no such picture"):
        inceptory.predict(run, tmp_path / "nothing.jpg")
    with pytest.raises(MissingError, match="no such file"):
        inceptory.predict(tmp_path / "nothing.safetensors", picture)
    with pytest.raises(DataError, match=r"give \.safetensors"):
        inceptory.predict(picture, picture)
    with pytest.raises(UsageError, match="--top 0"):
        inceptory.predict(run, picture, top=0)
    with pytest.raises(UsageError, match="needs pictures"):
        inceptory.predict(run)
    with pytest.raises(UsageError, match="end it in"):
        inceptory.predict(run, picture, out=tmp_path / "x.txt")
    with pytest.raises(UsageError, match=r"a picture of the type bytes is not a path \(give files, or folders"):
        inceptory.predict(run, b"picture")
    with pytest.raises(DataError, match="empty folder"):
        inceptory.predict(run, tmp_path)


def test_a_fresh_network_knows_no_labels(tmp_path: Path, colours: Path):
    inceptory.save(inceptory.create("cifar_inception_v3", width=0.25), tmp_path / "fresh.safetensors")
    with pytest.raises(ConfigError, match="train it first"):
        inceptory.predict(tmp_path / "fresh.safetensors", colours)


def test_a_place_that_cannot_be_written_is_an_error(run: Path, colours: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError):
        inceptory.predict(run, colours / "red" / "0.png", out=tmp_path / "file" / "x.csv")
