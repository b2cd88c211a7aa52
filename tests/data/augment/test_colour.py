"""Changes of colour held against torchvision's, picture by picture."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as V

from inceptory.data.augment import colour
from inceptory.data.augment.colour import factors, jitter, light
from tests.data.augment.test_augment import generator, pictures

ALL = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
STEPS = {
    "brightness": (colour.scale_brightness, V.adjust_brightness, [0.0, 0.3, 1.0, 1.9]),
    "contrast": (colour.scale_contrast, V.adjust_contrast, [0.0, 0.3, 1.0, 1.9]),
    "saturation": (colour.scale_saturation, V.adjust_saturation, [0.0, 0.3, 1.0, 1.9]),
    "hue": (colour.turn_hue, V.adjust_hue, [-0.5, -0.2, 0.0, 0.01, 0.33, 0.5]),
}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_is_torchvisions(name):
    ours, theirs, amounts = STEPS[name]
    images = pictures(4, height=16, width=16).float() / 255
    images[0, :, :8] = images[0, :1, :8]  # grey, which has no hue
    for amount in amounts:
        expected = theirs(images, amount)
        found = ours(images * 255, torch.full((4,), amount)) / 255
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", STEPS)
def test_each_picture_has_its_own_amount(name):
    ours, _, amounts = STEPS[name]
    images = pictures(len(amounts)).float()
    found = ours(images, torch.tensor(amounts))
    for row, amount in enumerate(amounts):
        torch.testing.assert_close(found[row], ours(images, torch.full((len(amounts),), amount))[row])


def test_the_same_generator_state_gives_the_same_pictures():
    images = pictures(20)
    first, second, other = (jitter(images, generator(seed), **ALL) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8
    assert first.shape == images.shape


def test_nothing_asked_for_changes_nothing():
    images = pictures(20)
    assert torch.equal(jitter(images, generator()), images)


@pytest.mark.parametrize("name", ALL)
def test_a_step_can_be_had_alone(name):
    images = pictures(20)
    after = jitter(images, generator(3), **{name: ALL[name]})
    draws = (2 * torch.rand(4, 20, generator=generator(3)) - 1)[list(ALL).index(name)]
    amounts = draws * ALL[name] if name == "hue" else factors(draws, ALL[name])
    expected = STEPS[name][0](images.float(), amounts).round().clamp(0, 255)
    assert torch.equal(after.float(), expected)


def test_the_input_is_not_modified():
    images = pictures(20)
    before = images.clone()
    jitter(images, generator(), **ALL)
    assert torch.equal(images, before)


def test_grey_pictures_keep_one_channel_and_have_no_colour_to_change():
    images = pictures(20, channels=1)
    assert torch.equal(jitter(images, generator(), saturation=0.9, hue=0.5), images)
    assert jitter(images, generator(), **ALL).shape == images.shape


def test_factors_lie_around_one_and_are_never_negative():
    assert factors(torch.tensor([-1.0, 0.0, 1.0]), 0.25).tolist() == [0.75, 1.0, 1.25]
    assert factors(torch.tensor([-1.0]), 2.0).tolist() == [0.0]


def test_light_shifts_and_stretches_each_picture_as_a_whole():
    before = torch.randn(500, 3, 4, 4, generator=generator(1))
    kept = before.clone()
    after = light(before, 0.2, generator())
    assert torch.equal(before, kept)
    assert torch.equal(after, light(before, 0.2, generator()))
    stretched = after.std((1, 2, 3)) / before.std((1, 2, 3)) - 1
    shifted = (after / (1 + stretched.view(-1, 1, 1, 1)) - before).mean((1, 2, 3))
    torch.testing.assert_close((before + shifted.view(-1, 1, 1, 1)) * (1 + stretched.view(-1, 1, 1, 1)), after)
    for drawn in (stretched, shifted):
        assert -0.2 - 1e-5 < drawn.min() < -0.19
        assert 0.19 < drawn.max() < 0.2 + 1e-5
    assert abs(float(torch.corrcoef(torch.stack((stretched, shifted)))[0, 1])) < 0.15
