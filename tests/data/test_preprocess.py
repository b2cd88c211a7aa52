"""From an upright picture to the numbers that a network was trained on."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from inceptory.data import preprocess
from inceptory.data.images import LARGEST
from inceptory.data.preprocess import Preprocess

from .pictures import noise

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
GREY = {"mean": (0.1307,), "std": (0.3081,), "order": "L"}


def test_the_docstring_shows_the_line_that_is_printed():
    found = doctest.testmod(preprocess)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (
            Preprocess(size=299, resize=341, **HALVES),
            "resize 341 bicubic | centre crop 299 | RGB | (x / 255 - 0.5) / 0.5",
        ),
        (
            Preprocess(size=224, filter="bilinear", order="BGR", mean=(104, 117, 124), std=(1,) * 3, divisor=1),
            "squash 224x224 bilinear | BGR | (x - [104, 117, 124]) / 1",
        ),
        (Preprocess(size=28, **GREY), "squash 28x28 bicubic | L | (x / 255 - 0.1307) / 0.3081"),
    ],
    ids=["crop", "squash", "grey"],
)
def test_the_line_tells_every_step_in_order(steps, line):
    assert str(steps) == line


FILTERS = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
SIZES = {
    "landscape": (451, 300),
    "portrait": (300, 451),
    "odd landscape": (503, 377),
    "odd portrait": (377, 503),
    "square": (400, 400),
    "smaller than the crop": (120, 97),
    "as large as the shorter side": (500, 341),
    "as large as the crop": (299, 299),
}


@pytest.mark.parametrize("size", SIZES)
def test_resize_and_crop_give_the_pixels_of_torchvision(size):
    width, height = SIZES[size]
    picture = Image.fromarray(noise(height, width))
    theirs = Compose([Resize(341, InterpolationMode.BICUBIC, antialias=True), CenterCrop(299)])(picture)
    ours = Preprocess(size=299, resize=341, **HALVES).pixels(picture)
    assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("resize", "size"), [(64, 64), (64, 57), (65, 56), (73, 64)])
def test_every_filter_and_parity_gives_the_pixels_of_torchvision(kind, resize, size):
    picture = Image.fromarray(noise(90, 121))
    theirs = Compose([Resize(resize, FILTERS[kind]), CenterCrop(size)])(picture)
    ours = Preprocess(size=size, resize=resize, filter=kind, **HALVES).pixels(picture)
    assert np.array_equal(ours, np.asarray(theirs))


@pytest.mark.parametrize("resize", [32, 256, 299, 341, 342])
def test_both_sides_are_resized_to_the_lengths_of_torchvision(resize, monkeypatch):
    asked = []
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, *a, **k: (asked.append(tuple(size)), self)[1])
    shorter, longer = np.random.default_rng(0).integers(20, 600, (2, 300)).tolist()
    pairs = list(zip(shorter, longer, strict=True)) + [(side, side * 2) for side in range(10, 150)]
    steps = Preprocess(size=8, resize=resize, **HALVES)
    for width, height in pairs:
        picture = Image.new("RGB", (width, height))
        asked.clear()
        Resize(resize)(picture)
        steps.pixels(picture)
        assert len(set(asked)) <= 1, (width, height)


def test_a_squash_takes_the_whole_picture():
    picture = Image.fromarray(noise(60, 91))
    squashed = Preprocess(size=32, filter="bilinear", **HALVES).pixels(picture)
    assert np.array_equal(squashed, np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("resize", [None, 32])
def test_a_picture_of_the_right_size_is_not_resampled(resize):
    pixels = noise(32, 32)
    assert np.array_equal(Preprocess(size=32, resize=resize, **HALVES).pixels(Image.fromarray(pixels)), pixels)


def test_bgr_is_rgb_read_backwards():
    picture = Image.fromarray(noise(40, 50))
    colour, backwards = (Preprocess(size=32, order=order, **HALVES).pixels(picture) for order in ("RGB", "BGR"))
    assert np.array_equal(backwards, colour[:, :, ::-1])
    assert not np.array_equal(backwards, colour)


def test_grey_weighs_the_colours_as_television_does():
    pixels = noise(32, 32)
    found = Preprocess(size=32, **GREY).pixels(Image.fromarray(pixels))
    assert found.shape == (32, 32, 1)
    assert np.abs(found[:, :, 0] - pixels @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_a_grey_picture_fills_all_three_channels():
    pixels = noise(32, 32, 1)
    found = Preprocess(size=32, **HALVES).pixels(Image.fromarray(pixels))
    assert np.array_equal(found, np.stack([pixels] * 3, axis=2))


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
@pytest.mark.parametrize("resize", [None, 8])
def test_a_picture_may_be_one_pixel_thin(size, resize):
    found = Preprocess(size=8, resize=resize, **HALVES).pixels(Image.new("RGB", size, (10, 20, 30)))
    assert (found == (10, 20, 30)).all()


def test_a_thin_picture_is_never_blown_up_beyond_the_cap_on_pixels(monkeypatch):
    """1 x 20,000 pixels at a shorter side of 341 would be 2.3 billion."""
    asked, real = [], Image.Image.resize

    def resize(self, size, *args, **kwargs):
        asked.append(size[0] * size[1])
        return real(self, (341, 341), *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", resize)
    Preprocess(size=299, resize=341, **HALVES).pixels(Image.new("RGB", (1, 20_000)))
    assert max(asked, default=0) <= LARGEST


def test_values_follow_the_formula():
    pixels = np.array([[[[0, 128, 255]]]], dtype=np.uint8)
    found = Preprocess(size=1, **IMAGENET).values(pixels)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert found.dtype == np.float32
    assert found.shape == (1, 3, 1, 1)
    assert found.ravel().tolist() == pytest.approx(expected, rel=1e-6)


def test_values_leave_the_range_alone_where_the_divisor_is_one():
    steps = Preprocess(size=1, mean=(104.0, 117.0, 124.0), std=(1.0,) * 3, divisor=1.0)
    assert steps.values(np.full((1, 1, 1, 3), 120, dtype=np.uint8)).ravel().tolist() == [16.0, 3.0, -4.0]


def test_values_put_channels_before_rows():
    pixels = noise(4, 5)[None]
    found = Preprocess(size=1, mean=(0.0,) * 3, std=(1.0,) * 3, divisor=1.0).values(pixels)
    assert np.array_equal(found, pixels.transpose(0, 3, 1, 2))
    assert found.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    "steps",
    [
        Preprocess(size=299, resize=341, **IMAGENET),
        Preprocess(size=224, filter="bilinear", order="BGR", mean=(104.0, 117.0, 124.0), std=(1.0,) * 3, divisor=1.0),
        Preprocess(size=32, filter="nearest", **GREY),
    ],
    ids=str,
)
def test_the_object_survives_json(steps):
    assert Preprocess.from_json(json.loads(json.dumps(steps.to_json()))) == steps


GOOD = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "resize": 36}
NONSENSE = {
    "no mean": {"size": 32, "std": [0.5] * 3},
    "no size": {"mean": [0.5] * 3, "std": [0.5] * 3},
    "a field of another program": {**GOOD, "interpolation": 3},
    "a mean that is a number": {**GOOD, "mean": 0.5},
    "one mean for three channels": {**GOOD, "mean": [0.5]},
    "three deviations for grey": {**GOOD, "order": "L"},
    "four means": {**GOOD, "mean": [0.5] * 4, "std": [0.5] * 4},
    "a mean in words": {**GOOD, "mean": ["a", "b", "c"]},
    "a mean that is no number": {**GOOD, "mean": [float("nan")] * 3},
    "a deviation of zero": {**GOOD, "std": [0.5, 0.0, 0.5]},
    "a deviation that is no number": {**GOOD, "std": [float("nan")] * 3},
    "a deviation in words": {**GOOD, "std": ["a", "b", "c"]},
    "a divisor of zero": {**GOOD, "divisor": 0},
    "a divisor in words": {**GOOD, "divisor": "255"},
    "an unknown filter": {**GOOD, "filter": "lanczos"},
    "an unknown order": {**GOOD, "order": "HSV"},
    "a size of zero": {**GOOD, "size": 0},
    "a negative size": {**GOOD, "size": -32},
    "a size in words": {**GOOD, "size": "32"},
    "half a pixel": {**GOOD, "size": 32.5},
    "a negative resize": {**GOOD, "resize": -36},
    "a resize in words": {**GOOD, "resize": "36"},
    "a list": [],
    "nothing": None,
}


def test_the_good_example_is_taken():
    assert Preprocess.from_json(GOOD).resize == 36


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_a_type_error_or_a_value_error(kind):
    with pytest.raises((TypeError, ValueError)):
        Preprocess.from_json(NONSENSE[kind])
