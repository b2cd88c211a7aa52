"""Pictures copied into folders of their classes: never moved, nothing replaced."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import inceptory
from inceptory.cli import main
from inceptory.engines.opening import Wish
from inceptory.errors import UsageError, WriteError
from inceptory.run.predictions import Prediction
from inceptory.run.sort import copy, folder_names, sort_pictures


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(colours: Path, tmp_path: Path) -> Path:
    """Pictures of one name in two folders, one that cannot be read, one that lies alone."""
    place = tmp_path / "photos"
    for folder, colour, name in (("a", "red", "0.png"), ("b", "red", "1.png"), ("b", "blue", "2.png")):
        (place / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(colours / colour / name, place / folder / ("same.png" if colour == "red" else name))
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return place


# The command


def test_each_picture_is_copied_into_the_folder_of_its_class(run, photos, tmp_path, capsys):
    before, out = tree(photos), tmp_path / "sorted"
    words = ["predict", str(run), str(photos), "--sort-into", str(out), "--unsure", "0"]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "broken.jpg" in told
    assert f"sorted 3 pictures into {out}: red 2, blue 1" in told
    expected = {"red/same.png": "a/same.png", "red/same-2.png": "b/same.png", "blue/2.png": "b/2.png"}
    assert tree(out) == {name: before[of] for name, of in expected.items()}
    assert tree(photos) == before
    # Again, into what is there already.
    assert main(words) == 0
    assert "(3 were there already)" in capsys.readouterr().err
    assert tree(out) == {name: before[of] for name, of in expected.items()}


def test_what_is_not_sure_lies_apart(run, photos, tmp_path):
    for unsure, folders in ((1.0, {"unsure"}), (0.0, {"red", "blue"})):
        out = tmp_path / f"sorted-{unsure}"
        inceptory.predict(run, photos, sort_into=out, unsure=unsure, top=3)
        assert {path.name for path in out.iterdir()} == folders


def test_of_a_multi_label_checkpoint_a_picture_lies_in_each_of_its_classes(run, photos, tmp_path, monkeypatch):
    from inceptory.run.predict import open_engine as real

    found = [
        Prediction(str(photos / "a" / "same.png"), ("red", "green"), (0.9, 0.6)),
        Prediction(str(photos / "b" / "same.png"), ("red",), (0.7,)),
        Prediction(str(photos / "b" / "2.png"), (), ()),
    ]

    def several(*given, **more):
        engine, _ = real(given[0], Wish("torch"), **more)
        return replace(engine, multi_label=True), ""

    monkeypatch.setattr("inceptory.run.predict._Answering.of", lambda *_: found)
    monkeypatch.setattr("inceptory.run.predict.open_engine", several)
    inceptory.predict(run, photos, sort_into=tmp_path / "sorted", unsure=0.8)
    assert sorted(tree(tmp_path / "sorted")) == ["red/same.png", "unsure/2.png", "unsure/same.png"]
    inceptory.predict(run, photos, sort_into=tmp_path / "again")
    assert sorted(tree(tmp_path / "again")) == ["green/same.png", "red/same-2.png", "red/same.png", "unsure/2.png"]


def test_a_place_that_would_be_searched_or_cannot_be_written_is_told_before_the_work(
    run, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr("inceptory.run.predict.open_engine", lambda *_, **__: pytest.fail("the work must not begin"))
    before = tree(photos)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to(photos / "a")
    for inside in (photos, photos / "sorted", photos / "a" / "b" / "c", tmp_path / "link"):
        with pytest.raises(UsageError, match=r"--sort-into .*: lies in .*, which is searched for pictures"):
            inceptory.predict(run, photos, sort_into=inside)
    with pytest.raises(WriteError, match="cannot be written"):
        inceptory.predict(run, photos, sort_into=tmp_path / "file" / "sorted")
    for unsure in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError, match=r"--unsure .*: out of range \(0 to 1\)"):
            inceptory.predict(run, photos, sort_into=tmp_path / "sorted", unsure=unsure)
    assert tree(photos) == before
    assert not (tmp_path / "sorted").exists()


def test_what_was_unsure_can_be_sorted_again(run, photos, tmp_path):
    out = tmp_path / "sorted"
    inceptory.predict(run, photos, sort_into=out, unsure=1.0)
    inceptory.predict(run, out / "unsure", sort_into=out, unsure=0.0)
    assert {path.name for path in out.iterdir()} == {"unsure", "red", "blue"}
    assert len(tree(out)) == 6


def test_where_no_picture_can_be_read_no_folder_is_left(run, photos, tmp_path, capsys):
    assert main(["predict", str(run), str(photos / "broken.jpg"), "--sort-into", str(tmp_path / "sorted")]) == 65
    assert not (tmp_path / "sorted").exists()


# Copying


def test_a_full_disk_ends_with_one_line_and_what_was_copied_stays(run, photos, tmp_path, monkeypatch, capsys):
    from inceptory.system.files import Pending

    real, written = Pending.write, []

    def full(self: Pending, data: bytes) -> None:
        written.append(self.path)
        if len(written) == 3:
            real(self, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, data)

    monkeypatch.setattr(Pending, "write", full)
    out = tmp_path / "sorted"
    assert main(["predict", str(run), str(photos), "--sort-into", str(out), "--unsure", "0"]) == 74
    told = capsys.readouterr().err.splitlines()[-1]
    assert "no space left on device" in told
    assert "(make room or choose another place)" in told
    assert len(tree(out)) == 2, "neither a part of the third nor an empty file"
    assert all(content in tree(photos).values() for content in tree(out).values())


def test_nothing_that_is_there_is_replaced_whatever_it_is(photos, tmp_path):
    place, picture = tmp_path / "red", photos / "a" / "same.png"
    place.mkdir()
    (place / "same.png").write_bytes(b"mine")
    (place / "same-2.png").mkdir()
    (place / "same-3.png").symlink_to(tmp_path / "nothing")
    (place / "same-4.png").write_bytes(bytes(picture.stat().st_size))
    assert copy(picture, place)
    assert (place / "same-5.png").read_bytes() == picture.read_bytes()
    assert (place / "same.png").read_bytes() == b"mine"
    assert not (tmp_path / "nothing").exists()
    assert not copy(picture, place)
    assert len([*place.iterdir()]) == 5


def test_a_copy_keeps_the_time_of_its_picture(photos, tmp_path):
    os.utime(photos / "a" / "same.png", ns=(10**18, 10**18))
    copy(photos / "a" / "same.png", tmp_path / "red")
    assert (tmp_path / "red" / "same.png").stat().st_mtime_ns == 10**18


def test_a_file_where_a_folder_must_be_is_one_line(photos, tmp_path):
    (tmp_path / "red").write_text("mine")
    with pytest.raises(WriteError, match="is no folder"):
        copy(photos / "a" / "same.png", tmp_path / "red")
    assert (tmp_path / "red").read_text() == "mine"


# Names of folders


def test_a_class_becomes_a_folder_that_any_system_can_have():
    labels = ["a/b", "a_b", "Unsure", "..", "", "con", "LPT1.x", "a\0\n", " cat. ", "Dog", "dog", "żółw", "x" * 300]
    names = folder_names(labels)
    assert [*names] != labels
    assert [names[label] for label in labels] == [
        *("a_b-2", "a_b", "Unsure-2", "_", "_-2", "_con", "_LPT1.x", "a__", "cat", "Dog", "dog-2", "żółw", "x" * 200)
    ]
    assert [*folder_names(["\ud800", "\udce9"]).values()] == ["_", "_-2"]
    assert folder_names(["unsure", "unsure-2"]) == {"unsure-2": "unsure-2", "unsure": "unsure-3"}


def test_what_a_class_is_called_there_is_told(photos, tmp_path):
    labels = ["n/a", "unsure", "cat"]
    given = [(str(photos / "a" / "same.png"), ["n/a"], [0.9]), (str(photos / "b" / "2.png"), ["unsure"], [0.9])]
    told = sort_pictures(given, 2, labels, tmp_path / "sorted", 0.5).splitlines()
    assert told[:2] == ["class 'n/a' is in the folder n_a", "class 'unsure' is in the folder unsure-2"]
    assert told[2:] == [f"sorted 2 pictures into {tmp_path / 'sorted'}: n_a 1, unsure-2 1"]
    assert sorted(tree(tmp_path / "sorted")) == ["n_a/same.png", "unsure-2/2.png"]


def test_a_probability_that_is_no_number_is_not_sure(photos, tmp_path):
    sort_pictures([(str(photos / "b" / "2.png"), ["cat"], [float("nan")])], 1, ["cat"], tmp_path / "sorted", 0.0)
    assert sorted(tree(tmp_path / "sorted")) == ["unsure/2.png"]
