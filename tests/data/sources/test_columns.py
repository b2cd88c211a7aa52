"""Tables with headers of any words, paths without endings, columns of 0 and 1, and what must be said."""

from __future__ import annotations

import numpy as np
import pytest

import inceptory
from inceptory import Layout
from inceptory.cli import main
from inceptory.data.picture.decode import open_picture
from inceptory.data.sources import tables
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError, DataError, MissingError
from tests.data.pictures import encoded, noise

NAMES = [f"{number:010x}" for number in (11, 6700417, 65537, 4)]


def store(root, text, *files, name="labels.csv"):
    """A table of this text, and different pictures; returns the table's path."""
    for seed, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        kind = "JPEG" if file.lower().endswith("jpg") else "PNG"
        (root / file).write_bytes(encoded(noise(8, 8, seed=seed), kind))
    (root / name).write_text(text)
    return root / name


def listed(source, split="train"):
    part = source.split(split)
    return [(path.name, source.classes[label]) for path, label in zip(part.pictures, part.labels, strict=True)]


def refused(path, kind=DataError, **layout):
    with pytest.raises(kind) as caught:
        open_source(path, layout=Layout(**layout))
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


FILES = ("a.png", "b.png", "c.png")
ROWS = [("a.png", "dog"), ("b.png", "cat"), ("c.png", "dog")]
HEADERS = {
    "known": "path,label\na.png,dog\nb.png,cat\nc.png,dog\n",
    "a path of another word": "image_id,label\na.png,dog\nb.png,cat\nc.png,dog\n",
    "a label of another word": "image,breed\na.png,dog\nb.png,cat\nc.png,dog\n",
    "both of other words": "id,breed\na.png,dog\nb.png,cat\nc.png,dog\n",
    "turned": "breed,id\ndog,a.png\ncat,b.png\ndog,c.png\n",
    "a column of row numbers without a name": ",id,breed\n0,a.png,dog\n1,b.png,cat\n2,c.png,dog\n",
    "a usual word for what holds no files": "image,id,label\nx1,a.png,dog\nx2,b.png,cat\nx3,c.png,dog\n",
    "the label by its usual word among others": "id,age,label\na.png,3,dog\nb.png,4,cat\nc.png,9,dog\n",
    "none": "a.png,dog\nb.png,cat\nc.png,dog\n",
    "none and turned": "dog,a.png\ncat,b.png\ndog,c.png\n",
    "words in Chinese": "图片,品种\na.png,dog\nb.png,cat\nc.png,dog\n",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_line_of_names_is_known_whatever_its_words(tmp_path, kind):
    source = open_source(store(tmp_path, HEADERS[kind], *FILES))
    assert source.classes == ("cat", "dog")
    assert listed(source) == ROWS


def test_tabs_part_such_a_table_too(tmp_path):
    path = store(tmp_path, "id\tbreed\na.png\tbig, dog\nb.png\tcat\n", *FILES, name="labels.tsv")
    assert listed(open_source(path)) == [("a.png", "big, dog"), ("b.png", "cat")]


def test_the_line_of_names_is_no_picture_for_check(tmp_path, capsys):
    text = "image_id,label\n" + "".join(f"{name},{kind}\n" for name, kind in zip(NAMES, "abab", strict=True))
    path = store(tmp_path, text, *(f"{name}.jpg" for name in NAMES))
    assert main(["check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "2 classes, 4 pictures" in out
    assert "cannot be read" not in out + err


def test_a_first_picture_that_is_gone_is_no_line_of_names(tmp_path):
    for first in ("gone.png", "sub/gone", "gone"):
        path = store(tmp_path, f"{first},dog\nb.png,cat\nc.png,dog\n", "b.png", "c.png")
        assert [name for name, _ in listed(open_source(path))] == [first.split("/")[-1], "b.png", "c.png"]


def test_of_two_columns_with_usual_words_the_first_is_taken_which_is_said_and_a_flag_takes_the_other(tmp_path):
    path = store(tmp_path, "path,class,label\na.png,dog,x\nb.png,cat,y\n", "a.png", "b.png")
    source = open_source(path)
    assert source.classes == ("cat", "dog")
    assert source.notes == ("labels from 'class', not from 'label' (--label-column names another)",)
    for name, classes in (("label", ("x", "y")), ("class", ("cat", "dog"))):
        asked = open_source(path, layout=Layout(label_column=name))
        assert (asked.classes, asked.notes) == (classes, ())


# Paths


@pytest.mark.parametrize("endings", [["jpg"] * 4, ["png", "JPG", "png", "jpeg"]], ids=["one ending", "several"])
@pytest.mark.parametrize("folder", ["", "train/", "images/", "anything else/"])
def test_endings_and_the_one_folder_of_the_pictures_are_found(tmp_path, endings, folder):
    text = "id,breed\n" + "".join(f"{name},{kind}\n" for name, kind in zip(NAMES, "xyxy", strict=True))
    files = [f"{folder}{name}.{ending}" for name, ending in zip(NAMES, endings, strict=True)]
    source = open_source(store(tmp_path, text, *files, "other/z.png"))
    split = source.split("train")
    assert list(split.names) == [str(tmp_path / file) for file in files]
    assert split.labels.tolist() == [0, 1, 0, 1]
    assert np.asarray(open_picture(split.pictures[3], "a")).shape == (8, 8, 3)
    (note,) = source.notes
    assert "paths from 'id'" in note
    assert "with the endings of the files" in note
    assert ("pictures in" in note) == bool(folder)


def test_paths_with_folders_inside_need_no_endings(tmp_path):
    path = store(tmp_path, "id,breed\nx/1,dog\ny/1,cat\n", "pics/x/1.png", "pics/y/1.png")
    assert list(open_source(path).split("train").names) == [str(tmp_path / "pics" / name / "1.png") for name in "xy"]


def test_a_picture_that_is_gone_among_those_without_endings_is_left_to_decoding(tmp_path):
    split = open_source(store(tmp_path, "id,breed\nx,dog\ny,cat\nz,cat\n", "x.png", "z.png")).split("train")
    assert [path.name for path in split.pictures] == ["x.png", "y", "z.png"]


def test_pictures_in_two_folders_are_refused_with_the_remedy(tmp_path):
    path = store(tmp_path, "id,breed\n1,dog\n2,cat\n", "train/1.png", "train/2.png", "test/1.png")
    assert "may lie in 'test' or 'train' (write the folder into its paths)" in refused(path)


def test_two_endings_of_one_name_are_refused_with_the_remedy(tmp_path):
    path = store(tmp_path, "id,breed\n1,dog\n2,cat\n", "1.png", "2.png", "2.jpg")
    with pytest.raises(DataError, match=r"2: may be '2\.jpg' or '2\.png' \(write the endings"):
        open_source(path)


def test_labels_that_are_names_of_files_by_chance_are_no_paths(tmp_path):
    path = store(tmp_path, "id,kind\n1,0\n2,1\n3,0\n4,1\n", *(f"{number}.png" for number in range(5)))
    assert listed(open_source(path)) == [("1.png", "0"), ("2.png", "1"), ("3.png", "0"), ("4.png", "1")]


def test_a_file_named_to_the_letter_counts_before_one_without_its_ending(tmp_path):
    assert listed(open_source(store(tmp_path, "b,b.png\na,a.png\n", "a.png", "b.png"))) == [
        ("b.png", "b"),
        ("a.png", "a"),
    ]


def test_two_columns_of_files_are_a_doubt_that_a_flag_settles(tmp_path):
    text = "photo,mask,kind\na.png,b.png,x\nc.png,d.png,y\n"
    path = store(tmp_path, text, "a.png", "b.png", "c.png", "d.png")
    assert "the paths may stand in 'photo', 'mask' (say --path-column NAME)" in refused(path)
    layout = Layout(path_column="mask", label_column="kind")
    assert listed(open_source(path, layout=layout)) == [("b.png", "x"), ("d.png", "y")]


def test_no_files_at_all_are_told_with_the_flag(tmp_path):
    told = refused(store(tmp_path, "id,breed\nx1,dog\nx2,cat\n"), MissingError)
    assert "no column names pictures that are there" in told
    assert "--path-column NAME" in told


def test_evident_paths_that_lead_nowhere_are_told_by_the_first(tmp_path):
    path = store(tmp_path, "image,number,label\nx/1.png,1,dog\nx/2.png,2,cat\n", "pics/1.png", "pics/2.png")
    assert f"names {tmp_path / 'x' / '1.png'}, which is not there" in refused(path, MissingError)
    for header in ("photo,kind\n", "x/1.png,file\n", "path,kind\n"):
        path = store(tmp_path, f"{header}x/1.png,dog\nx/2.png,cat\n")
        assert f"names {tmp_path / 'x' / '1.png'}, which is not there" in refused(path, MissingError)


# Labels


def test_a_label_that_may_stand_in_two_columns_is_refused_until_it_is_said(tmp_path, capsys):
    path = store(tmp_path, "id,breed,fold\na.png,dog,4\nb.png,cat,3\nc.png,dog,3\n", *FILES)
    assert "the labels may stand in 'breed', 'fold' (say --label-column NAME)" in refused(path)
    assert listed(open_source(path, layout=Layout(label_column="breed"))) == ROWS
    assert open_source(path, layout=Layout(label_column="fold")).classes == ("3", "4")
    assert list(inceptory.check(str(path), layout=Layout(label_column="fold")).classes) == ["3", "4"]
    assert main(["check", str(path)]) == 65
    assert "say --label-column NAME" in capsys.readouterr().out
    assert main(["check", str(path), "--label-column", "breed", "--path-column", "id"]) == 0
    assert "  dog" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["path_column", "label_column"])
def test_a_column_that_is_not_there_is_a_config_error_with_those_that_are(tmp_path, capsys, flag):
    path = store(tmp_path, "id,breed\na.png,dog\nb.png,cat\n", *FILES)
    assert "no such column (its first line names 'id', 'breed')" in refused(path, ConfigError, **{flag: "race"})
    assert main(["check", str(path), f"--{flag.replace('_', '-')}=race"]) == 78
    assert capsys.readouterr().err.count("\n") == 1


def test_more_columns_without_names_are_refused_with_the_remedy(tmp_path):
    path = store(tmp_path, "a.png,dog,1\nb.png,cat,2\nc.png,dog,1\n", *FILES)
    assert "line 1 has 3 columns and no line of names above it (write one" in refused(path)


def test_a_table_of_paths_only_is_refused(tmp_path):
    assert "columns (give path and label in each)" in refused(store(tmp_path, "id\na.png\nb.png\n", *FILES))


def hot(rows, header="id,cat,dog,ape"):
    return header + "\n" + "".join(f"{name}.png,{cells}\n" for name, cells in zip("abc", rows, strict=True))


@pytest.mark.parametrize("rows", [["0,1,0", "1,0,0", "0,1,0"], ["0.0,1.0,0.0", "1.0,0.0,0.0", " 0,1 ,0"]])
def test_one_1_in_every_row_is_one_class_a_picture(tmp_path, rows):
    source = open_source(store(tmp_path, hot(rows), *FILES))
    assert source.classes == ("ape", "cat", "dog")
    assert not source.multi_label
    assert listed(source) == ROWS


@pytest.mark.parametrize("rows", [["0,1,0", "1,1,0", "0,1,0"], ["0,1,0", "1,0,0", "0,0,0"]], ids=["two", "none"])
def test_other_rows_of_0_and_1_are_several_classes_a_picture(tmp_path, rows):
    source = open_source(store(tmp_path, hot(rows), *FILES))
    assert source.classes == ("ape", "cat", "dog")
    turned = [[int(cell) for cell in row.split(",")] for row in rows]
    assert source.split("train").labels.tolist() == [[ape, cat, dog] for cat, dog, ape in turned]
    assert source.split("train").labels.dtype == np.uint8


def test_one_column_of_0_and_1_names_two_classes(tmp_path):
    source = open_source(store(tmp_path, hot(["0", "1", "0"], "id,has_cactus"), *FILES))
    assert source.classes == ("0", "1")
    assert source.split("train").labels.tolist() == [0, 1, 0]


def test_columns_of_0_and_1_keep_their_split_column(tmp_path):
    path = store(tmp_path, "id,cat,split,dog\na.png,1,train,0\nb.png,0,train,1\nc.png,0,eval,1\n", *FILES)
    source = open_source(path)
    assert listed(source) == [("a.png", "cat"), ("b.png", "dog")]
    assert listed(source, "test") == [("c.png", "dog")]


def test_several_label_columns_may_be_named_among_others(tmp_path, capsys):
    path = store(tmp_path, "id,cat,dog,fold\na.png,1,0,4\nb.png,0,1,2\nc.png,1,0,2\n", *FILES)
    assert "the labels may stand in 'cat', 'dog', 'fold'" in refused(path)
    assert open_source(path, layout=Layout(label_column=["cat", "dog"])).split("train").labels.tolist() == [0, 1, 0]
    assert main(["check", str(path), "--label-column", "cat", "--label-column", "dog"]) == 0
    assert "labels from 2 columns of 0 and 1" in capsys.readouterr().out


def test_another_value_below_0_and_1_is_told_with_its_line_and_column(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LOOKED_AT", 2)
    path = store(tmp_path, hot(["0,1,0", "1,0,0", "0,7,0"]), *FILES)
    told = "line 4 has '7' in 'dog', where others have 0 or 1"
    assert told in refused(path)
    assert told in refused(path, label_column=["cat", "dog"])


def test_two_classes_of_one_name_are_refused(tmp_path):
    path = store(tmp_path, hot(["0,1,0", "1,0,0", "0,1,0"], "id,cat,cat,dog"), *FILES)
    assert "two columns have one name" in refused(path)


# Splits


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["train", "val", "valid"], "line 4: 'val' and 'valid' both mean the validation split"),
        (["train", "val", "train/test"], "line 4: 'train/test' names two splits, 'train' and 'test'"),
        (["train", "val", "third"], "line 4 names the split 'third' (use train, validation or test)"),
    ],
)
def test_words_for_splits_in_a_column_leave_no_doubt(tmp_path, cells, told):
    rows = "".join(f"{name}.png,{kind},{cell}\n" for name, kind, cell in zip("abc", "xyx", cells, strict=True))
    assert told in refused(store(tmp_path, f"path,label,split\n{rows}", *FILES))


def test_the_name_of_a_table_counts_where_it_has_no_column_of_splits(tmp_path):
    text = "path,label\na.png,dog\nb.png,cat\n"
    assert list(open_source(store(tmp_path, text, *FILES, name="test_labels.csv")).splits) == ["test"]
    with pytest.raises(DataError, match=r"'train_val\.csv' names two splits"):
        open_source(store(tmp_path, text, name="train_val.csv"))
    both = store(tmp_path, "path,label,split\na.png,dog,dev\nb.png,cat,Dev\n", name="train_val.csv")
    assert list(open_source(both).splits) == ["validation"]
