"""CSV and TSV files of paths and labels, and everything that may be wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from inceptory.data.check.check import cheap
from inceptory.data.picture.decode import open_picture
from inceptory.data.sources.opening import open_source
from inceptory.errors import DataError, MissingError
from tests.data.pictures import encoded, noise


def table(folder, text, name="photos.csv", files=("a.png", "b.png", "sub/c.png"), encoding="utf-8"):
    """A table of this text, and small pictures beside it."""
    for seed, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(encoded(noise(4, 4, seed=seed)))
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def listed(source, split="train"):
    part = source.split(split)
    return [(path.name, source.classes[label]) for path, label in zip(part.pictures, part.labels, strict=True)]


def refused(path, kind=DataError):
    """The message, which begins with the path."""
    with pytest.raises(kind) as caught:
        open_source(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


ROWS = [("a.png", "dog"), ("b.png", "cat"), ("c.png", "dog")]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,dog\nb.png,cat\nsub/c.png,dog\n",
        "a.png,dog\nb.png,cat\nsub/c.png,dog",
        "Label,File_Name\ndog,a.png\ncat,b.png\ndog,sub/c.png\n",
        "id,image,note,class\n1,a.png,x,dog\n2,b.png,y,cat\n3,sub/c.png,,dog\n",
        "path;label\na.png;dog\nb.png;cat\nsub/c.png;dog\n",
        '"path","label"\r\n"a.png","dog"\r\n\r\nb.png, cat\r\n"sub/c.png","dog"\r\n',
        "\ufeffpath,label\na.png,dog\nb.png,cat\nsub/c.png,dog\n",
    ],
    ids=["header", "none", "turned", "more columns", "semicolons", "quotes", "byte order mark"],
)
def test_paths_and_labels_are_read(tmp_path, text):
    source = open_source(table(tmp_path, text))
    assert source.classes == ("cat", "dog")
    assert listed(source) == ROWS
    assert list(source.splits) == ["train"]


def test_columns_of_a_tsv_are_parted_by_tabs(tmp_path):
    source = open_source(table(tmp_path, "path\tlabel\na.png\tdog, big\nb.png\tcat\n", name="photos.tsv"))
    assert listed(source) == [("a.png", "dog, big"), ("b.png", "cat")]


def test_names_say_where_each_picture_lies_and_pictures_can_be_read(tmp_path):
    train = open_source(table(tmp_path, "a.png,dog\nsub/c.png,cat\n")).split("train")
    assert train.names == [str(tmp_path / "a.png"), str(tmp_path / "sub" / "c.png")]
    assert np.array_equal(np.asarray(open_picture(train.pictures[1], "c")), noise(4, 4, seed=2))


def test_paths_may_be_absolute(tmp_path):
    text = f"{tmp_path / 'photos' / 'a.png'},dog\n{tmp_path / 'photos' / 'b.png'},cat\n"
    table(tmp_path / "photos", "")
    (tmp_path / "table.csv").write_text(text)
    assert listed(open_source(tmp_path / "table.csv")) == ROWS[:2]


def test_a_split_column_parts_the_rows(tmp_path):
    text = "path,label,split\na.png,dog,test\nb.png,cat,train\nsub/c.png,dog,Val\na.png,dog,train\n"
    source = open_source(table(tmp_path, text))
    assert list(source.splits) == ["train", "validation", "test"]
    assert listed(source, "train") == [("b.png", "cat"), ("a.png", "dog")]
    assert listed(source, "test") == [("a.png", "dog")]
    assert listed(source, "validation") == [("c.png", "dog")]


def test_a_class_missing_from_a_split_is_said_and_shifts_no_label(tmp_path):
    text = "path,label,split\na.png,ape,train\nb.png,bee,train\nsub/c.png,cow,train\na.png,cow,test\n"
    source = open_source(table(tmp_path, text))
    assert source.split("test").labels.tolist() == [2]
    assert any("test has no picture of 2 classes, 'ape', 'bee'" in line for line in cheap(source))


def test_classes_are_in_natural_order(tmp_path):
    assert open_source(table(tmp_path, "a.png,10\nb.png,9\nsub/c.png,1\n")).classes == ("1", "9", "10")


FAULTS = {
    "one column": ("a.png\nb.png\n", "line 1 has 1 columns"),
    "a short line": ("a.png,dog\nb.png\n", "line 2 has 1 columns"),
    "no label": ("path,label\na.png,dog\nb.png,\n", "line 3 has no label"),
    "no path": ("path,label\na.png,dog\n ,cat\n", "line 3 has no path"),
    "no rows": ("path,label\n", "no class"),
    "nothing": ("", "no class"),
    "an unknown split": ("path,label,split\na.png,dog,train\nb.png,cat,third\n", "line 3 names the split 'third'"),
    "a NUL": ("a.png,dog\nb\0.png,cat\n", "NUL"),
    "a quote without end": ('a.png,dog\n"b.png,cat\n', "line 2 is not a row of a table"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_told_with_its_line(tmp_path, kind):
    text, told = FAULTS[kind]
    assert told in refused(table(tmp_path, text))


@pytest.mark.parametrize("content", [b"\xff\xfea\0,\0", b"a.png,caf\xe9\nb.png,x"], ids=["UTF-16", "Latin-1"])
def test_other_encodings_are_a_data_error_with_the_remedy(tmp_path, content):
    table(tmp_path, "").write_bytes(content)
    assert "UTF-8" in refused(tmp_path / "photos.csv")


def test_paths_that_lead_nowhere_are_told_before_anything_is_decoded(tmp_path):
    assert "which is not there" in refused(table(tmp_path, "x/a.png,dog\nx/b.png,cat\n"), MissingError)


def test_a_few_missing_files_are_left_to_decoding(tmp_path):
    source = open_source(table(tmp_path, "gone.png,dog\nb.png,cat\n"))
    assert len(source.split("train")) == 2
    with pytest.raises(MissingError, match=r"gone\.png: no such file"):
        open_picture(source.split("train").pictures[0], "gone")


def test_formulas_in_labels_stay_text(tmp_path):
    assert open_source(table(tmp_path, "a.png,=1+1\nb.png,@x\n")).classes == ("=1+1", "@x")
