"""Mixing what must be read block by block: near a full shuffle whatever the order on disk, in bounded memory."""

from __future__ import annotations

import io
import tarfile
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from inceptory.data import feed as feeding
from inceptory.data import windows
from inceptory.data.feed import Stream, feed
from inceptory.data.parquet import ParquetPictures
from inceptory.data.preprocess import Preprocess
from inceptory.data.sequences import Blocks, Frozen, take
from inceptory.data.sources import Split, open_source
from inceptory.data.windows import Held, deal, expected, held, mixture
from inceptory.errors import DataError

from .pictures import encoded, noise

STEPS = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(16)]
BATCH = 64


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Counted(Frozen[bytes]):
    """Pictures in blocks that tells what is read of it: (block, rows) each time."""

    def __init__(self, of_row, size=1000):
        self.of_row, self.size, self.reads = np.asarray(of_row), size, []

    def __len__(self):
        return len(self.of_row)

    def item(self, row):
        return b"%d" % row

    def blocks(self):
        return Blocks(self.of_row, np.full(int(self.of_row.max()) + 1, self.size))

    def read(self, block, rows):
        assert set(self.of_row[rows].tolist()) == {block}
        self.reads.append((block, len(rows)))
        return [self.item(row) for row in rows]


def distinct(labels, order, batch=BATCH):
    """Classes in each batch of an epoch, on average; the last batch is shorter and left out."""
    groups = [labels[rows] for rows in np.array_split(order, np.arange(batch, len(order), batch))[:-1]]
    return np.mean([len(np.unique(group)) for group in groups])


def ordered(blocks, labels, batch=BATCH, seed=0):
    """One epoch as a stream orders it."""
    plan = mixture(blocks, labels, batch, "a.parquet")
    window, random = plan.dealt(np.random.default_rng(seed)), np.random.default_rng(seed)
    return plan, window, np.lexsort((random.random(len(window)), window))


# Near a full shuffle

LAYOUTS = {
    "10 classes, 50 groups": (10, 5000, 100, 300_000),
    "10 classes, 10 groups of a class each": (10, 5000, 500, 700_000),
    "2 classes, 4 groups": (2, 4000, 1000, 600_000),
    "100 classes, groups that cross classes": (100, 10_000, 130, 1_500_000),
    "1000 classes, few pictures of each": (1000, 20_000, 50, 4_000_000),
    "all in one window": (10, 5000, 500, 2**40),
}
"""Classes, rows, rows of a group, and bytes of a window; each picture has 1,000."""


