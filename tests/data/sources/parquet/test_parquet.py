"""Parquet files in the Hugging Face image layout, and everything that may be wrong with them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inceptory.data.picture.decode import open_picture
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.parquet import source as parquet
from inceptory.data.sources.parquet.reader import Reader
from inceptory.data.sources.sequences import blocks_of
from inceptory.errors import DataError, MissingError
from tests.data.parquet_files import IMAGE, PICTURES, refused, store, structs
from tests.data.pictures import noise


def test_labels_and_names_come_from_the_metadata(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", [1, 0, 1, 0], names=["dog", "cat"]))
    assert source.classes == ("dog", "cat")
    assert source.split("train").labels.tolist() == [1, 0, 1, 0]
    assert list(source.splits) == ["train"]


def test_the_pictures_are_the_bytes_of_the_file(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", [1, 0, 1, 0], names=["dog", "cat"]))
    pictures = source.split("train").pictures
    assert list(pictures) == PICTURES
    assert np.array_equal(np.asarray(open_picture(pictures[2], "a")), noise(4, 5, seed=2))


def test_names_say_the_file_and_the_row(tmp_path):
    path = store(tmp_path / "a.parquet", [1, 0, 1, 0], names=["dog", "cat"])
    assert open_source(path).split("train").names == [f"{path}:{row}" for row in range(4)]


def test_a_class_of_the_metadata_may_have_no_picture(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", [0, 0, 2, 2], names=["dog", "cat", "fox"]))
    assert source.classes == ("dog", "cat", "fox")


def test_the_metadata_name_the_columns(tmp_path):
    table = pa.table({"thumb": structs(PICTURES), "img": structs(PICTURES[::-1]), "kind": pa.array([0, 1, 0, 1])})
    features = {"img": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["dog", "cat"]}}
    table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    train = open_source(tmp_path / "a.parquet").split("train")
    assert list(train.pictures) == PICTURES[::-1]
    assert train.labels.tolist() == [0, 1, 0, 1]


def test_without_metadata_words_are_classes_in_natural_order(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", ["c10", "c2", "c10", "c1"]))
    assert source.classes == ("c1", "c2", "c10")
    assert source.split("train").labels.tolist() == [2, 1, 2, 0]


def test_without_metadata_numbers_are_classes_in_their_order(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", [10, 2, 10, 7]))
    assert source.classes == ("2", "7", "10")
    assert source.split("train").labels.tolist() == [2, 0, 2, 1]


def test_labels_may_be_a_dictionary_column(tmp_path):
    labels = pa.array(["dog", "cat", "dog", "cat"]).dictionary_encode()
    assert open_source(store(tmp_path / "a.parquet", labels)).classes == ("cat", "dog")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_pictures_may_be_a_column_of_plain_bytes(tmp_path, kind):
    source = open_source(store(tmp_path / "a.parquet", [0, 1, 0, 1], pictures=pa.array(PICTURES, kind)))
    assert list(source.split("train").pictures) == PICTURES


@pytest.mark.parametrize("name", ["label", "labels", "Class"])
def test_the_label_column_may_have_any_usual_name(tmp_path, name):
    assert open_source(store(tmp_path / "a.parquet", [0, 1, 0, 1], label=name)).classes == ("0", "1")


@pytest.mark.parametrize("inner", ["", "data"])
def test_shards_of_a_folder_are_joined_in_order(tmp_path, inner):
    for shard in (11, 2, 0):
        file = tmp_path / inner / f"train-{shard:05}-of-00012.parquet"
        store(file, [0, 1], pictures=[f"{shard}a".encode(), f"{shard}b".encode()], names=["dog", "cat"])
    train = open_source(tmp_path).split("train")
    assert list(train.pictures) == [b"0a", b"0b", b"2a", b"2b", b"11a", b"11b"]
    assert train.labels.tolist() == [0, 1] * 3


def test_the_beginning_of_a_file_s_name_is_its_split(tmp_path):
    for number, name in enumerate(("train-00000-of-00001", "validation-00000-of-00001", "test")):
        store(tmp_path / f"{name}.parquet", [0, 1, 0, 1][: 4 - number], PICTURES[: 4 - number], ["dog", "cat"])
    sizes = {name: len(split) for name, split in open_source(tmp_path).splits.items()}
    assert sizes == {"train": 4, "validation": 3, "test": 2}


def test_a_single_file_of_any_name_is_the_training_split(tmp_path):
    assert list(open_source(store(tmp_path / "flowers.parquet", [0, 1, 0, 1])).splits) == ["train"]


def test_splits_of_other_classes_are_refused(tmp_path):
    store(tmp_path / "train.parquet", [0, 1, 0, 1], names=["dog", "cat"])
    store(tmp_path / "test.parquet", [0, 1, 0, 1], names=["cat", "dog"])
    assert "names other classes" in refused(tmp_path)


def test_shards_of_other_classes_are_refused(tmp_path):
    store(tmp_path / "train-00000-of-00002.parquet", [0, 1, 0, 1], names=["dog", "cat"])
    store(tmp_path / "train-00001-of-00002.parquet", [0, 1, 0, 1], names=["cat", "dog"])
    assert "classes" in refused(tmp_path)


def test_a_shard_without_the_names_that_another_has_is_refused(tmp_path):
    store(tmp_path / "train-00000-of-00002.parquet", [0, 1, 0, 1], names=["dog", "cat"])
    store(tmp_path / "train-00001-of-00002.parquet", ["dog", "cat", "dog", "cat"])
    assert "classes" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"no table at all"], ids=repr)
def test_a_file_that_is_no_parquet_is_a_data_error(tmp_path, content):
    (tmp_path / "a.parquet").write_bytes(content)
    assert "not a readable parquet file" in refused(tmp_path / "a.parquet")


@pytest.mark.parametrize("part", range(1, 16))
def test_a_file_cut_short_is_a_data_error(tmp_path, part):
    path = store(tmp_path / "a.parquet", [0, 1, 0, 1], names=["dog", "cat"])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * part // 16])
    assert "not a readable parquet file" in refused(path)


def test_a_file_whose_pages_of_pictures_are_damaged_is_told_when_one_is_read(tmp_path):
    path = store(tmp_path / "a.parquet", [0, 1, 0, 1], names=["dog", "cat"])
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    pictures = open_source(path).split("train").pictures
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file"):
        pictures[0]


@pytest.mark.parametrize(("image", "label"), [("image", "target"), ("image", "y")])
def test_a_missing_label_column_is_told_with_the_columns_there_are(tmp_path, image, label):
    message = refused(store(tmp_path / "a.parquet", [0, 1, 0, 1], image=image, label=label))
    assert "no image and label columns" in message
    assert f"['{image}', '{label}']" in message


def test_a_missing_image_column_is_told_with_the_columns_there_are(tmp_path):
    path = store(tmp_path / "a.parquet", [0, 1], pictures=pa.array(["a.png", "b.png"]), image="file")
    assert "['file', 'label']" in refused(path)


@pytest.mark.parametrize(
    "pictures",
    [structs([PICTURES[0], None]), pa.array([PICTURES[0], None]), pa.array([{"bytes": PICTURES[0]}, None], IMAGE)],
    ids=["no bytes", "no blob", "no struct"],
)
def test_a_picture_without_bytes_is_told_with_its_row(tmp_path, pictures):
    assert "row 1 holds no picture bytes" in refused(store(tmp_path / "a.parquet", [0, 1], pictures=pictures))


@pytest.mark.parametrize("label", [2, -2, 10**6])
def test_a_label_outside_the_named_classes_is_a_data_error(tmp_path, label):
    path = store(tmp_path / "a.parquet", [0, 1, label, 1], names=["dog", "cat"])
    assert "a label lies outside the 2 named classes" in refused(path)


NO_LABELS = {
    "words where the names ask for numbers": (["dog", "cat", "dog", "cat"], ["dog", "cat"]),
    "fractions where the names ask for numbers": ([0.7, 1.2, 0.0, 1.0], ["dog", "cat"]),
    "fractions in lists": ([[0.5], [1.0], [], [1.0]], None),
    "a null in a list": ([[0], [1, None], [0], [1]], ["dog", "cat"]),
}


@pytest.mark.parametrize("kind", NO_LABELS)
def test_a_label_that_is_none_is_a_data_error(tmp_path, kind):
    labels, names = NO_LABELS[kind]
    assert "label" in refused(store(tmp_path / "a.parquet", labels, names=names))


def test_an_image_column_without_bytes_inside_is_a_data_error(tmp_path):
    paths = pa.array([{"path": "a.png"}, {"path": "b.png"}])
    assert "image" in refused(store(tmp_path / "a.parquet", [0, 1], pictures=paths, names=["dog", "cat"]))


def test_a_file_without_rows_is_a_data_error(tmp_path):
    path = store(tmp_path / "a.parquet", pa.array([], pa.int64()), pictures=[], names=["dog", "cat"])
    assert refused(path)


def test_metadata_that_are_no_json_are_ignored(tmp_path):
    table = pa.table({"image": structs(PICTURES), "label": pa.array(["b", "a", "b", "a"])})
    pq.write_table(table.replace_schema_metadata({b"huggingface": b"{broken"}), tmp_path / "a.parquet")
    assert open_source(tmp_path / "a.parquet").classes == ("a", "b")


def grouped(path, rows=40, size=4):
    """A file of many row groups, each picture told by its number."""
    pictures = [b"%d" % row for row in range(rows)]
    table = pa.table({"image": structs(pictures), "label": pa.array([row % 2 for row in range(rows)])})
    pq.write_table(table, path, row_group_size=size)
    return pictures


@pytest.fixture
def reads(monkeypatch):
    """Numbers of the row groups in the order in which they are read."""
    met, given = [], Reader.read
    monkeypatch.setattr(Reader, "read", lambda *a: met.append(a[3]) or given(*a))
    return met


def test_opening_reads_no_picture(tmp_path, reads):
    grouped(tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.split("train").labels.tolist() == [0, 1] * 20
    assert reads == []


def test_pictures_in_order_read_each_row_group_once(tmp_path, reads):
    pictures = grouped(tmp_path / "a.parquet")
    assert list(open_source(tmp_path / "a.parquet").split("train").pictures) == pictures
    assert reads == list(range(10))


def test_few_row_groups_are_held_at_a_time(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(parquet, "HELD", 0)
    monkeypatch.setattr(parquet, "HELD_AT_MOST", 0)
    pictures = grouped(tmp_path / "a.parquet")
    found = open_source(tmp_path / "a.parquet").split("train").pictures
    assert [found[row] for row in (0, 5, 1, 6, 9, 0)] == [pictures[row] for row in (0, 5, 1, 6, 9, 0)]
    assert reads == [0, 1, 2, 0]


def test_rows_of_a_group_are_blocks_that_know_their_bytes(tmp_path):
    pictures = [bytes(1000) for _ in range(8)] + [bytes(50) for _ in range(32)]
    table = pa.table({"image": structs(pictures), "label": pa.array([row % 2 for row in range(40)])})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=4, use_dictionary=False)
    blocks = blocks_of(open_source(tmp_path / "a.parquet").split("train").pictures)
    assert blocks.of_row.tolist() == [row // 4 for row in range(40)]
    assert np.all((blocks.each[:2] >= 1000) & (blocks.each[:2] < 1600))
    assert np.all((blocks.each[2:] >= 50) & (blocks.each[2:] < 200))


def test_some_rows_of_a_group_are_read_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "AT_ONCE", 1)  # one picture is unpacked at a time
    pictures = grouped(tmp_path / "a.parquet", rows=30, size=10)
    found = open_source(tmp_path / "a.parquet").split("train").pictures
    assert list(found.read(1, np.array([10, 13, 19]))) == [pictures[row] for row in (10, 13, 19)]
    assert list(found.read(2, np.arange(20, 30))) == pictures[20:]


def test_row_groups_of_several_files_follow_each_other(tmp_path):
    for number in range(3):
        grouped(tmp_path / f"train-{number}.parquet", rows=10)
    train = open_source(tmp_path).split("train")
    assert list(train.pictures) == [b"%d" % row for row in range(10)] * 3
    assert blocks_of(train.pictures).of_row.tolist()[:12] == [0] * 4 + [1] * 4 + [2] * 2 + [3] * 2


def test_heavy_row_groups_are_noted(tmp_path, monkeypatch):
    grouped(tmp_path / "a.parquet")
    assert open_source(tmp_path / "a.parquet").notes == ()
    monkeypatch.setattr(parquet, "HEAVY", 10)
    assert "each read several times an epoch" in open_source(tmp_path / "a.parquet").notes[0]


def test_a_file_that_vanished_is_told_when_a_picture_is_read(tmp_path):
    grouped(tmp_path / "a.parquet")
    pictures = open_source(tmp_path / "a.parquet").split("train").pictures
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(MissingError, match=r"a\.parquet: no such file"):
        pictures[0]


def test_a_null_that_the_file_does_not_count_is_told_when_it_is_read(tmp_path):
    table = pa.table({"image": structs([PICTURES[0], None]), "label": pa.array([0, 1])})
    pq.write_table(table, tmp_path / "a.parquet", write_statistics=False)
    pictures = open_source(tmp_path / "a.parquet").split("train").pictures
    assert pictures[0] == PICTURES[0]
    with pytest.raises(DataError, match="row 1 holds no picture bytes"):
        pictures[1]
    part = pictures.read(0, np.arange(2))
    assert part[0] == PICTURES[0]
    with pytest.raises(DataError, match=r"a\.parquet: row 1 holds no picture bytes"):
        part[1]
