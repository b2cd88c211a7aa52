"""Augmentations: the same generator state, the same pictures, and nothing invented."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torchvision.transforms import RandomErasing

from inceptory.data.augment import geometry as augment
from inceptory.data.augment.geometry import alternating_flip, erase, flip, keras_shift, moved, shift


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


def moved_whole(picture, down, right):
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
    return [(down, right) for down in reach for right in reach if torch.equal(moved_whole(before, down, right), after)]


AUGMENTATIONS = {
    "flip": flip,
    "shift": lambda images, source: shift(images, 2, source),
    "zero shift": lambda images, source: shift(images, 2, source, border="zero"),
    "erase": erase,
}


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


def test_a_shift_with_zeros_moves_the_picture_over_black():
    images = pictures(30)
    for before, after in zip(images, shift(images, 2, generator(), border="zero"), strict=True):
        padded = F.pad(before, (2, 2, 2, 2))
        places = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y : y + 6, x : x + 5], after)]
        assert len(places) == 1


def test_shifts_with_both_borders_move_alike():
    images = pictures(30)
    mirrored_in, black = (shift(images, 2, generator(), border) for border in ("reflect", "zero"))
    inside = black != 0
    assert torch.equal(mirrored_in[inside], black[inside])


def test_an_alternating_flip_shows_each_side_in_every_other_epoch():
    images, rows = pictures(40), torch.arange(100, 140)
    first, second, third = (alternating_flip(images, rows, epoch, seed=3) for epoch in (0, 1, 2))
    assert torch.equal(first, third)
    assert torch.equal(first.flip(3), second)
    for before, after in zip(images, first, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))


def test_an_alternating_flip_depends_on_row_and_seed_and_not_on_the_batch():
    images, rows = pictures(40), torch.arange(40)
    whole = alternating_flip(images, rows, 0, seed=3)
    order = torch.randperm(40, generator=generator())
    assert torch.equal(alternating_flip(images[order], rows[order], 0, seed=3), whole[order])
    assert not torch.equal(alternating_flip(images, rows, 0, seed=4), whole)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, -5])
def test_the_coin_of_an_alternating_flip_is_fair_and_remembers_nothing(seed):
    coins = augment._coin(torch.arange(20_000), seed)
    assert 9_700 < int(coins.sum()) < 10_300
    assert 9_700 < int((coins[1:] == coins[:-1]).sum()) < 10_300
    assert 9_700 < int((coins == augment._coin(torch.arange(20_000), seed ^ 1)).sum()) < 10_300


def test_the_coin_is_the_first_bit_of_splitmix64():
    """Published outputs for seed 1234567: 6457827717110365317, 3203168211198807973, 9817491932198370423,
    4593380528125082431, 16408922859458223821."""
    assert augment._coin(torch.arange(5), 1234567).tolist() == [False, False, True, False, True]


def keras_way(picture, down, right):
    """What ImageDataGenerator does to a picture (C, H, W): each channel by scipy's affine transform."""
    return np.stack(
        [
            ndimage.affine_transform(channel, np.eye(2), (down, right), order=1, mode="constant", cval=0.0)
            for channel in picture
        ]
    )


MOVES = [(0.0, 0.0), (1.0, -2.0), (0.3, -0.7), (-3.99, 3.99), (2.5, 0.0), (-0.001, 0.001), (4.0, -4.0), (31.0, 0.5)]


@pytest.mark.parametrize("move", MOVES)
def test_a_continuous_shift_is_that_of_keras(move):
    images = torch.randn(3, 3, 32, 30, generator=generator(), dtype=torch.float64)
    down, right = (torch.full((3,), amount, dtype=torch.float64) for amount in move)
    expected = np.stack([keras_way(picture, *move) for picture in images.numpy()])
    np.testing.assert_allclose(moved(images, down, right).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(moved(images.float(), down, right).numpy(), expected, atol=2e-6)


def test_continuous_shifts_are_drawn_evenly_in_both_directions(monkeypatch):
    drawn = []
    monkeypatch.setattr(augment, "moved", lambda values, down, right: drawn.append((down, right)) or values)
    keras_shift(torch.zeros(4000, 1, 1, 1), 4.0, generator())
    for moves_of in drawn[0]:
        counts = torch.histc(moves_of.float(), bins=8, min=-4, max=4)
        assert counts.sum() == 4000
        assert counts.min() > 400
    assert abs(float(np.corrcoef(*drawn[0])[0, 1])) < 0.05


def test_continuous_shifts_follow_the_generator():
    images = torch.randn(8, 3, 16, 16, generator=generator())
    first, second, other = (keras_shift(images, 4.0, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32


def test_boxes_are_distributed_as_torchvision_draws_them():
    images = torch.zeros(4000, 3, 32, 24, dtype=torch.uint8)
    scale, ratio = (0.02, 0.33), (0.3, 3.3)
    highs, wides, fits = augment._boxes(images, scale, ratio, generator())
    highs, wides = highs[fits].double(), wides[fits].double()
    torch.manual_seed(0)
    theirs = [RandomErasing.get_params(images[0], scale, ratio, [0.0])[2:4] for _ in range(4000)]
    high, wide = torch.tensor(theirs, dtype=torch.float64).T
    for ours, expected in ((highs, high), (wides, wide), (highs * wides, high * wide)):
        assert abs(float(ours.mean() - expected.mean())) < 0.04 * float(expected.mean())
        assert abs(float(ours.std() - expected.std())) < 0.06 * float(expected.std())


def test_erasing_covers_a_box_and_leaves_the_rest():
    images = pictures(200, height=20, width=20).clamp(1)
    after = erase(images, generator(), probability=1.0)
    for before, picture in zip(images, after, strict=True):
        covered = (picture == 0).all(0)
        rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
        height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
        assert int(covered.sum()) == height * width
        assert torch.equal(picture[:, ~covered], before[:, ~covered])
        assert 0.01 < height * width / 400 < 0.36


def test_erasing_happens_with_its_probability():
    images = pictures(2000, channels=1, height=8, width=8).clamp(1)
    covered = (erase(images, generator(), probability=0.25) == 0).flatten(1).any(1)
    assert 420 < int(covered.sum()) < 580


@pytest.mark.parametrize("place", ["start", "end"])
def test_boxes_reach_every_edge(place):
    images = torch.ones(4000, 1, 8, 8, dtype=torch.uint8)
    covered = erase(images, generator(), probability=1.0)[:, 0] == 0
    edge = 0 if place == "start" else -1
    assert covered[:, edge].any()
    assert covered[:, :, edge].any()
