"""Words that mean a split, in the names of shards, files and folders; classes that bear such a name."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import inceptory
from inceptory import Layout
from inceptory.cli import main
from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.layout import SPLITS, words
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.shards import below
from inceptory.errors import ConfigError, DataError
from tests.data.pictures import encoded, noise

PICTURES = [encoded(noise(8, 8, seed=seed)) for seed in range(4)]


def tar(path, pictures=PICTURES):
    with tarfile.open(path, "w") as out:
        for row, data in enumerate(pictures):
            for name, content in ((f"{path.stem}{row}.png", data), (f"{path.stem}{row}.cls", b"%d" % (row % 2))):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))


def parquet(path, pictures=PICTURES):
    pq.write_table(pa.table({"image": pictures, "label": [row % 2 for row in range(len(pictures))]}), path)


def table(path, pictures=PICTURES):
    (path.parent / "pictures").mkdir(exist_ok=True)
    for row, data in enumerate(pictures):
        (path.parent / "pictures" / f"{row}.png").write_bytes(data)
    path.write_text("".join(f"pictures/{row}.png,{row % 2}\n" for row in range(len(pictures))))


WRITERS = {".tar": tar, ".parquet": parquet, ".csv": table}
SHARDS = [".tar", ".parquet"]


def store(root, *names, **kept):
    """Files of these names, with two classes each; `kept` says how many pictures."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix](path, **kept)
    return root


