"""Labels of several classes a picture, on their way from tables and tars to batches and findings."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from inceptory.data.check.check import cheap, check, counts
from inceptory.data.check.survey import corrupt_classes
from inceptory.data.feed.feed import InMemory, Stream
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.labels import cell_of, combinations, hides, per_class, showing, shown, stratified
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.source import Split
from inceptory.errors import DataError
from tests.data.check.test_duplicates import scene
from tests.data.pictures import encoded, noise
from tests.data.sources.tars.test_tars import PICTURES, examples, tar
from tests.data.sources.test_tables import refused, table

LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 0, 1]], dtype=np.uint8)


def sets(source, split="train"):
    part = source.split(split)
    return [{source.classes[label] for label in shown(part.labels, row)} for row in range(len(part))]


# One row


SAID = [
    (3, 3),
    ("cat", "cat"),
    (np.int16(3), 3),
    (np.str_("cat"), "cat"),
    (2.0, 2),
    (np.float32(2), 2),
    (True, 1),
    (np.False_, 0),
    (None, None),
    (float("nan"), None),
    (np.float64("nan"), None),
    (torch.tensor(3), 3),
    ([], ()),
    ([2, 0], (2, 0)),
    ((2.0, np.int8(0)), (2, 0)),
    (np.array([2, 0]), (2, 0)),
    (torch.tensor([2, 0]), (2, 0)),
    (["cat", "dog", "cat"], ("cat", "dog", "cat")),
]


@pytest.mark.parametrize(("value", "cell"), SAID, ids=repr)
def test_a_row_says_what_it_holds_whatever_its_type(value, cell):
    found = cell_of(value)
    assert found == cell
    assert {type(one) for one in (found if isinstance(found, tuple) else (found,))} <= {int, str, type(None)}


@pytest.mark.parametrize(
    "value", [0.5, float("inf"), b"cat", {"a": 1}, [1, None], [[1]], [1.5], [float("nan")]], ids=repr
)
def test_what_is_no_label_is_refused_in_words(value):
    with pytest.raises(ValueError, match=r"^has the label .* \(labels are whole numbers or words\)$"):
        cell_of(value)


@pytest.mark.parametrize("value", [[0, 1, 0, 1], [1, 1], [1.0, 0.0, 0.0], [True, False], np.eye(3)[0]], ids=repr)
def test_a_row_with_0_or_1_for_every_class_is_no_list_of_numbers(value):
    with pytest.raises(
        ValueError, match=r"\(give the numbers of its classes, each once, not 0 or 1 for every class\)$"
    ):
        cell_of(value)


@pytest.mark.parametrize(
    ("splits", "named", "expected"),
    [
        ([{-1, 1}], False, False),
        ([{-1, 1}], True, True),
        ([{-1, 0, 1}], False, True),
        ([{1, 2}, {-1}], False, True),
        ([{"-1", "0"}], False, False),
    ],
)
def test_minus_one_hides_where_it_cannot_be_a_class(splits, named, expected):
    assert hides(splits, named=named) == expected


# Reading


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,dog|cat\nb.png,\nsub/c.png,cat\n",
        "path,label\na.png, cat | dog \nb.png,|\nsub/c.png,cat|\n",
        "path;label\na.png;cat|dog|cat\nb.png;\nsub/c.png;cat\n",
    ],
    ids=["plain", "blanks", "twice"],
)
def test_cells_of_several_names_and_of_none_are_read(tmp_path, text):
    source = open_source(table(tmp_path, text))
    assert source.multi_label
    assert source.classes == ("cat", "dog")
    assert sets(source) == [{"cat", "dog"}, set(), {"cat"}]
    assert source.split("train").labels.dtype == np.uint8


def test_one_joined_cell_makes_every_split_multi_label(tmp_path):
    text = "path,label,split\na.png,dog,train\nb.png,cat|dog,train\nsub/c.png,,test\n"
    source = open_source(table(tmp_path, text))
    assert sets(source, "test") == [set()]
    assert any("test has no picture of 2 classes, 'cat', 'dog'" in line for line in cheap(source))


def test_without_a_joined_cell_nothing_changes_and_an_empty_one_is_a_fault(tmp_path):
    source = open_source(table(tmp_path, "a.png,dog\nb.png,cat\n"))
    assert not source.multi_label
    assert source.split("train").labels.tolist() == [1, 0]
    assert "line 2 has no label" in refused(table(tmp_path, "a.png,dog\nb.png,\nsub/c.png,\n"))


def test_why_several_classes_are_meant_is_told_once(tmp_path):
    joined = open_source(table(tmp_path, "path,label\na.png,dog|cat\nb.png,\nsub/c.png,cat\n"))
    assert joined.notes == ('labels are joined by "|", so that a picture may show several classes',)
    assert cheap(joined)[1:3] == [*joined.notes, "multi-label: 1.0 classes a picture, none in 1"]
    columns = open_source(table(tmp_path, "path,dog,cat\na.png,1,1\nb.png,0,0\nsub/c.png,1,0\n"))
    assert columns.notes == ("labels from 2 columns of 0 and 1",)
    lists = [{"label": ["dog", "cat"]}, {"label": []}]
    tars = open_source(tar(tmp_path / "a.tar", examples(lists, "json")))
    assert tars.notes == ("labels are lists, so that a picture may show several classes",)


@pytest.mark.parametrize("word", ["labels", "classes", "label"])
def test_lists_in_json_are_read(tmp_path, word):
    told = [{word: ["dog", "cat"]}, {word: []}, {"label": "fox"}]
    source = open_source(tar(tmp_path / "a.tar", examples(told, "json")))
    assert source.classes == ("cat", "dog", "fox")
    assert sets(source) == [{"cat", "dog"}, set(), {"fox"}]
    assert list(source.split("train").pictures) == PICTURES[:3]


def test_numbers_in_lists_are_named_by_classes_txt(tmp_path):
    entries = [("classes.txt", b"dog\ncat\nfox\n"), *examples([{"labels": [2, 0]}, {"labels": [1]}], "json")]
    source = open_source(tar(tmp_path / "a.tar", entries))
    assert source.classes == ("dog", "cat", "fox")
    assert sets(source) == [{"dog", "fox"}, {"cat"}]


@pytest.mark.parametrize("told", [{"labels": [1, None]}, {"labels": [["a"]]}, {"labels": [True]}], ids=str)
def test_lists_of_other_things_are_refused(tmp_path, told):
    assert "has the label" in refused(tar(tmp_path / "a.tar", examples([told], "json")))


def test_lists_of_words_and_numbers_are_refused(tmp_path):
    assert "some labels are words" in refused(tar(tmp_path / "a.tar", examples([{"labels": [1, "a"]}], "json")))


# What they say


def test_pictures_of_a_class_and_classes_of_a_picture():
    assert per_class(LABELS).tolist() == [2, 1, 3]
    assert showing(LABELS, 0).tolist() == [True, False, False, True]
    assert [shown(LABELS, row) for row in range(4)] == [[0, 2], [], [1, 2], [0, 2]]
    codes = combinations(LABELS)
    assert [int(code) for code in codes == codes[0]] == [1, 0, 0, 1]
    assert len(set(codes.tolist())) == 3


def test_a_class_with_too_many_damaged_pictures_is_named():
    damaged = np.array([False, False, True, False])
    assert corrupt_classes(LABELS, damaged) == [1, 2]
    assert corrupt_classes(LABELS, np.array([False, True, False, False])) == [], "of no class"


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_cut_holds_out_its_share_of_every_class_and_of_none(fraction):
    random = np.random.default_rng(0)
    labels = (random.random((600, 5)) < [0.02, 0.1, 0.2, 0.3, 0.4]).astype(np.uint8)
    held = stratified(labels, fraction, 0)
    every, cut = per_class(labels), per_class(labels[held])
    assert (cut >= 1).all()
    assert (cut < every).all()
    assert np.abs(cut / every - fraction).max() < 0.12
    none = ~labels.any(1)
    assert held[none].mean() == pytest.approx(fraction, abs=0.01)
    assert (held == stratified(labels, fraction, 0)).all()


def test_a_class_of_one_picture_stays_in_training_and_is_told(tmp_path):
    files = [f"{row}.png" for row in range(8)]
    text = "".join(f"{file},{label}\n" for file, label in zip(files, ["a|b", *["b"] * 4, *[""] * 3], strict=True))
    source = open_source(table(tmp_path, text, files=files))
    assert any("one training picture only of 'a'" in line for line in cheap(source))
    assert source.with_validation(0.5).split("train").labels[:, 0].sum() == 1


def test_the_fingerprint_knows_the_classes_of_each_picture(tmp_path):
    prints = {
        open_source(table(tmp_path, f"a.png,dog|cat\nb.png,{last}\n")).fingerprint() for last in ("dog", "cat", "")
    }
    assert len(prints) == 3


# Batches


STEPS = Preprocess(size=4, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("kind", [InMemory, Stream])
def test_batches_carry_a_row_of_classes_for_each_picture(kind):
    pictures = [encoded(noise(4, 4, seed=seed)) for seed in range(4)]
    workers = {} if kind is InMemory else {"workers": 0}
    found = kind(Split(pictures, LABELS, list("abcd")), ("x", "y", "z"), STEPS, **workers)
    (batch,) = found.batches([torch.tensor([2, 0])])
    assert batch.labels.tolist() == [[0, 1, 1], [1, 0, 1]]
    found.close()


@pytest.mark.parametrize("kind", [InMemory, Stream])
def test_the_last_picture_of_a_class_must_be_readable(kind):
    pictures = [encoded(noise(4, 4, seed=seed)) for seed in range(4)]
    pictures[2] = b"text"
    workers = {} if kind is InMemory else {"workers": 0}
    with pytest.raises(DataError, match="class 'y': "):
        list(kind(Split(pictures, LABELS, list("abcd")), ("x", "y", "z"), STEPS, **workers).batches([torch.arange(4)]))


# Looking over


def test_check_counts_classes_and_finds_copies_with_other_labels(tmp_path):
    for row in range(6):
        (tmp_path / f"{row}.png").write_bytes(encoded(scene(row, 48)))
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "same.png").write_bytes((tmp_path / "1.png").read_bytes())
    lines = ["0.png,a|b", "1.png,b|a", "2.png,a", "3.png,b", "4.png,", "5.png,c|a", "copy.png,a", "same.png,a|b"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    assert counts(open_source(tmp_path / "t.csv")) == {"a": {"train": 6}, "b": {"train": 4}, "c": {"train": 1}}
    report = check(str(tmp_path / "t.csv"))
    told = {finding.kind: [file.rpartition("/")[2] for file in finding.files] for finding in report.findings}
    assert told["two-labels"] == ["0.png", "copy.png"], "1.png and same.png agree"
    assert told["one-picture-class"] == ["5.png"]
    assert report.verdict == "warnings"
    assert "1.4 classes a picture, none in 1" in str(report)
    assert "t.csv: 3 classes, 8 pictures" in str(report)
    assert re.search(r"^  all +8$", str(report), re.MULTILINE), "not the sum over the classes"


def test_copies_of_pictures_of_none_are_told_without_a_class(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.png").write_bytes(encoded(scene({"a": 0, "b": 0, "c": 1, "d": 2}[name], 48)))
    (tmp_path / "t.csv").write_text("a.png,\nb.png,\nc.png,x|y\nd.png,x|y\n")
    (found,) = (one for one in check(str(tmp_path / "t.csv")).findings if one.kind == "same-file")
    assert found.message == "2 copies of one file, in train (keep one)"
