"""Class folders, the cut of a validation split, the built-in digits, the fingerprint."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from inceptory.data.sources import source as sources
from inceptory.data.sources.folders.listing import Listing, natural
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.source import Source, Split, stratified
from inceptory.errors import ConfigError, DataError, MissingError

LINKS = pytest.mark.skipif(os.name != "posix", reason="links need a right on Windows")


def fill(root, *paths):
    """Make a file at each path; listing does not look inside."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def listed(source, split="train"):
    """(file name, class) of each picture, in order."""
    part = source.split(split)
    return [(path.name, source.classes[label]) for path, label in zip(part.pictures, part.labels, strict=True)]


def test_each_folder_is_a_class_of_the_training_split(tmp_path):
    fill(tmp_path, "cat/a.png", "cat/b.png", "dog/c.png")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert list(source.splits) == ["train"]
    assert listed(source) == [("a.png", "cat"), ("b.png", "cat"), ("c.png", "dog")]


def test_names_say_where_each_picture_lies(tmp_path):
    fill(tmp_path, "cat/a.png", "dog/c.png")
    assert open_source(str(tmp_path)).split("train").names == [
        str(tmp_path / "cat" / "a.png"),
        str(tmp_path / "dog" / "c.png"),
    ]


def test_labels_are_whole_numbers_of_64_bits(tmp_path):
    fill(tmp_path, "cat/a.png", "dog/c.png")
    assert open_source(tmp_path).split("train").labels.dtype == np.int64


def test_folders_train_val_and_test_are_splits_of_the_same_classes(tmp_path):
    fill(tmp_path, "train/cat/a", "train/dog/b", "val/cat/c", "val/dog/d", "test/dog/e", "test/cat/f")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert listed(source) == [("a", "cat"), ("b", "dog")]
    assert listed(source, "validation") == [("c", "cat"), ("d", "dog")]
    assert listed(source, "test") == [("f", "cat"), ("e", "dog")]


@pytest.mark.parametrize(
    ("folder", "split"),
    [("Train", "train"), ("training", "train"), ("valid", "validation"), ("Validation", "validation")],
)
def test_a_split_may_be_called_by_another_usual_name(tmp_path, folder, split):
    fill(tmp_path, f"{folder}/cat/a", f"{folder}/dog/b", "test/cat/c", "test/dog/d")
    assert listed(open_source(tmp_path), split) == [("a", "cat"), ("b", "dog")]


def test_two_folders_of_the_same_split_are_refused(tmp_path):
    fill(tmp_path, "train/cat/a", "train/dog/b", "val/cat/c", "val/dog/d", "validation/cat/e", "validation/dog/f")
    with pytest.raises(DataError, match="'val' and 'validation' both mean the validation split"):
        open_source(tmp_path)


def test_a_class_may_be_absent_from_the_test_split(tmp_path):
    fill(tmp_path, "train/cat/a", "train/dog/b", "test/dog/c")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert listed(source, "test") == [("c", "dog")]


def test_a_split_that_is_not_there_is_a_config_error_that_names_the_others(tmp_path):
    fill(tmp_path, "train/cat/a", "train/dog/b", "val/cat/c", "val/dog/d")
    with pytest.raises(ConfigError, match=r"has no split 'test' \(it has train, validation\)"):
        open_source(tmp_path).split("test")


def test_class_2_comes_before_class_10(tmp_path):
    fill(tmp_path, *(f"class{number}/a" for number in (10, 2, 1, 33, 4)))
    assert open_source(tmp_path).classes == ("class1", "class2", "class4", "class10", "class33")


def test_pictures_come_in_natural_order_too(tmp_path):
    fill(tmp_path, *(f"cat/{number}.png" for number in (10, 9, 100, 1)), "dog/a.png")
    names = [name for name, found in listed(open_source(tmp_path)) if found == "cat"]
    assert names == ["1.png", "9.png", "10.png", "100.png"]


