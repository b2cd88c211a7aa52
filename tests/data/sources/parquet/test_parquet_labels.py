"""Labels of parquet files: hidden ones, several classes a picture, columns that must be said."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inceptory import Layout
from inceptory.cli import main
from inceptory.data.check.check import cheap
from inceptory.data.sources.labels import IN_LISTS
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError
from tests.data.parquet_files import PICTURES, refused, store, structs

# Labels that are hidden


def codes(source, split="train"):
    return source.split(split).labels.tolist()


def test_rows_of_hidden_labels_are_left_out_and_counted(tmp_path, capsys):
    path = store(tmp_path / "a.parquet", [1, -1, None, 0], names=["dog", "cat"])
    source = open_source(path)
    split = source.split("train")
    assert codes(source) == [1, 0]
    assert list(split.pictures) == [PICTURES[0], PICTURES[3]]
    assert list(split.names) == [f"{path}:0", f"{path}:3"]
    told = "train: 2 of 4 pictures are left out, for their labels are hidden (null or -1)"
    assert source.notes == (told,)
    assert told in cheap(source)
    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert told in out
    assert "2 classes, 2 pictures" in out


def test_a_split_of_hidden_labels_only_is_left_out_with_a_note(tmp_path):
    store(tmp_path / "train-00000-of-00001.parquet", [1, 0, 1, 0], names=["dog", "cat"])
    store(tmp_path / "test-00000-of-00001.parquet", [-1] * 4, names=["dog", "cat"])
    source = open_source(tmp_path)
    assert list(source.splits) == ["train"]
    assert source.notes == ("test: 4 of 4 pictures are left out, for their labels are hidden (null or -1)",)


@pytest.mark.parametrize("hidden", [pa.array([None] * 4, pa.int64()), pa.array([None] * 4), [-1] * 4], ids=str)
def test_a_data_set_of_hidden_labels_only_is_refused(tmp_path, hidden):
    assert "every label is hidden" in refused(store(tmp_path / "a.parquet", hidden, names=["dog", "cat"]))


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([0, 1, -1, 1], ("0", "1"), [0, 1, 1]),
        ([-1, 1, -1, 1], ("1", "-1"), [1, 0, 1, 0]),
        (["dog", None, "cat", "-1"], ("-1", "cat", "dog"), [2, 1, 0]),
    ],
    ids=["counted from 0", "two classes", "words"],
)
def test_without_names_minus_one_is_hidden_only_where_classes_are_counted_from_0(tmp_path, labels, classes, expected):
    source = open_source(store(tmp_path / "a.parquet", labels))
    assert source.classes == classes
    assert codes(source) == expected


def test_a_split_of_nothing_but_minus_one_is_hidden_however_classes_are_counted(tmp_path):
    store(tmp_path / "train.parquet", [1, 2, 1, 2])
    store(tmp_path / "test.parquet", [-1] * 4)
    source = open_source(tmp_path)
    assert (source.classes, list(source.splits)) == (("1", "2"), ["train"])


NAN = float("nan")


@pytest.mark.parametrize(
    ("labels", "names", "classes", "expected"),
    [
        ([1.0, 2.0, NAN, 1.0], None, ("1", "2"), [0, 1, 0]),
        ([1.0, 0.0, None, -1.0], ["dog", "cat"], ("dog", "cat"), [1, 0]),
        ([True, False, None, True], None, ("0", "1"), [1, 0, 1]),
    ],
    ids=["whole fractions", "whole fractions of named classes", "truths"],
)
def test_whole_fractions_and_truths_are_numbers_and_what_is_no_number_is_hidden(
    tmp_path, labels, names, classes, expected
):
    source = open_source(store(tmp_path / "a.parquet", labels, names=names))
    assert (source.classes, codes(source)) == (classes, expected)
    assert len(source.notes) == 1


def test_other_fractions_are_refused(tmp_path):
    told = refused(store(tmp_path / "a.parquet", [0.5, 1.0, 2.0, 1.0]))
    assert "row 0 has the label 0.5 (labels are whole numbers or words)" in told


# Several classes a picture


def listing(path, labels, feature, kind=None):
    """A file with a column of lists, described as the data sets library does."""
    table = pa.table({"image": structs(PICTURES), "label": pa.array(labels, kind or pa.list_(pa.int64()))})
    features = {"image": {"_type": "Image"}, "label": feature}
    table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
    pq.write_table(table, path)
    return path


NAMED = {"names": ["dog", "cat", "ape"], "_type": "ClassLabel"}
LISTS = {
    "Sequence": ({"feature": NAMED, "length": -1, "_type": "Sequence"}, pa.list_(pa.int64())),
    "List": ({"feature": NAMED, "_type": "List"}, pa.list_(pa.int64())),
    "LargeList": ({"feature": NAMED, "_type": "LargeList"}, pa.large_list(pa.int64())),
    "a bare list": ([NAMED], pa.list_(pa.int64())),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_named_classes_are_several_classes_a_picture(tmp_path, kind, capsys):
    feature, arrow = LISTS[kind]
    source = open_source(listing(tmp_path / "a.parquet", [[0, 2], [1], [], [2]], feature, arrow))
    assert source.classes == ("dog", "cat", "ape")
    assert source.multi_label
    assert codes(source) == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert source.split("train").labels.dtype == np.uint8
    assert source.notes == (IN_LISTS,)
    assert main(["check", str(tmp_path / "a.parquet")]) == 0
    assert "1.0 classes a picture, none in 1" in capsys.readouterr().out


def test_lists_of_fixed_length_are_lists(tmp_path):
    arrow = pa.list_(pa.int64(), 2)
    source = open_source(listing(tmp_path / "a.parquet", [[0, 2], [1, 0], [2, 0], [2, 1]], LISTS["List"][0], arrow))
    assert codes(source)[0] == [1, 0, 1]


@pytest.mark.parametrize(("hidden", "left"), [([-1], 1), (None, 1), ([], 0)], ids=["-1", "null", "no class"])
def test_a_hidden_list_is_left_out_and_an_empty_one_is_a_picture_of_no_class(tmp_path, hidden, left):
    source = open_source(listing(tmp_path / "a.parquet", [[0, 2], hidden, [1], [2]], LISTS["Sequence"][0]))
    assert len(source.split("train")) == 4 - left
    assert len(source.notes) == 1 + left


def test_a_label_in_a_list_outside_the_named_classes_is_a_data_error(tmp_path):
    path = listing(tmp_path / "a.parquet", [[0], [1, 3], [1], [2]], LISTS["List"][0])
    assert "a label lies outside the 3 named classes" in refused(path)


@pytest.mark.parametrize("names", [NAMED, {"_type": "Value"}], ids=["named", "plain"])
def test_rows_with_0_or_1_for_every_class_are_not_read_as_numbers(tmp_path, names):
    path = listing(tmp_path / "a.parquet", [[0], [0, 1, 1], [1], [0]], {"feature": names, "_type": "List"})
    assert "row 1 has the label [0, 1, 1] (give the numbers of its classes, each once" in refused(path)


def test_lists_of_words_are_their_own_names(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", [["b", "a"], ["a"], [], ["c"]]))
    assert source.classes == ("a", "b", "c")
    assert codes(source) == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_lists_in_one_shard_only_are_refused(tmp_path):
    store(tmp_path / "train-0.parquet", [[0], [1], [0, 1], [1]])
    store(tmp_path / "train-1.parquet", [0, 1, 0, 1])
    assert "labels are lists in one file and not in another" in refused(tmp_path)


# Columns that must be said


def two_levels(path):
    table = pa.table(
        {"img": structs(PICTURES), "thumb": structs(PICTURES[::-1]), "fine": [3, 2, 1, 0], "coarse": [1, 1, 0, 0]}
    )
    features = {"img": {"_type": "Image"}, "thumb": {"_type": "Image"}}
    features |= {
        "fine": {"_type": "ClassLabel", "names": list("abcd")},
        "coarse": {"_type": "ClassLabel", "names": list("xy")},
    }
    table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
    pq.write_table(table, path)
    return path


def test_of_two_columns_of_labels_the_first_is_taken_which_is_said_and_a_flag_takes_the_other(tmp_path, capsys):
    path = two_levels(tmp_path / "a.parquet")
    source = open_source(path)
    assert source.classes == tuple("abcd")
    (note,) = source.notes
    assert note == "labels are taken from 'fine', not from 'coarse' (--label-column names another)"
    source = open_source(path, layout=Layout(label_column="coarse", path_column="thumb"))
    assert (source.classes, codes(source), source.notes) == (("x", "y"), [1, 1, 0, 0], ())
    assert list(source.split("train").pictures) == PICTURES[::-1]
    assert main(["check", str(path), "--label-column", "coarse"]) == 0
    assert "2 classes" in capsys.readouterr().out


def test_a_label_column_of_any_name_may_be_said(tmp_path):
    path = store(tmp_path / "a.parquet", ["b", "a", "b", "a"], label="kind")
    assert "say --label-column NAME" in refused(path)
    assert open_source(path, layout=Layout(label_column="kind")).classes == ("a", "b")


@pytest.mark.parametrize(
    "layout", [{"label_column": "kind"}, {"label_column": ["label", "image"]}, {"path_column": "label"}]
)
def test_a_column_that_will_not_do_is_a_config_error(tmp_path, layout):
    path = store(tmp_path / "a.parquet", [0, 1, 0, 1])
    with pytest.raises(ConfigError, match=r"-column .*: not one of '(label|image)' \(name one of them\)"):
        open_source(path, layout=Layout(**layout))
