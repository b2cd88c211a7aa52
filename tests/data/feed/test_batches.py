"""Pictures decoded into memory, the value map of a batch, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inceptory.data.feed.batches import histogram, machine_memory, normalise, statistics_of
from inceptory.data.feed.feed import InMemory, refuse_corrupt
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.errors import DataError
from tests.data.pictures import encoded, noise

COLOUR = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
GREY = Preprocess(size=8, mean=(0.0,), std=(1.0,), order="L")
CLASSES = ("cat", "dog")


def split(pictures, labels=None):
    """Pictures 0, 1, 0, 1 ... of two classes, named by their number."""
    found = [row % 2 for row in range(len(pictures))] if labels is None else labels
    return Split(list(pictures), np.array(found, dtype=np.int64), [f"photos/{row}.png" for row in range(len(pictures))])


FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(6)]
MANY = [encoded(noise(8, 8, seed=seed)) for seed in range(40)]


def pixels_of(part, steps):
    """All pictures of a split, in order."""
    feed = InMemory(part, CLASSES, steps)
    return next(feed.batches([torch.arange(len(part))])).pixels


def test_pictures_may_be_files_bytes_and_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(FILES[0])
    found = pixels_of(split([tmp_path / "a.png", FILES[0], noise(8, 8, seed=0)]), COLOUR)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_grey_preprocessing_gives_one_channel():
    assert pixels_of(split([noise(8, 8, 1, seed=seed) for seed in range(2)]), GREY).shape == (2, 1, 8, 8)


def test_blue_first_preprocessing_reaches_the_tensor():
    backwards = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3, order="BGR")
    colour, found = (pixels_of(split(FILES), steps) for steps in (COLOUR, backwards))
    assert torch.equal(found, colour.flip(1))


def halves(count):
    """`count` of 20 cats damaged, one of them in a validation split of two."""
    labels = [0] * 18 + [1] * 18
    train = split([*[b"text"] * (count - 1), *MANY[count - 1 : 36]], labels)
    validation = split([b"text", *MANY[:3]], [0, 0, 1, 1])
    return [InMemory(part, CLASSES, COLOUR) for part in (train, validation)]


def test_a_tenth_of_a_class_may_be_unreadable_and_no_picture_more():
    refuse_corrupt(halves(2), CLASSES)
    with pytest.raises(DataError, match=r"class 'cat': 3 of 20 pictures cannot be read .*names them all") as caught:
        refuse_corrupt(halves(3), CLASSES)
    assert "photos/0.png: not a picture" in str(caught.value)
    assert caught.value.exit_code == 65


def test_a_system_that_does_not_tell_its_memory_is_trusted(monkeypatch):
    monkeypatch.delattr("inceptory.data.feed.batches.os.sysconf", raising=False)
    assert machine_memory() == float("inf")


@pytest.mark.parametrize(
    "steps",
    [
        Preprocess(size=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Preprocess(size=8, mean=(104.0, 117.0, 124.0), std=(1.0,) * 3, divisor=1.0),
        Preprocess(size=8, mean=(0.1307,), std=(0.3081,), order="L"),
    ],
    ids=str,
)
def test_normalised_batches_are_the_values_of_the_preprocessing(steps):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, len(steps.mean)), dtype=np.uint8)
    found = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2), steps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.from_numpy(steps.values(pixels)), rtol=1e-6, atol=1e-6)


def test_normalised_batches_lie_in_channels_last_order():
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert normalise(pixels, COLOUR).is_contiguous(memory_format=torch.channels_last)


def test_normalising_leaves_the_pixels_as_they_were():
    pixels = torch.from_numpy(noise(8, 8)).permute(2, 0, 1)[None].clone()
    before = pixels.clone()
    normalise(pixels, Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_statistics_are_those_of_numpy(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (20, channels, 9, 7), dtype=np.uint8)
    pixels[:, 0] //= 3
    mean, std = statistics_of(histogram(torch.from_numpy(pixels)))
    scaled = pixels.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=5.1e-5)
    assert std == pytest.approx(scaled.std((0, 2, 3)).tolist(), abs=5.1e-5)


def test_channel_statistics_have_four_digits():
    mean, std = statistics_of(histogram(torch.from_numpy(noise(9, 7)).permute(2, 0, 1)[None]))
    assert [round(number, 4) for number in (*mean, *std)] == [*mean, *std]


def test_pictures_of_one_colour_have_a_deviation_that_can_be_divided_by():
    mean, std = statistics_of(histogram(torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)))
    assert mean == (0.2, 0.2, 0.2)
    assert std == (0.001, 0.001, 0.001)