@pytest.mark.parametrize("name", ["①", "10²", "½", "٣", "v1.10", "", "-", "狐1", "9" * 400], ids=ascii)
def test_every_name_has_a_place_in_the_order(name):
    forwards = [name, "a", "1", "class10", "class2"]
    backwards = forwards[::-1]
    assert sorted(forwards, key=natural) == sorted(backwards, key=natural)


@pytest.mark.parametrize("pair", [("1", "01"), ("a1b", "a001b"), ("٣", "3")], ids=ascii)
def test_two_names_of_the_same_number_have_one_order_wherever_they_start(pair):
    swapped = pair[::-1]
    assert sorted(pair, key=natural) == sorted(swapped, key=natural)


def test_hidden_files_and_what_systems_leave_behind_are_ignored(tmp_path):
    fill(tmp_path, "cat/a.png", "cat/.b.png", "cat/._a.png", "cat/Thumbs.db", "cat/desktop.ini", "dog/c.png")
    fill(tmp_path, ".git/x", "__MACOSX/cat/a.png", ".DS_Store", "cat/.cache/z.png")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert listed(source) == [("a.png", "cat"), ("c.png", "dog")]


def test_files_beside_the_class_folders_are_ignored(tmp_path):
    fill(tmp_path, "cat/a.png", "dog/c.png", "readme.txt", "labels.csv")
    assert open_source(tmp_path).classes == ("cat", "dog")


def test_folders_inside_a_class_belong_to_it(tmp_path):
    fill(tmp_path, "cat/a.png", "cat/indoors/b.png", "cat/indoors/night/c.png", "dog/d.png")
    assert sorted(listed(open_source(tmp_path))) == [
        ("a.png", "cat"),
        ("b.png", "cat"),
        ("c.png", "cat"),
        ("d.png", "dog"),
    ]


@LINKS
def test_a_link_to_a_folder_above_is_not_followed_for_ever(tmp_path):
    fill(tmp_path, "cat/a.png", "dog/c.png")
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    assert listed(open_source(tmp_path)) == [("a.png", "cat"), ("c.png", "dog")]


@LINKS
def test_a_class_folder_may_be_a_link(tmp_path):
    fill(tmp_path, "photos/cat/a.png", "elsewhere/b.png")
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere")
    assert listed(open_source(tmp_path / "photos")) == [("a.png", "cat"), ("b.png", "dog")]


def test_visible_entries_come_in_natural_order(tmp_path):
    fill(tmp_path, "b10", "b9", ".hidden", "a", "d10/1", "d9/1", "thumbs.db")
    assert list(Listing(tmp_path).folder().files) == ["a", "b9", "b10"]
    assert Listing(tmp_path).folders() == ["d9", "d10"]


def test_an_empty_class_is_a_data_error_with_its_path(tmp_path):
    fill(tmp_path, "cat/a.png", "dog/.hidden")
    with pytest.raises(DataError, match="class folder 'dog' is empty") as caught:
        open_source(tmp_path)
    assert str(tmp_path / "dog") in str(caught.value)


