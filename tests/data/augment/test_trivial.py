"""TrivialAugment held against torchvision's, operation by operation."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import TrivialAugmentWide

from inceptory.data.augment import trivial
from inceptory.data.augment.trivial import OPERATIONS, STEPS, trivial_augment
from tests.data.augment.test_augment import generator, pictures

THEIRS = {
    "identity": "Identity",
    "shear x": "ShearX",
    "shear y": "ShearY",
    "translate x": "TranslateX",
    "translate y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
}


def test_the_space_is_torchvisions():
    assert set(THEIRS.values()) == set(TrivialAugmentWide._AUGMENTATION_SPACE)
    assert set(THEIRS) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("step", [0, 7, 19, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_operation_is_torchvisions_at_every_strength(name, step, sign):
    images = pictures(5, height=40, width=40)
    operation, most, both = OPERATIONS[name]
    strengths, signed = TrivialAugmentWide._AUGMENTATION_SPACE[THEIRS[name]]
    assert both == signed
    listed = strengths(STEPS, 40, 40)
    theirs = 0.0 if listed is None else float(listed[step]) * (sign if signed else 1)
    expected = TrivialAugmentWide()._apply_image_or_video_transform(
        images, THEIRS[name], theirs, interpolation=InterpolationMode.NEAREST, fill={torch.Tensor: None}
    )
    found = operation(images, most * step / (STEPS - 1) * (sign if both else 1))
    assert (found != expected).double().mean() < 0.01  # a threshold between two levels, a pixel between two


def test_the_same_generator_state_gives_the_same_pictures():
    images = pictures(60, height=32, width=32)
    before = images.clone()
    first, second, other = (trivial_augment(images, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert (first.dtype, first.shape) == (torch.uint8, images.shape)


def test_every_picture_has_one_operation_of_all_at_every_strength_both_ways(monkeypatch):
    met = Counter()

    def counted(name):
        def operation(images, strength):
            met[name, round(strength, 4)] += len(images)
            return images

        return operation

    counted_all = {name: (counted(name), 30.0, both) for name, (_, _, both) in OPERATIONS.items()}
    monkeypatch.setattr(trivial, "OPERATIONS", counted_all)
    trivial_augment(torch.zeros(20_000, 1, 1, 1, dtype=torch.uint8), generator())
    assert sum(met.values()) == 20_000
    for name, (_, _, both) in OPERATIONS.items():
        strengths = {strength for known, strength in met if known == name}
        assert strengths == {float(step) for step in range(-30 if both else 0, 31)}
        assert 1250 < sum(count for (known, _), count in met.items() if known == name) < 1610


def test_a_picture_is_changed_alike_alone_and_among_others():
    images = pictures(60, height=32, width=32)
    drawn = torch.rand(3, 60, generator=generator(), dtype=torch.float64)
    whole = trivial_augment(images, generator())
    limits = [len(OPERATIONS), STEPS, 2]
    for row in range(60):
        kind, step, sign = (int(value * limit) for value, limit in zip(drawn[:, row], limits, strict=True))
        operation, most, both = list(OPERATIONS.values())[kind]
        strength = most * step / (STEPS - 1) * (-1 if both and sign else 1)
        assert torch.equal(whole[row], operation(images[row : row + 1], strength)[0])


def test_grey_pictures_stay_grey():
    images = pictures(100, channels=1, height=32, width=32)
    assert trivial_augment(images, generator()).shape == images.shape