def fill(root, *paths):
    """A picture at each path, all different; a path that ends in / is an empty folder, one in .txt a text."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_bytes(b"text" if path.endswith(".txt") else encoded(noise(8, 8, seed=number)))
    return root


def sizes(source):
    return {name: len(split) for name, split in source.splits.items()}


def refused(data, **layout):
    """The message of the DataError, told with the place."""
    with pytest.raises(DataError) as caught:
        open_source(data, layout=Layout(**layout))
    return str(caught.value)


# One rule, one table of words


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("imagenet1k-validation-00.tar", ["validation"]),
        ("dev-00.tar", ["validation"]),
        ("VALID_3", ["validation"]),
        ("my.val.set", ["validation"]),
        ("val2017", ["validation"]),
        ("eval.parquet", ["test"]),
        ("holdout.parquet", ["test"]),
        ("Test", ["test"]),
        ("partial-train", ["train"]),
        ("train-00000-of-00002.parquet", ["train"]),
        ("training images", ["train"]),
        ("default/train/0000.parquet", ["train"]),
        ("latest-00.tar", []),
        ("trainval", []),
        ("contest", []),
        ("devices", []),
        ("évaluation-eval", ["test"]),
        ("train_val", ["train", "validation"]),
        ("", []),
    ],
)
def test_whole_words_between_separators_mean_a_split(name, splits):
    assert list(words(name)) == splits


def test_the_words_are_these():
    told = "train training | validation valid val dev | test testing eval evaluation holdout"
    kinds = {SPLITS[group.split()[0]]: set(group.split()) for group in told.split("|")}
    assert kinds == {split: {word for word, of in SPLITS.items() if of == split} for split in kinds}
    assert list(kinds) == ["train", "validation", "test"]


@pytest.mark.parametrize("ending", SHARDS)
@pytest.mark.parametrize(
    ("validation", "test"),
    [("imagenet1k-validation-00", "imagenet1k-test-00"), ("dev-00", "eval"), ("my_VAL_1", "holdout")],
)
def test_shards_are_of_the_split_that_a_word_of_their_name_means(tmp_path, ending, validation, test):
    store(tmp_path, f"x-train-00{ending}", f"x-train-01{ending}")
    store(tmp_path, f"{validation}{ending}", pictures=PICTURES[:3])
    store(tmp_path, f"{test}{ending}", pictures=PICTURES[:2])
    assert sizes(open_source(tmp_path)) == {"train": 8, "validation": 3, "test": 2}


@pytest.mark.parametrize("ending", SHARDS)
def test_shards_without_any_such_word_are_all_training(tmp_path, ending):
    store(tmp_path, f"latest-00{ending}", f"latest-01{ending}")
    assert sizes(open_source(tmp_path)) == {"train": 8}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(("name", "split"), [("flowers", "train"), ("my_dev", "validation"), ("test", "test")])
def test_a_single_file_is_of_the_split_that_its_name_means(tmp_path, ending, name, split):
    store(tmp_path, f"{name}{ending}")
    assert sizes(open_source(tmp_path / f"{name}{ending}")) == {split: 4}


def test_a_pattern_of_tars_follows_the_same_rule(tmp_path):
    store(tmp_path, "a-train-0.tar", "a-val-0.tar", "notes.tar")
    assert sizes(open_source(tmp_path / "a-*.tar")) == {"train": 4, "validation": 4}


@pytest.mark.parametrize("ending", SHARDS)
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("train-0", "more"), ["'more{}' names no split, beside 'train-0{}'", "move it away)"]),
        (("train-val-0", "train-1"), ["'train-val-0{}' names two splits, 'train' and 'val'", "(rename it"]),
        (("train-0", "val-0", "valid-0"), ["'val-0{}' and 'valid-0{}' both mean the validation split", "(keep one"]),
        (("test/0", "test/train-1"), ["'test/train-1{}' names two splits"]),
        (("train-0", "test/0", "0"), ["'0{}' names no split"]),
    ],
    ids=["unnamed", "two words", "two spellings", "a folder's word against a file's", "unnamed beside folders"],
)
def test_a_name_that_leaves_a_doubt_is_refused_by_name_with_the_remedy(tmp_path, capsys, ending, names, told):
    store(tmp_path, *(f"{name}{ending}" for name in names))
    message = refused(tmp_path)
    assert message.startswith(str(tmp_path))
    assert all(part.format(ending, ending) in message for part in told)
    assert main(["check", str(tmp_path)]) == 65
    out, err = capsys.readouterr()
    assert all(part.format(ending, ending) in out for part in told)
    assert err.count("\n") == 1


@pytest.mark.parametrize("ending", SHARDS)
def test_shards_lie_in_folders_of_splits_too(tmp_path, ending):
    store(tmp_path, f"train/00{ending}", f"train/01{ending}", f"Dev/00{ending}")
    source = open_source(tmp_path)
    assert sizes(source) == {"train": 8, "validation": 4}
    assert list(source.splits["train"].pictures) == PICTURES * 2
    assert len(set(source.splits["train"].names)) == 8


@pytest.mark.parametrize("ending", SHARDS)
@pytest.mark.parametrize("inner", ["default", "plain_text", "data", "data/mini"])
def test_one_folder_of_a_configuration_is_the_data_set(tmp_path, ending, inner):
    store(tmp_path, f"{inner}/train-0000{ending}", f"{inner}/test/0000{ending}", f"{inner}/test/0001{ending}")
    assert sizes(open_source(tmp_path)) == {"train": 4, "test": 8}


@pytest.mark.parametrize("ending", SHARDS)
def test_several_configurations_are_refused_by_name_and_one_of_them_opens(tmp_path, ending):
    store(tmp_path, f"mini/train{ending}", f"mini/test{ending}", f"full/train{ending}")
    message = refused(tmp_path)
    assert "holds several sets, 'full', 'mini'" in message
    assert message.endswith(f"(give the folder of one, such as {tmp_path / 'full'})")
    assert sizes(open_source(tmp_path / "mini")) == {"train": 4, "test": 4}


@pytest.mark.parametrize("ending", SHARDS)
def test_a_folder_named_data_belongs_to_what_lies_around_it(tmp_path, ending):
    store(tmp_path, f"train{ending}", f"data/test{ending}")
    assert sizes(open_source(tmp_path)) == {"train": 4, "test": 4}


def test_shards_beside_the_folder_of_a_configuration_are_another_set(tmp_path):
    store(tmp_path, "train.parquet", "mini/train.parquet")
    assert "holds several sets, '.', 'mini'" in refused(tmp_path)


@pytest.mark.parametrize("ending", SHARDS)
def test_class_folders_stay_class_folders_whatever_lies_among_their_pictures(tmp_path, ending):
    store(fill(tmp_path, "cat/a.png", "dog/b.png"), f"cat/index{ending}")
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert below(Listing(tmp_path), lambda name: name.endswith(ending)) == []


@pytest.mark.parametrize("ending", SHARDS)
def test_class_folders_stay_class_folders_where_a_shard_lies_above_their_pictures(tmp_path, ending):
    store(fill(tmp_path, "cat/indoors/a.png", "dog/b.png"), f"cat/index{ending}")
    assert open_source(tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize("where", ["meta/index", "index", "train/index"])
def test_a_parquet_file_beside_class_folders_leaves_a_doubt_that_is_said_by_name(tmp_path, where):
    root = fill(tmp_path, "cat/a.png", "dog/b.png")
    store(root, f"{where}.parquet")
    told = f"may be '{where}.parquet', or class folders, for pictures lie in 'cat' and 'dog'"
    assert refused(root) == f"{root}: {told} (give that file's path, or move it away)"


@pytest.mark.parametrize("names", [("x/a.tar", "y/b.tar"), ("x/a.tar",), ("cat/x/a.tar",)])
def test_tars_in_folders_beside_those_of_pictures_are_no_data_set(tmp_path, names):
    store(fill(tmp_path, "cat/b/a.png", "dog/b.png"), *names)
    assert {"cat", "dog"} <= set(open_source(tmp_path).classes)


@pytest.mark.parametrize("ending", SHARDS)
def test_of_several_sets_in_data_the_folder_of_one_is_named(tmp_path, ending):
    store(tmp_path, f"data/a/train{ending}", f"data/b/c/train{ending}")
    message = refused(tmp_path)
    assert "holds several sets, 'a', 'b/c'" in message
    assert message.endswith(f"(give the folder of one, such as {tmp_path / 'data' / 'a'})")


def test_a_tar_beside_class_folders_is_no_data_set(tmp_path):
    store(fill(tmp_path, "cat/a.png", "dog/b.png"), "backup.tar")
    assert open_source(tmp_path).classes == ("cat", "dog")


def test_a_parquet_file_beside_other_folders_is_the_data_set(tmp_path):
    store(fill(tmp_path, "examples/a.png"), "train.parquet")
    assert sizes(open_source(tmp_path)) == {"train": 4}


# Folders of classes: what they hold decides


@pytest.mark.parametrize(("validation", "test"), [("dev", "holdout"), ("Val_2017", "my eval"), ("valid", "testing")])
def test_folders_are_splits_by_the_same_words(tmp_path, validation, test):
    fill(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", validation, test) for name in ("cat", "dog")))
    assert sizes(open_source(tmp_path)) == {"train": 2, "validation": 2, "test": 2}


SPLIT_TREES = {
    "one split only": (["val/cat/1.png", "val/dog/2.png"], {"validation": 2}),
    "a text beside the class folders": (["train/cat/1.png", "train/dog/2.png", "train/read.txt"], {"train": 2}),
    "notes beside the splits": (["train/cat/1.png", "test/dog/2.png", "boxes/1.txt"], {"train": 1, "test": 1}),
    "an empty folder beside": (["train/cat/1.png", "test/dog/2.png", "cache/"], {"train": 1, "test": 1}),
    "nested folders in classes": (["train/cat/a/1.png", "train/dog/b/2.png"], {"train": 2}),
}


@pytest.mark.parametrize("tree", SPLIT_TREES)
def test_folders_that_hold_class_folders_are_splits(tmp_path, tree):
    paths, expected = SPLIT_TREES[tree]
    source = open_source(fill(tmp_path, *paths))
    assert source.classes == ("cat", "dog")
    assert sizes(source) == expected


CLASS_TREES = {
    "test": ["cat/1.png", "test/2.png"],
    "train, test and cat": ["cat/1.png", "test/2.png", "train/3.png"],
    "a bullet train": ["bullet train/1.png", "test tube/2.png", "cat/3.png"],
    "pictures and folders in a class": ["cat/1.png", "train/2.png", "train/old/3.png"],
    "nested folders in the others": ["cat/indoors/1.png", "test/2.png"],
    "two words in one name": ["cat/1.png", "test_train/2.png"],
    "two of one split": ["cat/1.png", "val/2.png", "valid/3.png"],
}


@pytest.mark.parametrize("tree", CLASS_TREES)
def test_classes_that_hold_pictures_may_have_such_names_and_that_is_said(tmp_path, capsys, tree):
    source = open_source(fill(tmp_path, *CLASS_TREES[tree]))
    assert set(source.classes) == {path.split("/")[0] for path in CLASS_TREES[tree]}
    assert sizes(source) == {"train": len(CLASS_TREES[tree])}
    (note,) = source.notes
    assert note.startswith("taken for classes, not for splits")
    assert main(["check", str(tmp_path)]) == 0
    assert note in capsys.readouterr().out


DOUBTFUL = {
    "a class beside splits": ["train/cat/1.png", "train/dog/2.png", "extra/3.png"],
    "a folder of classes beside splits": ["train/cat/1.png", "train/dog/2.png", "extra/cat/3.png"],
    "a split without labels": ["train/cat/1.png", "train/dog/2.png", "test/3.png"],
    "nothing but such names": ["train/1.png", "test/2.png"],
}


@pytest.mark.parametrize("tree", DOUBTFUL)
def test_a_doubt_is_refused_with_the_flag_that_settles_it(tmp_path, capsys, tree):
    fill(tmp_path, *DOUBTFUL[tree])
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path}: 't")
    assert "may be splits or classes" in message
    assert message.endswith("(--split-folders on or off says which)")
    assert main(["check", str(tmp_path), "--split-folders", "off"]) == 0
    assert main(["check", str(tmp_path)]) == 65
    assert message in capsys.readouterr().out


def test_off_makes_classes_of_them_and_on_splits(tmp_path, capsys):
    fill(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "extra/4.png")
    off = open_source(tmp_path, layout=Layout(split_folders="off"))
    assert (off.classes, sizes(off)) == (("extra", "test", "train"), {"train": 4})
    on = open_source(tmp_path, layout=Layout(split_folders="on"))
    assert (on.classes, sizes(on)) == (("cat", "dog"), {"train": 2, "test": 1})
    assert on.notes == ("left out beside the folders of splits: 'extra'",)
    assert main(["check", str(tmp_path), "--split-folders", "on"]) == 0
    assert on.notes[0] in capsys.readouterr().out
    report = inceptory.check(str(tmp_path), layout=Layout(split_folders="off"))
    assert list(report.classes) == ["extra", "test", "train"]


def test_on_leaves_out_a_split_without_class_folders_and_says_so(tmp_path):
    fill(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/3.png")
    source = open_source(tmp_path, layout=Layout(split_folders="on"))
    assert sizes(source) == {"train": 2}
    assert source.notes == ("left out, for it holds no class folders: 'test'",)


def test_on_without_such_a_folder_is_refused(tmp_path):
    fill(tmp_path, "cat/1.png", "dog/2.png")
    assert "no folder is named train, val or test" in refused(tmp_path, split_folders="on")


def test_a_split_of_two_folders_or_of_two_words_is_refused(tmp_path):
    pairs = [(("val", "valid"), "both mean the validation split"), (("train", "Train_2"), "both mean the train split")]
    for number, (names, told) in enumerate([*pairs, (("train_val", "test"), "names two splits, 'train' and 'val'")]):
        root = tmp_path / str(number)
        message = refused(fill(root, *(f"{name}/{kind}/1.png" for name in names for kind in ("cat", "dog"))))
        assert all(repr(name) in message for name in names if told.startswith("both"))
        assert told in message


def test_a_class_with_such_a_name_that_is_empty_is_named(tmp_path):
    assert "class folder 'test' is empty" in refused(fill(tmp_path, "cat/1.png", "dog/2.png", "train/3.png", "test/"))


def test_all_empty_classes_are_found_where_the_flag_says_that_they_are_classes(tmp_path):
    fill(tmp_path, "train/cat/1.png", "train/dog/2.png", "test/", "extra/")
    report = inceptory.check(str(tmp_path), layout=Layout(split_folders="off"))
    (finding,) = report.findings
    assert sorted(finding.files) == [str(tmp_path / "extra"), str(tmp_path / "test")]


# What is said must fit


@pytest.mark.parametrize(
    ("data", "layout", "flag"),
    [
        ("digits", {"split_folders": "off"}, "--split-folders goes with class folders"),
        ("photos", {"label_column": "breed"}, "--label-column goes with tables"),
        ("a.tar", {"path_column": "id"}, "--path-column goes with tables"),
        ("a.parquet", {"split_folders": "on"}, "--split-folders goes with class folders"),
        ("a.csv", {"split_folders": "on"}, "--split-folders goes with class folders"),
    ],
)
def test_a_flag_for_another_kind_of_data_is_refused(tmp_path, data, layout, flag):
    fill(tmp_path, "photos/cat/1.png", "photos/dog/2.png")
    store(tmp_path, "a.tar", "a.parquet", "a.csv")
    with pytest.raises(ConfigError, match=flag):
        open_source(data if data == "digits" else tmp_path / data, layout=Layout(**layout))


def test_one_label_column_or_several_are_the_same_kind_of_thing():
    assert Layout(label_column="breed") == Layout(label_column=["breed"]) == Layout(label_column=("breed",))
    assert Layout(label_column=[]) == Layout()
    assert json.loads(json.dumps(Layout(label_column="breed").label_column)) == ["breed"]


@pytest.mark.parametrize("ending", SHARDS)
def test_pictures_keep_their_labels_wherever_their_shard_lies(tmp_path, ending):
    store(tmp_path, f"val/0{ending}", f"train/0{ending}", pictures=PICTURES[:3])
    for split in open_source(tmp_path).splits.values():
        assert list(split.pictures) == PICTURES[:3]
        assert np.array_equal(split.labels, [0, 1, 0])