def test_an_empty_class_of_one_of_several_splits_is_told_with_the_split(tmp_path):
    fill(tmp_path, "train/cat/a", "train/dog/b", "test/cat/c")
    (tmp_path / "test" / "dog").mkdir()
    with pytest.raises(DataError, match="class folder 'dog' is empty") as caught:
        open_source(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "test" in str(caught.value).removeprefix(str(tmp_path))


def test_an_empty_class_of_the_only_split_is_told_with_a_path_that_exists(tmp_path):
    fill(tmp_path, "train/cat/a")
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    assert str(tmp_path / "train" / "dog") in str(caught.value)


@pytest.mark.parametrize("files", [(), ("a.png", "b.png")], ids=["empty", "pictures without folders"])
def test_a_folder_without_class_folders_is_a_data_error(tmp_path, files):
    fill(tmp_path, *files)
    with pytest.raises(DataError, match="holds no class folders") as caught:
        open_source(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize("name", ["nowhere", "x" * 300, "a\0b", "a\nb"], ids=["plain", "long", "NUL", "newline"])
def test_a_path_that_is_not_there_is_a_missing_error(tmp_path, name):
    with pytest.raises(MissingError) as caught:
        open_source(tmp_path / name)
    assert caught.value.exit_code == 66
    assert str(tmp_path) in str(caught.value)


def test_a_missing_path_hears_of_the_built_in_sets(tmp_path):
    with pytest.raises(MissingError, match=r"no such data .*built-in set: .*digits"):
        open_source(tmp_path / "nowhere")


def test_a_file_that_is_no_parquet_is_a_data_error(tmp_path):
    fill(tmp_path, "photos.zip")
    with pytest.raises(DataError, match=r"photos\.zip: not a data set"):
        open_source(tmp_path / "photos.zip")


LABELS = np.repeat(np.arange(5), [200, 50, 11, 2, 1])


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 0.5])
def test_a_stratified_cut_is_disjoint_and_complete(fraction):
    kept, held = stratified(LABELS, fraction)
    assert sorted([*kept, *held]) == list(range(len(LABELS)))


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2, 0.5])
def test_every_class_of_two_pictures_or_more_is_on_both_sides_of_the_cut(fraction):
    kept, held = stratified(LABELS, fraction)
    assert set(LABELS[kept]) == {0, 1, 2, 3, 4}
    assert set(LABELS[held]) == {0, 1, 2, 3}


def test_the_cut_takes_its_share_of_every_class():
    _, held = stratified(LABELS, 0.1)
    assert np.bincount(LABELS[held]).tolist() == [20, 5, 1, 1]


def test_a_class_of_one_picture_stays_in_training():
    kept, held = stratified(np.array([0, 1, 1, 1]), 0.5)
    assert 0 in kept
    assert 0 not in held


def test_the_cut_is_the_same_every_time_and_is_not_simply_the_beginning():
    first, second = (stratified(LABELS, 0.1)[1] for _ in range(2))
    assert np.array_equal(first, second)
    assert first[:20].tolist() != list(range(20))


def test_a_cut_of_nothing_holds_nothing_out():
    kept, held = stratified(LABELS, 0.0)
    assert len(kept) == len(LABELS)
    assert len(held) == 0


def test_a_validation_split_is_cut_from_training_where_there_is_none(tmp_path):
    fill(tmp_path, *(f"{name}/{number}" for name in ("cat", "dog") for number in range(10)))
    source = open_source(tmp_path)
    cut = source.with_validation(0.2)
    assert {name: len(split) for name, split in cut.splits.items()} == {"train": 16, "validation": 4}
    assert sorted(listed(cut) + listed(cut, "validation")) == sorted(listed(source))


def test_a_validation_split_that_exists_is_left_alone(tmp_path):
    fill(tmp_path, "train/cat/a", "train/dog/b", "val/cat/c", "val/dog/d")
    source = open_source(tmp_path)
    assert source.with_validation(0.5).splits == source.splits


def test_the_digits_are_1797_pictures_of_ten_classes():
    source = open_source("digits")
    assert source.classes == tuple("0123456789")
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 1438, "test": 359}
    for split in source.splits.values():
        assert {(picture.shape, str(picture.dtype)) for picture in split.pictures} == {((32, 32), "uint8")}
        assert set(split.labels) == set(range(10))


def test_no_digit_is_in_both_splits():
    splits = open_source("digits").splits
    assert not set(splits["train"].names) & set(splits["test"].names)


def test_the_digits_are_cut_in_the_same_way_for_ever():
    first, second = open_source("digits"), open_source("digits")
    assert first.fingerprint() == second.fingerprint()
    assert first.splits["test"].names[:4] == ["digits:5", "digits:9", "digits:12", "digits:14"]


def three() -> Source:
    labels = np.array([0, 1, 1])
    return Source("photos", ("cat", "dog"), {"train": Split([b"a", b"b", b"c"], labels, ["x", "y", "z"])})


def test_the_fingerprint_is_the_same_for_the_same_list():
    assert three().fingerprint() == three().fingerprint()
    assert len(three().fingerprint()) == 64