@pytest.mark.parametrize("case", LAYOUTS)
def test_batches_of_sorted_classes_show_nearly_as_many_as_a_full_shuffle(case, monkeypatch):
    classes, count, size, window = LAYOUTS[case]
    monkeypatch.setattr(windows, "WINDOW", window)
    labels = np.arange(count) * classes // count
    blocks = Counted(np.arange(count) // size).blocks()
    full = np.mean([distinct(labels, np.random.default_rng(seed).permutation(count)) for seed in range(3)])
    for seed in range(3):
        plan, _, order = ordered(blocks, labels, seed=seed)
        assert sorted(order.tolist()) == list(range(count))
        assert distinct(labels, order) >= 0.9 * full
    assert plan.windows > 1 or window == 2**40
    assert plan.classes == pytest.approx(distinct(labels, order), rel=0.05), "what is promised is what comes"


def test_each_window_has_its_share_of_every_class(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 1_000_000)
    labels = np.repeat([0, 1, 2], [6000, 3000, 1000])
    _, window, _ = ordered(Counted(np.arange(10_000) // 100).blocks(), labels)
    shares = np.stack([np.bincount(labels[window == number], minlength=3) for number in np.unique(window)])
    assert len(shares) > 5
    assert np.abs(shares / shares.sum(1, keepdims=True) - [0.6, 0.3, 0.1]).max() < 0.1


def test_a_mixed_file_costs_one_reading_of_each_block(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 200_000)
    labels = np.random.default_rng(0).integers(0, 10, 5000)
    plan, window, _ = ordered(Counted(np.arange(5000) // 100).blocks(), labels)
    assert (plan.reads, plan.windows) == (1, 25)
    assert all(len(np.unique(window[block * 100 : block * 100 + 100])) == 1 for block in range(50))


def test_epochs_bring_other_blocks_together_and_every_row_may_come_anywhere(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 10_000)
    labels = np.arange(40) * 4 // 40
    orders = [ordered(Counted(np.arange(40) // 2).blocks(), labels, 4, seed)[2] for seed in range(400)]
    assert {order.tolist().index(0) for order in orders} == set(range(40))
    assert len({tuple(order) for order in orders}) == 400


def test_pictures_of_several_classes_are_mixed_too(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 500_000)
    labels = np.zeros((4000, 8), dtype=np.uint8)
    labels[np.arange(4000), np.arange(4000) // 500] = 1
    labels[::2, 0] = 1
    plan, _, order = ordered(Counted(np.arange(4000) // 250).blocks(), labels, 16)
    shown = [labels[rows].any(0).sum() for rows in np.array_split(order, 250)]
    assert np.mean(shown) == pytest.approx(plan.classes, rel=0.05)
    assert plan.classes > 0.9 * plan.wanted


def test_large_batches_mix_more_blocks(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 4_000_000)
    labels = np.arange(20_000) * 200 // 20_000
    blocks = Counted(np.arange(20_000) // 100).blocks()
    small, large = (mixture(blocks, labels, batch, "a") for batch in (4, 256))
    assert small.reads < large.reads


@pytest.mark.parametrize("batch", [1, 7, 64, 300])
def test_expected_classes_are_those_of_drawing_without_putting_back(batch):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), [1, 2, 5, 20, 72, 200])
    counts = np.r_[300, np.bincount(labels)][None]
    drawn = [len(np.unique(random.permutation(labels)[:batch])) for _ in range(3000)]
    assert expected(counts, batch)[0] == pytest.approx(np.mean(drawn), abs=0.06)


# Bounded memory


@pytest.mark.parametrize("spread", ["even", "uneven"])
@pytest.mark.parametrize("reads", [1, 3, 8])
def test_no_window_takes_more_than_its_bytes(spread, reads, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 1_000_000)
    random = np.random.default_rng(1)
    counts = np.full(60, 100) if spread == "even" else random.integers(1, 300, 60)
    blocks = Blocks(np.repeat(np.arange(60), counts), random.integers(500, 3000, 60))
    labels = np.arange(len(blocks.of_row)) * 10 // len(blocks.of_row)
    count = windows._windows(blocks, reads)
    for seed in range(5):
        window = deal(blocks, labels, count, reads, np.random.default_rng(seed))
        sizes = np.bincount(window, weights=blocks.each[blocks.of_row])
        assert len(sizes) == count > 5
        assert sizes.max() <= 1_000_000


def test_blocks_are_read_as_often_as_the_plan_says_and_two_windows_are_held(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 700_000)
    monkeypatch.setattr(windows, "PIECE", 1)
    pictures = Counted(np.arange(5000) // 500)
    labels = np.arange(5000) * 10 // 5000
    plan, window, order = ordered(pictures.blocks(), labels)
    reader, most = held(pictures), 0
    reader.arrange(window)
    for row in order.tolist():
        assert reader[row] == b"%d" % row
        most = max(most, sum(reader._bytes.values()))
        assert len(reader._kept) <= 2
    assert plan.windows > 4
    assert most <= 2 * 700_000
    assert sum(rows for _, rows in pictures.reads) == 5000, "no part is read twice"
    assert max(Counter(block for block, _ in pictures.reads).values()) <= plan.reads


def test_rows_of_a_view_are_all_that_is_held_of_a_block():
    pictures = Counted(np.arange(40) // 10)
    view = take(pictures, np.array([35, 1, 3, 38, 5]))
    reader = Held(view, windows.blocks_of(view))
    assert list(reader) == [b"35", b"1", b"3", b"38", b"5"]
    reader.arrange(np.zeros(5, dtype=np.int64))
    pictures.reads.clear()
    assert list(reader) == [b"35", b"1", b"3", b"38", b"5"]
    assert pictures.reads == [(3, 2), (0, 3)]


def test_in_their_own_order_large_blocks_are_held_piece_by_piece(monkeypatch):
    monkeypatch.setattr(windows, "PIECE", 20_000)
    pictures = Counted(np.arange(300) // 100)
    reader, most = held(pictures), 0
    for row in range(300):
        reader[row]
        most = max(most, sum(reader._bytes.values()))
    assert most <= 3 * 20_000
    assert [rows for _, rows in pictures.reads] == [20] * 15
    reader.forget()
    assert (len(reader._kept), len(reader._bytes)) == (0, 0)


# Refusals


def test_what_cannot_be_mixed_is_refused_with_a_size_that_can(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 200_000)
    labels = np.arange(20_000) * 100 // 20_000
    with pytest.raises(DataError, match=r"a\.parquet: its classes lie one after another") as caught:
        mixture(Counted(np.arange(20_000) // 200).blocks(), labels, BATCH, "a.parquet")
    told = str(caught.value)
    assert "of the 47 classes of a full shuffle (write its rows in random order, or in row groups of at most" in told
    rows = int(told.split("at most ")[1].split(" ")[0].replace(",", ""))
    found = mixture(Counted(np.arange(20_000) // rows).blocks(), labels, BATCH, "a.parquet")
    assert found.classes >= 0.9 * found.wanted
    with pytest.raises(DataError, match="at most"):
        mixture(Counted(np.arange(20_000) // (2 * rows)).blocks(), labels, BATCH, "a.parquet")


def test_row_groups_beyond_the_memory_are_refused_though_they_are_mixed(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 100_000)
    labels = np.random.default_rng(0).integers(0, 10, 5000)
    with pytest.raises(DataError, match=r"row groups are too large to be mixed .* at most 1,250 rows"):
        mixture(Counted(np.arange(5000) // 2500).blocks(), labels, BATCH, "a.parquet")
    assert mixture(Counted(np.arange(5000) // 1250).blocks(), labels, BATCH, "a.parquet").classes > 9


# Streams from files


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
