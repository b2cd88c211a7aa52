"""MixUp and CutMix: pixels and shares that belong together."""

from __future__ import annotations

import pytest
import torch

from inceptory.data.augment.mixing import cutmix, mixup
from tests.data.augment.test_augment import generator, pictures

BOTH = pytest.mark.parametrize("mix", [mixup, cutmix])
LABELS = torch.arange(40)


@BOTH
def test_the_same_generator_state_gives_the_same_mixture(mix):
    first, second, other = (mix(pictures(40), LABELS, 1.0, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.share, second.share)
    assert not torch.equal(first.pixels, other.pixels)


@BOTH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_type_and_shape_are_kept_and_the_input_is_not_modified(mix, dtype):
    images = pictures(40, dtype=dtype)
    before = images.clone()
    mixed = mix(images, LABELS, 1.0, generator())
    assert (mixed.pixels.dtype, mixed.pixels.shape) == (dtype, images.shape)
    assert (mixed.share.dtype, mixed.share.shape) == (torch.float32, (40,))
    assert torch.equal(images, before)


@BOTH
def test_the_first_label_is_the_picture_s_own_and_the_others_are_shuffled(mix):
    mixed = mix(pictures(40), LABELS, 1.0, generator())
    assert torch.equal(mixed.labels, LABELS)
    assert sorted(mixed.others.tolist()) == LABELS.tolist()
    assert not torch.equal(mixed.others, LABELS)


def test_mixup_adds_two_pictures_by_their_shares():
    images = pictures(40, dtype=torch.float32)
    mixed = mixup(images, LABELS, 1.0, generator())
    share = mixed.share.view(-1, 1, 1, 1)
    torch.testing.assert_close(mixed.pixels, share * images + (1 - share) * images[mixed.others], atol=1e-4, rtol=0)
    rounded = mixup(images.to(torch.uint8), LABELS, 1.0, generator())
    assert torch.equal(rounded.pixels.float(), mixed.pixels.round())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_drawn_from_beta(alpha):
    share = mixup(torch.zeros(8000, 1, 1, 1), torch.zeros(8000), alpha, generator()).share.double()
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_cutmix_puts_a_box_of_the_other_picture_into_the_first():
    images = (torch.arange(40, dtype=torch.uint8) + 1).view(40, 1, 1, 1).repeat(1, 3, 12, 9)
    mixed = cutmix(images, LABELS, 1.0, generator())
    for row, picture in enumerate(mixed.pixels):
        foreign = picture[0] == int(mixed.others[row]) + 1
        if int(mixed.others[row]) == row:
            continue
        assert torch.equal(picture, torch.where(foreign, int(mixed.others[row]) + 1, row + 1).expand(3, 12, 9))
        assert float(mixed.share[row]) == pytest.approx(1 - float(foreign.double().mean()), abs=1e-6)
        if foreign.any():
            rows, columns = foreign.any(1).nonzero()[:, 0], foreign.any(0).nonzero()[:, 0]
            assert int(foreign.sum()) == int(rows[-1] - rows[0] + 1) * int(columns[-1] - columns[0] + 1)


def test_boxes_of_cutmix_reach_every_place():
    images = torch.arange(400).view(400, 1, 1, 1).repeat(1, 1, 8, 8)
    mixed = cutmix(images, torch.arange(400), 1.0, generator())
    foreign = (mixed.pixels[:, 0] != images[:, 0]).double().mean(0)
    assert foreign.min() > 0.1


def test_shares_of_cutmix_have_the_mean_of_a_box_that_may_be_cut():
    """Uncut, the box would take half of the area on the mean."""
    share = cutmix(torch.zeros(8000, 1, 32, 32), torch.zeros(8000), 1.0, generator()).share
    assert 0.55 < float(share.mean()) < 0.72
