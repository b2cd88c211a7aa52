"""TensorFlow's checkpoints, in both layouts, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inceptory.errors import DataError, MissingError
from inceptory.weights.files.formats import Entry, Weights, open_weights
from tests.weights.files.checkpoints import END, field, indexed, of_2016, table, varint
from tests.weights.files.makers import fault_of, opened

VARIABLES = {
    "Net/Conv2d_1a_3x3/weights": np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2),
    "Net/Conv2d_1a_3x3/BatchNorm/beta": np.array([1.5, -2], np.float32),
    "Net/Conv2d_1a_3x3/BatchNorm/moving_mean": np.array([3, 4], np.float64),
    "Net/Conv2d_2a_3x3/weights": np.zeros((1, 1, 2, 2), np.float32),
    "global_step": np.array(300_000, np.int64),
}


def written(folder: Path, shards: int = 1) -> Path:
    index, data = indexed(VARIABLES, shards)
    (folder / "model.ckpt.index").write_bytes(index)
    for i, content in enumerate(data):
        (folder / f"model.ckpt.data-{i:05}-of-{shards:05}").write_bytes(content)
    return folder / "model.ckpt"


def assert_same(weights: Weights) -> None:
    assert weights.entries.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        assert weights.entries[name] == Entry(array.shape, str(array.dtype))
        found = weights.read(name, dtype=None)
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


def test_a_checkpoint_of_2016_is_read(tmp_path):
    weights = opened(tmp_path, of_2016(VARIABLES))
    assert weights.kind == "tensorflow checkpoint of 2016"
    assert_same(weights)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("given", ["", ".index", ".data-00000-of-0000{}"])
def test_a_checkpoint_is_read_by_its_name_its_index_or_its_data(tmp_path, shards, given):
    path = written(tmp_path, shards)
    weights = open_weights(path.with_name(path.name + given.format(shards)))
    assert weights.kind == "tensorflow checkpoint"
    assert "sha256 is that of the index" in weights.remarks[0]
    assert_same(weights)


def test_data_that_is_not_there_or_cut_short_is_told(tmp_path):
    path = written(tmp_path)
    data = path.with_name("model.ckpt.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(DataError, match="cut short"):
        open_weights(path)
    data.unlink()
    with pytest.raises(MissingError, match=r"model\.ckpt\.data-00000-of-00001: no such file"):
        open_weights(path)


def test_data_without_its_index_is_told(tmp_path):
    path = written(tmp_path)
    path.with_name("model.ckpt.index").unlink()
    with pytest.raises(DataError, match="a part of a TensorFlow checkpoint, whose index is not beside it"):
        open_weights(path.with_name("model.ckpt.data-00000-of-00001"))


HEADER = field(1, 1)
FLOAT = field(1, 1) + field(2, field(2, field(1, 2)))
BAD = {
    "no header": (table({b"a": FLOAT}), "a table that is no checkpoint"),
    "another table": (table({b"leveldb": b"x"}), "a table that is no checkpoint"),
    "nothing": (table({b"": HEADER}), "holds no tensors"),
    "another length": (table({b"": HEADER, b"a": FLOAT + field(5, 9)}), "a is not as long as it says"),
    "slices": (table({b"": HEADER, b"a": FLOAT + field(7, b"") + field(5, 8)}), "it is split into slices"),
    "a huge shape": (table({b"": HEADER, b"a": field(1, 1) + field(2, field(2, field(1, 2**40)))}), "damaged"),
    "no data of that number": (table({b"": HEADER, b"a": FLOAT + field(3, 7) + field(5, 8)}), "beyond the last one"),
    "a field beyond the end": (table({b"": HEADER, b"a": b"\x0a\x7f"}), "damaged"),
    "a handle to nowhere": (varint(2**40) * 4 + bytes(16) + END, "cut short"),
    "only an end": (bytes(40) + END, "cut short"),
    "no values": (table({b"": field(1, field(1, field(1, b"a") + field(3, 1)))}), "has no values for a"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_table_that_lies_is_refused(tmp_path, kind):
    content, told = BAD[kind]
    assert told in str(fault_of(tmp_path, content))


def test_a_compressed_block_is_told(tmp_path):
    content = bytearray(of_2016(VARIABLES))
    for i in range(len(content) - 60):  # every place where the kind of compression may stand
        if content[i : i + 9] == b"\1\0\0\0\0\0\0\0\0":
            content[i + 4] = 1
    assert "its table is compressed" in str(fault_of(tmp_path, bytes(content)))


def test_more_variables_than_any_checkpoint_has_are_refused(tmp_path):
    entries = {b"": HEADER, **{f"{i:06}".encode(): b"" for i in range(50_001)}}
    assert "more than 50,000 variables" in str(fault_of(tmp_path, table(entries, at_a_time=1000)))
