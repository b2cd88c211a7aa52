"""Mixing what must be read block by block: near a full shuffle whatever the order on disk, in bounded memory."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from inceptory.data.feed import windows
from inceptory.data.feed.windows import Held, deal, expected, held, mixture
from inceptory.data.sources.sequences import Blocks, take
from inceptory.errors import DataError
from tests.data.blocked import BATCH, Counted, distinct


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