CHANGES = {
    "a label": lambda train: {"train": replace(train, labels=np.array([0, 0, 1]))},
    "a name": lambda train: {"train": replace(train, names=["x", "y", "w"])},
    "a picture less": lambda train: {"train": train.take(np.array([0, 1]))},
    "the order": lambda train: {"train": train.take(np.array([0, 2, 1]))},
    "a split": lambda train: {"test": train},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with(change):
    source = three()
    assert replace(source, splits=CHANGES[change](source.splits["train"])).fingerprint() != source.fingerprint()


def test_the_fingerprint_changes_with_the_order_of_the_classes():
    assert replace(three(), classes=("dog", "cat")).fingerprint() != three().fingerprint()


def test_the_fingerprint_takes_names_that_are_no_valid_text():
    train = replace(three().splits["train"], names=["x\udcff", "y", "z"])
    assert replace(three(), splits={"train": train}).fingerprint() != three().fingerprint()


def test_the_fingerprint_is_that_of_the_files_wherever_they_lie(tmp_path, monkeypatch):
    for place in ("here", "there"):
        fill(tmp_path / place, "cat/a", "cat/b", "dog/c")
    here, there = (open_source(tmp_path / place).fingerprint() for place in ("here", "there"))
    assert here == there
    monkeypatch.chdir(tmp_path)
    assert open_source("here").fingerprint() == here
    file = open_source(tmp_path / "here").split("train").pictures[0]
    file.write_bytes(b"another picture under the old name")
    assert open_source(tmp_path / "here").fingerprint() != here


def table(folder):
    """Paths from the table's folder."""
    fill(folder, "cat/a.png", "dog/b.png")
    (folder / "tab.csv").write_text("cat/a.png,cat\ndog/b.png,dog\n")
    return "tab.csv"


def table_of_one_folder(folder):
    """Pictures in the one folder beside the table."""
    fill(folder, "photos/a.png", "photos/b.png")
    (folder / "tab.tsv").write_text("a.png\tcat\nb.png\tdog\n")
    return "tab.tsv"


def pattern(folder):
    for label in ("0", "1"):
        with tarfile.open(folder / f"train-{label}.tar", "w") as out:
            for name, content in (("a.png", b"x"), ("a.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return "train-*.tar"


def class_folders(folder):
    fill(folder, "cat/a", "dog/c")
    return "."


@pytest.mark.parametrize("make", [table, table_of_one_folder, pattern, class_folders])
def test_the_fingerprint_is_the_same_however_the_path_is_written(tmp_path, monkeypatch, make):
    (tmp_path / "here").mkdir()
    name = make(tmp_path / "here")
    found = {open_source(tmp_path / "here" / name).fingerprint()}
    for folder in (tmp_path, tmp_path / "here", tmp_path / "here" / "cat"):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        found.add(open_source(os.path.relpath(tmp_path / "here" / name)).fingerprint())
    (tmp_path / "here").rename(tmp_path / "there")
    found.add(open_source(tmp_path / "there" / name).fingerprint())
    assert len(found) == 1


def test_the_fingerprint_of_a_table_with_whole_paths_is_one_too(tmp_path, monkeypatch):
    fill(tmp_path, "in/cat/a.png", "out/b.png")
    (tmp_path / "in" / "tab.csv").write_text(f"{tmp_path}/in/cat/a.png,cat\n{tmp_path}/out/b.png,dog\n")
    whole = open_source(tmp_path / "in" / "tab.csv").fingerprint()
    for folder in ("in", "out"):
        monkeypatch.chdir(tmp_path / folder)
        assert open_source(os.path.relpath(tmp_path / "in" / "tab.csv")).fingerprint() == whole


def test_a_long_fingerprint_is_that_of_all_names_joined(monkeypatch):
    whole = three().fingerprint()
    monkeypatch.setattr(sources, "CHUNK", 2)
    assert three().fingerprint() == whole


def test_rows_are_taken_in_the_order_asked_for():
    part = three().splits["train"].take(np.array([2, 0]))
    assert (part.pictures, part.labels.tolist(), part.names) == ([b"c", b"a"], [1, 0], ["z", "x"])
