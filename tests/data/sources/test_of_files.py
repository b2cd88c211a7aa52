"""Whether pictures are files is told without reading one: a picture that cannot be fetched spoils nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inceptory.data.check.check import cheap, check
from inceptory.data.sources.datasets import from_dataset
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.sequences import View, paths
from inceptory.data.sources.source import Split
from tests.data import hub
from tests.data.checked import fill, found
from tests.data.parquet_files import PICTURES, structs


@pytest.fixture
def first_is_empty(tmp_path):
    """A parquet file whose first row holds no picture, and does not say so in its statistics."""
    images = structs([None, *PICTURES[:3]])
    table = pa.table({"image": images, "label": ["cat", "cat", "dog", "dog"]})
    pq.write_table(table, tmp_path / "a.parquet", write_statistics=False)
    return str(tmp_path / "a.parquet")


def test_a_first_picture_that_cannot_be_fetched_spoils_neither_fingerprint_nor_counts(first_is_empty):
    source = open_source(first_is_empty)
    assert len(source.fingerprint()) == 64
    assert cheap(source) == ["2 classes of 2 training pictures each"]
    handed = from_dataset(hub.labelled([{"bytes": None, "path": None}, {"bytes": PICTURES[0]}], [0, 1]))
    assert len(handed.fingerprint()) == 64


def test_check_reports_it_beside_everything_else(first_is_empty):
    report = check(first_is_empty)
    (finding,) = [one for one in report.findings if one.kind == "unreadable"]
    assert "row 0 holds no picture bytes" in finding.message
    assert report.verdict == "unusable"
    assert found(report, "corrupt-class") == [[f"{first_is_empty}:0"]]


def test_each_split_tells_for_itself_by_the_kind_of_its_sequence():
    files = paths(["a.png", "b.png"])
    splits = {
        True: [files, View(files, np.array([1])), [Path("a.png")], [b"x", Path("a.png")]],
        False: [[], View(files, np.array([], dtype=np.int64)), [b"x"], hub_rows()],
    }
    for expected, every in splits.items():
        for pictures in every:
            assert Split(pictures, np.zeros(len(pictures), dtype=np.int64), ["x"] * len(pictures)).of_files is expected


def hub_rows():
    return from_dataset(hub.labelled([None, PICTURES[0]], [0, 1])).split("train").pictures


def test_sizes_of_files_count_where_the_first_picture_is_none(tmp_path):
    train = open_source(fill(tmp_path, "cat", "dog")).split("train")
    source = open_source(tmp_path)
    mixed = replace(train, pictures=[b"x", *list(train.pictures)[1:]])
    before = replace(source, splits={"train": mixed}).fingerprint()
    mixed.pictures[-1].write_bytes(b"another picture under the old name")
    assert replace(source, splits={"train": mixed}).fingerprint() != before
