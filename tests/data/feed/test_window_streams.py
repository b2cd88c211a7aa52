"""Streams from sorted files: their classes are mixed in windows, whoever reads them."""

from __future__ import annotations

import io
import tarfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from inceptory.data.feed import feed as feeding
from inceptory.data.feed import windows
from inceptory.data.feed.feed import Stream, feed
from inceptory.data.feed.windows import mixture
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.parquet.source import ParquetPictures
from inceptory.data.sources.source import Split
from inceptory.errors import DataError
from tests.data.blocked import BATCH, Counted, distinct
from tests.data.pictures import encoded, noise

FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(16)]
STEPS = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def write_parquet(path, labels, size):
    images = [{"bytes": FILES[row % len(FILES)], "path": None} for row in range(len(labels))]
    table = pa.table({"image": images, "label": labels.tolist()})
    # Without a dictionary, in which the pictures that come again would take no place.
    pq.write_table(table, path, row_group_size=size, use_dictionary=False)
    return path


def write_tar(path, labels):
    with tarfile.open(path, "w") as tar:
        for row, label in enumerate(labels):
            for kind, data in (("png", FILES[row % len(FILES)]), ("cls", b"%d" % label)):
                member = tarfile.TarInfo(f"{row:05}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


SORTED = np.arange(1000) * 10 // 1000


@pytest.fixture(scope="module", params=["parquet", "tar"])
def stored(request, tmp_path_factory):
    """A thousand pictures sorted by class in a file, in row groups of half a class."""
    path = tmp_path_factory.mktemp("sorted") / f"a.{request.param}"
    return write_parquet(path, SORTED, 50) if request.param == "parquet" else write_tar(path, SORTED)


@pytest.fixture
def streams(monkeypatch):
    """Open a stream whose windows hold a quarter of those pictures; all are closed after the test."""
    monkeypatch.setattr(windows, "WINDOW", 250 * (len(FILES[0]) + 30))
    made = []

    def stream(split, workers=0, batch=BATCH):
        made.append(feed(split, "0123456789", STEPS, memory=0, workers=workers, batch=batch))
        assert isinstance(made[-1], Stream)
        return made[-1]

    yield stream
    for one in made:
        one.close()


@pytest.mark.parametrize("size", [50, 100])
def test_windows_hold_a_quarter_of_the_pictures(size, streams, tmp_path):
    one = streams(open_source(write_parquet(tmp_path / "a.parquet", SORTED, size)).split("train"))
    one.order(generator())
    assert one._mixture.windows == 4


def test_a_stream_of_a_sorted_file_mixes_its_classes(stored, streams):
    train = open_source(stored).with_validation(0.1).split("train")
    one = streams(train)
    order = one.order(generator())
    full = distinct(train.labels, torch.randperm(len(train), generator=generator()).numpy())
    assert distinct(train.labels, order.numpy()) >= 0.9 * full
    rows, shown = [], []
    for batch in one.batches(order.split(BATCH)):
        rows += batch.rows.tolist()
        shown.append(len(batch.labels.unique()))
        assert torch.equal(batch.labels, torch.from_numpy(train.labels)[batch.rows])
    assert sorted(rows) == list(range(len(train)))
    assert np.mean(shown[:-1]) >= 0.9 * full


def test_the_order_is_a_function_of_the_generator_and_the_data(stored, streams):
    split = open_source(stored).split("train")
    first, second = streams(split), streams(open_source(stored).split("train"))
    first.order(generator(5))
    for _ in first.batches([torch.arange(30)]):
        pass
    assert torch.equal(first.order(generator(1)), second.order(generator(1)))
    assert not torch.equal(first.order(generator(1)), second.order(generator(2)))


def test_pictures_come_the_same_from_workers_that_get_them_sent(stored, streams):
    split = open_source(stored).split("train")
    found = []
    for workers in (0, 2):
        one = streams(split, workers)
        found.append(torch.cat([batch.pixels for batch in one.batches(one.order(generator()).split(BATCH))]))
    assert torch.equal(*found)
    expected = torch.from_numpy(np.stack([noise(8, 8, seed=seed) for seed in range(16)]).transpose(0, 3, 1, 2))
    (batch,) = one.batches([torch.tensor([0, 999, 500, 3])])
    assert torch.equal(batch.pixels, expected[[0, 999 % 16, 500 % 16, 3]])


def test_balanced_draws_keep_to_windows_and_give_classes_equal_chances(streams, tmp_path):
    labels = np.repeat(np.arange(2), [900, 100])
    split = open_source(write_parquet(tmp_path / "a.parquet", labels, 50)).split("train")
    pictures = Counted(np.arange(1000) // 50)
    one = streams(Split(pictures, split.labels, [f"a:{row}" for row in range(1000)]))
    order = one.order(generator(), balanced=True)
    assert len(order) == 1000
    assert 400 < int(split.labels[order.numpy()].sum()) < 600
    for row in order.tolist():
        one._held[row]
    assert max(Counter(block for block, _ in pictures.reads).values()) <= one._mixture.reads


def test_a_stream_that_cannot_mix_is_refused_when_it_is_opened_and_one_that_only_reads_is_not(streams, tmp_path):
    split = open_source(write_parquet(tmp_path / "train.parquet", SORTED, 1000)).split("train")
    windows.WINDOW = 1000  # the fixture sets it back
    with pytest.raises(DataError, match=r"train\.parquet: its row groups are too large"):
        streams(split)
    reading = streams(split, batch=None)
    assert sum(len(batch.rows) for batch in reading.batches(torch.arange(1000).split(100))) == 1000


def test_an_epoch_s_end_gives_the_memory_back(streams, tmp_path):
    split = open_source(write_parquet(tmp_path / "a.parquet", SORTED, 50)).split("train")
    one = streams(split)
    stream = one.batches(one.order(generator()).split(BATCH))
    next(stream)
    assert one._held._kept
    for _ in stream:
        pass
    assert not one._held._kept


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_its_file_does_not_hold_is_skipped_by_name(streams, tmp_path, workers):
    images = [{"bytes": None if row == 3 else FILES[0], "path": None} for row in range(40)]
    table = pa.table({"image": images, "label": [row % 2 for row in range(40)]})
    pq.write_table(table, tmp_path / "a.parquet", write_statistics=False)
    one = streams(open_source(tmp_path / "a.parquet").split("train"), workers)
    (batch,) = one.batches([torch.arange(40)])
    assert batch.rows.tolist() == [*range(3), *range(4, 40)]
    assert len(one.skipped) == 1
    assert "a.parquet: row 3 holds no picture bytes" in one.skipped[0]


def test_that_blocks_are_read_several_times_is_said(streams, tmp_path):
    split = open_source(write_parquet(tmp_path / "a.parquet", SORTED, 100)).split("train")
    one = streams(split)
    told = f"each row group is read up to {one._mixture.reads} times an epoch, so that its classes mix"
    assert one._mixture.reads > 1
    assert one.notes == (f"{tmp_path / 'a.parquet'}: {told} (in random order once would do)",)
    mixed = open_source(write_parquet(tmp_path / "b.parquet", np.arange(1000) % 10, 100)).split("train")
    assert streams(mixed).notes == ()


def test_the_usual_batch_of_a_stream_is_mixed_for_when_nobody_says_another(streams, tmp_path):
    split = open_source(write_parquet(tmp_path / "a.parquet", SORTED, 50)).split("train")
    one = streams(split, batch=None)
    assert sorted(one.order(generator()).tolist()) == list(range(1000))
    assert one._mixture.wanted == pytest.approx(mixture(one._held.blocks, split.labels, 64, "").wanted)
    assert feeding.USUAL_BATCH == 64


def test_an_epoch_of_a_stream_reads_every_picture_once(tmp_path, streams, monkeypatch):
    """Window by window: an order that jumps between them would read their blocks again and again."""
    monkeypatch.setattr(windows, "PIECE", 1)
    read, real = [], ParquetPictures.read

    def noted(self, block, rows):
        read.extend(rows.tolist())
        return real(self, block, rows)

    monkeypatch.setattr(ParquetPictures, "read", noted)
    one = streams(open_source(write_parquet(tmp_path / "a.parquet", SORTED, 50)).split("train"))
    for _ in one.batches(one.order(generator()).split(BATCH)):
        pass
    assert sorted(read) == list(range(len(SORTED)))
