"""Copies and near copies, found by hashes in bands."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from inceptory.data.check import duplicates
from inceptory.data.check.duplicates import NEAR, candidates, groups, hashes, near, same


def scene(seed: int, size: int = 96) -> Image.Image:
    """A picture with forms of many sizes, as photos have them."""
    random = np.random.default_rng(seed)
    layers = [random.uniform(0, 255, (side, side, 3)).astype(np.uint8) for side in (3, 6, 12, 24)]
    grown = [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC), float) for one in layers]
    return Image.fromarray(np.mean(grown, axis=0).clip(0, 255).astype(np.uint8))


def thumbnails(pictures) -> np.ndarray:
    return np.stack([np.asarray(one.convert("L").resize((16, 16), Image.Resampling.BOX)) for one in pictures])


def near_rows(pictures, labels=None):
    labels = np.zeros(len(pictures), dtype=np.int64) if labels is None else np.array(labels)
    return near(thumbnails(pictures), labels)


def recompressed(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=20)
    return Image.open(buffer)


def tinted(picture):
    values = np.asarray(picture, float) * (1.0, 0.85, 0.7)
    return Image.fromarray(values.astype(np.uint8))


CHANGED = {
    "recompressed": recompressed,
    "made smaller": lambda one: one.resize((40, 40)),
    "made larger": lambda one: one.resize((300, 300)),
    "squeezed": lambda one: one.resize((96, 64)),
    "cut by a pixel": lambda one: one.crop((1, 1, 95, 95)),
    "brighter": lambda one: one.point(lambda value: min(255, value + 30)),
    "less contrast": lambda one: one.point(lambda value: 64 + value // 2),
    "tinted": tinted,
    "grey": lambda one: one.convert("L"),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_copy_is_a_near_duplicate_and_other_pictures_are_not(change):
    pictures = [scene(seed) for seed in range(60)]
    assert near_rows(pictures) == []
    assert near_rows([*pictures, CHANGED[change](pictures[17])]) == [[17, 60]]


def test_several_copies_are_one_group():
    pictures = [scene(seed) for seed in range(20)]
    copies = [change(pictures[3]) for change in (recompressed, tinted)]
    assert near_rows([*pictures, *copies]) == [[3, 20, 21]]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_pictures_are_no_special_case(count):
    pictures = [scene(seed) for seed in range(count)]
    assert near(thumbnails(pictures) if pictures else np.zeros((0, 16, 16), np.uint8), np.zeros(count, int)) == []
    if count:
        assert near_rows([*pictures, recompressed(pictures[0])], range(count + 1)) == [[0, count]]


def test_pictures_of_one_tone_are_nobody_s_duplicates():
    blank = [Image.new("L", (32, 32), tone) for tone in (0, 100, 101, 255)]
    assert near_rows(blank) == []


def test_drawn_digits_are_alike_and_no_duplicates():
    """1,797 drawings of ten signs: without the bar that rises with them there are over a thousand alarms."""
    from inceptory.data.sources.opening import open_source

    split = open_source("digits").split("train")
    found = near(thumbnails([Image.fromarray(one) for one in split.pictures]), split.labels)
    assert sum(map(len, found)) <= 6


def test_every_pair_within_six_bits_is_a_candidate():
    """Six bits lie in at most six of eight bands, and two are enough."""
    random = np.random.default_rng(0)
    found = random.integers(0, 256, (400, 8), dtype=np.uint8)
    bits = np.unpackbits(found[:200], axis=1)
    for row in bits:
        row[random.choice(64, 6, replace=False)] ^= 1
    found[200:] = np.packbits(bits, axis=1)
    pairs = {tuple(pair) for pair in candidates(found).tolist()}
    assert {(row, row + 200) for row in range(200)} <= pairs


def test_most_pairs_at_the_limit_are_candidates_and_none_beyond():
    random = np.random.default_rng(0)
    found = np.tile(random.integers(0, 256, (300, 8), dtype=np.uint8), (3, 1))
    bits = np.unpackbits(found, axis=1)
    for row in range(300, 900):
        bits[row, random.choice(64, NEAR + (row >= 600), replace=False)] ^= 1
    pairs = candidates(np.packbits(bits, axis=1)).tolist()
    at, beyond = ([a for a, b in pairs if b - a == step] for step in (300, 600))
    assert len(at) >= 200
    assert beyond == []


def test_among_many_pictures_every_pair_within_five_bits_is_a_candidate(monkeypatch):
    """Three bands of eight must be whole then."""
    monkeypatch.setattr(duplicates, "MANY", 100)
    random = np.random.default_rng(0)
    bits = np.tile(random.integers(0, 2, (200, 64), dtype=np.uint8), (2, 1))
    for row in bits[200:]:
        row[random.choice(64, 5, replace=False)] ^= 1
    pairs = {tuple(pair) for pair in candidates(np.packbits(bits, axis=1)).tolist()}
    assert {(row, row + 200) for row in range(200)} <= pairs


@pytest.mark.slow
def test_thousands_of_equal_looks_are_met_in_a_window():
    found = np.zeros((5000, 8), dtype=np.uint8)
    pairs = candidates(found)
    assert len(pairs) <= 5000 * (duplicates.WINDOW - 1)
    assert groups(5000, pairs) == [list(range(5000))]


def test_hashes_have_64_even_bits():
    bits = np.unpackbits(hashes(thumbnails([scene(seed) for seed in range(300)])), axis=1)
    assert bits.shape == (300, 64)
    assert bits.mean(0).min() >= 0.35
    assert bits.mean(0).max() <= 0.65


def test_equal_digests_are_groups_and_empty_ones_are_none():
    assert same(["a", "b", "", "a", "", "c", "b", "a"]) == [[0, 3, 7], [1, 6]]


def test_pairs_that_share_a_row_are_one_group():
    assert groups(8, np.array([[1, 5], [2, 3], [5, 7]])) == [[1, 5, 7], [2, 3]]
    assert groups(3, np.empty((0, 2), dtype=np.int64)) == []


@pytest.mark.slow
def test_cifar_10_s_own_near_duplicates_are_found(cifar10):
    """Counted once and looked at: of 144 groups of the whole set drawn at random, 143 are one photo."""
    from inceptory.data.picture.decode import open_picture
    from inceptory.data.sources.opening import open_source

    split = open_source(cifar10 / "test.parquet").split("test")
    grey = thumbnails([open_picture(picture, "a") for picture in split.pictures])
    found = near(grey, split.labels)
    assert 15 <= len(found) <= 25
    assert all(len({int(split.labels[row]) for row in group}) == 1 for group in found)
