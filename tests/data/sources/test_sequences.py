"""Long sequences in little memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from inceptory.data.sources.sequences import Blocks, Frozen, Numbered, Texts, View, blocks_of, paths, take

WORDS = ["a", "", "żółw", "b/c.png", "odd\udcff"]
SEQUENCES = {
    "texts": (Texts("x/", WORDS), [f"x/{word}" for word in WORDS]),
    "numbered": (Numbered(["a", "none", "b"], [3, 0, 2]), ["a:0", "a:1", "a:2", "b:0", "b:1"]),
    "paths": (paths(Texts("x/", WORDS)), [Path(f"x/{word}") for word in WORDS]),
    "view": (take(list("abcdefg"), np.array([6, 0, 3, 3, 1])), list("gaddb")),
}


@pytest.fixture(params=SEQUENCES)
def both(request):
    return SEQUENCES[request.param]


def test_it_is_the_list(both):
    sequence, items = both
    assert list(sequence) == items
    assert [sequence[row] for row in range(-5, 5)] == items + items
    assert len(sequence) == 5
    assert sequence == items
    assert sequence != items[:-1]
    assert sequence != [*items[:-1], "else"]
    assert sequence != 5


def test_slices_and_numbers_of_numpy_work_too(both):
    sequence, items = both
    assert list(sequence[1:4]) == items[1:4]
    assert list(sequence[::-2]) == items[::-2]
    assert sequence[np.int64(2)] == items[2]


@pytest.mark.parametrize("row", [5, -6])
def test_beyond_the_end_is_an_index_error(both, row):
    with pytest.raises(IndexError):
        both[0][row]


def test_a_view_of_a_view_shows_the_sequence_behind_both():
    view = take(take(list("abcdef"), np.array([5, 4, 3])), np.array([2, 0]))
    assert isinstance(view, View)
    assert (view.base, list(view)) == (list("abcdef"), ["d", "f"])


def test_a_million_names_take_a_few_megabytes():
    names = Texts("/a/long/folder/of/photos/", (f"class {row % 100}/{row}.jpg" for row in range(1_000_000)))
    assert sum(getattr(part, "nbytes", sys.getsizeof(part)) for part in vars(names).values()) < 32 * 2**20
    assert names[999_999] == "/a/long/folder/of/photos/class 99/999999.jpg"


class Grouped(Frozen[int]):
    def __len__(self):
        return 6

    def item(self, row):
        return row

    def blocks(self):
        return Blocks(np.array([0, 0, 1, 1, 2, 2]), np.array([5, 6, 7]))

    def read(self, block, rows):
        return [self[row] for row in rows]


def test_blocks_of_a_view_are_those_of_its_rows():
    assert blocks_of([1, 2]) is None
    assert blocks_of(take([1, 2], np.array([0]))) is None
    assert blocks_of(Grouped()).of_row.tolist() == [0, 0, 1, 1, 2, 2]
    part = blocks_of(take(Grouped(), np.array([5, 0, 3])))
    assert (part.of_row.tolist(), part.each.tolist()) == ([2, 0, 1], [5, 6, 7])
