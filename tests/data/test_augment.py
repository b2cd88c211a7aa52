"""Augmentations: the same generator state, the same pictures, and nothing invented."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from inceptory.data.augment import flip, shift


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count, channels=3, height=6, width=5, dtype=torch.uint8):
    """Noise in which every picture differs from its neighbours and its mirror image."""
    values = np.random.default_rng(0).integers(0, 256, (count, channels, height, width))
    return torch.from_numpy(values).to(dtype)


def mirrored(index, length):
    """Where a coordinate beyond the border looks back inside; the border itself is not repeated."""
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index


def moved(picture, down, right):
    """Move a picture (C, H, W) pixel by pixel."""
    _, height, width = picture.shape
    out = torch.empty_like(picture)
    for y in range(height):
        for x in range(width):
            out[:, y, x] = picture[:, mirrored(y + down, height), mirrored(x + right, width)]
    return out


def moves(before, after, pixels):
    """Every move of up to `pixels` that leads from one picture to the other."""
    reach = range(-pixels, pixels + 1)
    return [(down, right) for down in reach for right in reach if torch.equal(moved(before, down, right), after)]


AUGMENTATIONS = {"flip": flip, "shift": lambda images, source: shift(images, 2, source)}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_generator_state_gives_the_same_pictures(name):
    images = pictures(20)
    first, second, other = (AUGMENTATIONS[name](images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_moves_on_from_batch_to_batch(name):
    source = generator()
    first, second = (AUGMENTATIONS[name](pictures(20), source) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_global_generator_is_not_touched(name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    AUGMENTATIONS[name](pictures(20), generator())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_type_and_shape_are_kept(name, dtype):
    images = pictures(4, dtype=dtype)
    after = AUGMENTATIONS[name](images, generator())
    assert after.dtype == dtype
    assert after.shape == images.shape


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_input_is_not_modified(name):
    images = pictures(20)
    before = images.clone()
    AUGMENTATIONS[name](images, generator())
    assert torch.equal(images, before)


def test_a_flipped_picture_is_itself_or_its_mirror_image():
    images = pictures(40)
    for before, after in zip(images, flip(images, generator()), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))


def test_about_half_of_the_pictures_are_flipped():
    images = pictures(2000, channels=1, height=1)
    same = (flip(images, generator()) == images).flatten(1).all(1)
    assert 900 < int(same.sum()) < 1100


@pytest.mark.parametrize(("height", "width", "pixels"), [(6, 5, 2), (5, 6, 1), (4, 4, 3), (9, 7, 4)])
def test_a_shifted_picture_is_only_moved(height, width, pixels):
    images = pictures(12, height=height, width=width)
    for before, after in zip(images, shift(images, pixels, generator()), strict=True):
        assert moves(before, after, pixels)


def test_every_move_is_drawn_about_as_often():
    images = pictures(900, channels=1, height=4, width=4)
    drawn = Counter(
        move
        for before, after in zip(images, shift(images, 1, generator()), strict=True)
        for move in moves(before, after, 1)
    )
    assert len(drawn) == 9
    assert min(drawn.values()) > 60
    assert max(drawn.values()) < 140


def test_pictures_of_a_batch_move_on_their_own():
    images = pictures(1).repeat(30, 1, 1, 1)
    assert len({tuple(picture.flatten().tolist()) for picture in shift(images, 1, generator())}) > 3


def test_a_shift_of_nothing_is_the_same_batch():
    images = pictures(3)
    assert torch.equal(shift(images, 0, generator()), images)


def test_every_level_of_grey_survives_a_shift():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    after = shift(images, 1, generator())
    assert moves(images[0], after[0], 1)


def test_a_picture_may_be_shifted_by_all_but_its_last_pixel():
    images = pictures(2, height=8, width=8)
    for before, after in zip(images, shift(images, 7, generator()), strict=True):
        assert moves(before, after, 7)
