"""From an upright picture to the numbers that a network was trained on."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.functional import pil_to_tensor

from inceptory.data.picture import preprocess
from inceptory.data.picture.decode import LARGEST
from inceptory.data.picture.preprocess import Preprocess
from tests.data.pictures import noise

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
PLAIN = {"filter": "bilinear", "antialias": False}
TF1 = {**PLAIN, "grid": "asymmetric"}
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
        (
            Preprocess(size=299, **PLAIN, **HALVES),
            "squash 299x299 bilinear without antialias | RGB | (x / 255 - 0.5) / 0.5",
        ),
        (
            Preprocess(size=299, **TF1, divisor=1, mean=(128,) * 3, std=(128,) * 3),
            "squash 299x299 bilinear without antialias on TensorFlow 1's grid | RGB | (x - 128) / 128",
        ),
        (
            Preprocess(size=224, **TF1, central_fraction=0.875, **HALVES),
            "central 87.5 % | squash 224x224 bilinear without antialias on TensorFlow 1's grid | RGB | "
            "(x / 255 - 0.5) / 0.5",
        ),
        (
            Preprocess(size=224, resize=256, **PLAIN, **HALVES),
            "resize 256 bilinear without antialias | centre crop 224 | RGB | (x / 255 - 0.5) / 0.5",
        ),
    ],
    ids=["crop", "squash", "grey", "no antialias", "TensorFlow 1", "slim", "crop without antialias"],
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
@pytest.mark.parametrize(("resize", "size"), [(64, 64), (64, 57), (65, 56), (73, 64), (40, 64), (40, 65)])
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


COLUMN = [[0], [40], [80], [240]]


@pytest.mark.parametrize(
    ("how", "size", "expected"),
    [
        # Read at 0.5 and 2.5.
        (PLAIN, 2, [20, 160]),
        # Read at 0 and 2: every second pixel is never looked at.
        (TF1, 2, [0, 80]),
        # Read at 1/6, 1.5 and 17/6.
        (PLAIN, 3, [7, 60, 213]),
        # Read at 0, 4/3 and 8/3.
        (TF1, 3, [0, 53, 187]),
        # Read at -0.25, 0.25, ..., 3.25: the edges go on.
        (PLAIN, 8, [0, 10, 30, 50, 70, 120, 200, 240]),
        # Read at 0, 0.5, ..., 3.5: only the far edge goes on.
        (TF1, 8, [0, 20, 40, 60, 80, 160, 240, 240]),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
@pytest.mark.parametrize("lying", [False, True])
def test_sampling_at_points_as_computed_by_hand(how, size, expected, lying):
    # A column of four pixels beside itself, so that the other side has nothing to mix.
    pixels = np.array(COLUMN, dtype=np.uint8).repeat(4, axis=1)
    pixels = pixels.T if lying else pixels
    found = Preprocess(size=size, **how, **GREY).pixels(Image.fromarray(pixels))[:, :, 0]
    assert (found == np.array(expected)[None if lying else slice(None), slice(None) if lying else None]).all()


def test_both_sides_are_sampled_at_once():
    pixels = np.array([[0, 100], [40, 200]], dtype=np.uint8)
    found = Preprocess(size=1, **PLAIN, **GREY).pixels(Image.fromarray(pixels))
    assert found.ravel().tolist() == [85]


def test_antialias_looks_at_every_pixel_and_sampling_at_four():
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[0, 0] = 255
    squashed = {
        antialias: Preprocess(size=1, filter="bilinear", antialias=antialias, **GREY).pixels(Image.fromarray(pixels))
        for antialias in (True, False)
    }
    assert squashed[True].item() > 0
    assert squashed[False].item() == 0


@pytest.mark.parametrize("order", ["RGB", "L"])
@pytest.mark.parametrize("size", [(451, 300), (377, 503), (120, 97), (64, 64)], ids=str)
@pytest.mark.parametrize("resize", [None, 64, 73, 40])
def test_without_antialias_the_pixels_are_those_of_interpolate(order, size, resize):
    """A shorter side of 40 leaves a border of black around a crop of 64."""
    width, height = size
    picture = Image.fromarray(noise(height, width, len(order)))
    numbers = HALVES if order == "RGB" else {"mean": (0.5,), "std": (0.5,)}
    found = Preprocess(size=64, resize=resize, order=order, **PLAIN, **numbers).pixels(picture)
    given = pil_to_tensor(picture)[None].float()
    if resize is None:
        theirs = F.interpolate(given, (64, 64), mode="bilinear", align_corners=False)
    else:
        theirs = Compose([Resize(resize, antialias=False), CenterCrop(64)])(given)
    assert np.abs(found - theirs[0].numpy().transpose(1, 2, 0)).max() <= 0.51


@pytest.mark.parametrize(
    ("size", "box"),
    [
        # One sixteenth is cut off each side, rounded down.
        ((32, 16), (2, 1, 30, 15)),
        ((451, 300), (28, 18, 423, 282)),
        ((15, 31), (0, 1, 15, 30)),
    ],
    ids=str,
)
def test_slim_keeps_the_middle_of_both_sides_before_it_squashes(size, box):
    picture = Image.fromarray(noise(size[1], size[0]))
    steps = {"size": 32, **TF1, **HALVES}
    found = Preprocess(**steps, central_fraction=0.875).pixels(picture)
    assert np.array_equal(found, Preprocess(**steps).pixels(picture.crop(box)))
    assert not np.array_equal(found, Preprocess(**steps).pixels(picture)) or box[0] == box[1] == 0


@pytest.mark.parametrize("resize", [None, 341])
@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_thin_picture_is_sampled_without_making_it_large(resize, size):
    found = Preprocess(size=299, resize=resize, **PLAIN, **HALVES).pixels(Image.new("RGB", size, (10, 20, 30)))
    assert (found == (10, 20, 30)).all()


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
        Preprocess(size=299, **PLAIN, **HALVES),
        Preprocess(size=224, **TF1, central_fraction=0.875, **HALVES),
    ],
    ids=str,
)
def test_the_object_survives_json(steps):
    assert Preprocess.from_json(json.loads(json.dumps(steps.to_json()))) == steps


def test_a_card_from_before_these_switches_means_what_it_meant():
    plain = Preprocess(size=32, resize=36, **HALVES).to_json()
    for later in ("antialias", "grid", "central_fraction"):
        del plain[later]
    found = Preprocess.from_json(plain)
    assert (found.antialias, found.grid, found.central_fraction) == (True, "half_pixel", 1.0)


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
    "a mean that is not a number": {**GOOD, "mean": [float("nan")] * 3},
    "a deviation of zero": {**GOOD, "std": [0.5, 0.0, 0.5]},
    "a deviation that is not a number": {**GOOD, "std": [float("nan")] * 3},
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
    "antialias in words": {**GOOD, "antialias": "no"},
    "antialias as a number": {**GOOD, "filter": "bilinear", "antialias": 0},
    "bicubic without antialias": {**GOOD, "antialias": False},
    "nearest without antialias": {**GOOD, "filter": "nearest", "antialias": False},
    "an unknown grid": {**GOOD, **PLAIN, "grid": "corners"},
    "TensorFlow 1's grid with antialias": {**GOOD, "filter": "bilinear", "grid": "asymmetric"},
    "no part of a picture": {**GOOD, "central_fraction": 0},
    "more than a picture": {**GOOD, "central_fraction": 1.1},
    "a part that is not a number": {**GOOD, "central_fraction": float("nan")},
    "a part in words": {**GOOD, "central_fraction": "0.875"},
    "a part that is a yes": {**GOOD, "central_fraction": True},
    "a list": [],
    "nothing": None,
}


def test_what_cannot_be_done_cannot_be_asked_for():
    with pytest.raises(ValueError, match="bicubic is not done without antialias"):
        Preprocess(size=32, antialias=False, **HALVES)


def test_the_good_example_is_taken():
    assert Preprocess.from_json(GOOD).resize == 36


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_a_type_error_or_a_value_error(kind):
    with pytest.raises((TypeError, ValueError)):
        Preprocess.from_json(NONSENSE[kind])
