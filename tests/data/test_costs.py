"""What refusing costs: at most 64 MiB over idle in this process, for data that are, or would become, enormous."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.parquet import child as parquet_child
from inceptory.data.sources.parquet.reader import Pieces
from inceptory.errors import DataError, UsageError
from inceptory.nets.catalogue import decide
from inceptory.nets.variant import PUBLISHED
from inceptory.weights.card import Card
from tests.data.parquet_files import PICTURES, refused, store
from tests.data.pictures import encoded, noise
from tests.data.sources.tars.test_tars import examples, tar
from tests.weights.test_card import CARD

pytestmark = pytest.mark.skipif(os.name != "posix", reason="memory is measured as POSIX counts it")
MOST = 64
"""MiB."""
GIB = 2**30


def measured(*paths: Path) -> list[tuple[str, float]]:
    """(what came of each path, MiB that it cost) in a process that may take 8 GiB of addresses."""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("measured.py")), *map(str, paths)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 * GIB, 8 * GIB)),
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sparse(path, size, beginning=b""):
    with open(path, "wb") as file:
        file.write(beginning)
        file.truncate(size)
    return path


def pages_of_zeros(path, rows=40, each=8 * 2**20):
    """A parquet of a few KiB whose pictures, one after another, take hundreds of MiB."""
    pictures = pa.chunked_array([pa.array([bytes(each)], pa.binary())] * rows)
    table = pa.table({"image": pictures, "label": pa.array([row % 2 for row in range(rows)])})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    return path


def the_same_word(path, rows=2**20 - 1, each=2**20):
    """A parquet in which a million rows share a label of a MiB."""
    labels = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a" * each]))
    pictures = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([PICTURES[0]]))
    pq.write_table(pa.table({"image": pictures.cast(pa.binary()), "label": labels}), path, compression="zstd")
    return path


def sparse_tar(path):
    """A tar with a picture of 3 GiB, and the list of its classes."""
    with tarfile.open(path, "w") as out:
        for name, data in (("1.cls", b"0"), ("2.cls", b"1"), ("2.jpg", PICTURES[0])):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    head = tarfile.TarInfo("1.jpg")
    head.size = 3 * GIB
    content = path.read_bytes()
    first = content[:1024]  # 1.cls
    path.write_bytes(first + head.tobuf())
    sparse_end = 1024 + 512 + 3 * GIB
    with open(path, "r+b") as file:
        file.seek(sparse_end)
        file.write(content[1024:])
    return path


def test_nothing_that_is_enormous_is_read(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        (tmp_path / "photos" / label / "a.png").write_bytes(encoded(noise(8, 8)))
    sparse(tmp_path / "photos" / "cat" / "b.jpg", 3 * GIB, b"\xff\xd8\xff")
    (tmp_path / "listed").mkdir()
    sparse(tmp_path / "listed" / "classes.txt", 3 * GIB)
    tar(tmp_path / "listed" / "a.tar", examples([0, 1]))
    cases = {
        sparse(tmp_path / "a.jpg", 3 * GIB, b"\xff\xd8\xff"): "are read",
        tmp_path / "photos": "are read",
        sparse(tmp_path / "a.csv", 3 * GIB): "are read",
        sparse(tmp_path / "b.csv", GIB): "more than 1,048,576 characters",
        sparse(tmp_path / "c.csv", GIB, b"path,label\n"): "more than 1,048,576 characters",
        sparse_tar(tmp_path / "b.tar"): "are read",
        tmp_path / "listed": "are read",
        sparse(tmp_path / "a.parquet", 3 * GIB, b"PAR1"): "not a readable parquet file",
        pages_of_zeros(tmp_path / "b.parquet"): "bytes and 335,",
    }
    (tmp_path / "warm").mkdir()
    warm = store(tmp_path / "warm" / "a.parquet", [0, 1, 0, 1])
    for (path, said), (came, grown) in zip(cases.items(), measured(warm, *cases), strict=True):
        assert came.startswith("65 "), (path, came)
        assert said in came, (path, came)
        assert grown <= MOST, (path, grown)


def test_a_word_that_all_rows_share_is_read_once(tmp_path):
    path = the_same_word(tmp_path / "a.parquet", rows=200_000)
    assert path.stat().st_size < 10_000
    source = open_source(path)
    assert len(source.split("train")) == 200_000
    assert [len(name) for name in source.classes] == [2**20]


def test_more_rows_than_bytes_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    the_same_word(path, rows=2**20 + 1, each=3)
    assert "more than it has bytes" in refused(path)
    assert parquet_child.MANY == 2**20


def test_a_picture_too_large_to_be_sent_is_told_and_not_sent(monkeypatch):
    monkeypatch.setattr(parquet_child, "LARGEST", 3)
    for kind in (pa.binary(), pa.large_binary()):
        lengths, content = parquet_child._parts(pa.array([b"-", b"aa", b"bbbb", None, b"ccc"], kind).slice(1))
        assert np.frombuffer(lengths, "<i8").tolist() == [2, -4, -1, 3]
        assert bytes(content) == b"aaccc"
    found = Pieces("a.parquet", np.arange(5, 9), [(np.frombuffer(lengths, "<i8"), content)])
    assert (found[0], found[3]) == (b"aa", b"ccc")
    with pytest.raises(DataError, match=r"a\.parquet: the picture of row 6: 4 bytes"):
        found[1]
    with pytest.raises(DataError, match="row 7 holds no picture bytes"):
        found[2]


# Pictures as a network sees them

STEPS = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
TOO_LARGE = [{"size": 2049}, {"size": 16384, "resize": 16384}, {"size": 299, "resize": 4098}]


@pytest.mark.parametrize("sides", TOO_LARGE, ids=str)
def test_pictures_that_take_gigabytes_are_no_preprocessing(sides):
    with pytest.raises(ValueError, match="take gigabytes of memory"):
        Preprocess(**sides, **STEPS)
    assert Preprocess(size=2048, resize=4096, **STEPS).size == 2048


def test_a_network_is_not_asked_for_at_such_a_size():
    with pytest.raises(UsageError, match="--image 5000: above 2,048, where one picture takes gigabytes"):
        decide("inception_v3", 2, replace(PUBLISHED, image=5000))
    assert decide("inception_v3", 2, replace(PUBLISHED, image=2048)).image == 2048


@pytest.mark.parametrize(("size", "found"), [(32, 256), (331, 256), (512, 256), (1024, 85), (2048, 21)])
def test_large_pictures_are_answered_a_few_at_a_time(size, found):
    steps = Preprocess(size=size, **STEPS)
    assert steps.at_a_time(256) == found
    assert steps.at_a_time(16) == 16


@pytest.mark.parametrize("size", [2049, 16384])
def test_a_card_with_such_a_size_is_one_line(size):
    plain = json.loads(CARD.to_json())
    plain["preprocess"]["size"] = size
    with pytest.raises(DataError, match=r"^runs/a: its card .*take gigabytes of memory"):
        Card.from_json(json.dumps(plain), "runs/a")
