"""A split decoded into memory, and batches cut from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inceptory.data import batches
from inceptory.data.batches import channel_statistics, count_batches, decode, normalise, refuse_corrupt, shuffled
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Split
from inceptory.errors import ConfigError, DataError

from .pictures import encoded, noise

COLOUR = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
GREY = Preprocess(size=8, mean=(0.0,), std=(1.0,), order="L")
CLASSES = ("cat", "dog")


def split(pictures, labels=None):
    """Pictures 0, 1, 0, 1 ... of two classes, named by their number."""
    found = [row % 2 for row in range(len(pictures))] if labels is None else labels
    return Split(list(pictures), np.array(found, dtype=np.int64), [f"photos/{row}.png" for row in range(len(pictures))])


FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(6)]


def test_a_decoded_split_holds_every_picture_in_order():
    images = decode(split(FILES), CLASSES, COLOUR)
    assert images.pixels.dtype == torch.uint8
    assert images.pixels.is_contiguous()
    expected = np.stack([noise(8, 8, seed=seed) for seed in range(6)]).transpose(0, 3, 1, 2)
    assert np.array_equal(images.pixels.numpy(), expected)


def test_labels_and_names_keep_the_order_of_the_split():
    images = decode(split(FILES), CLASSES, COLOUR)
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert images.names == [f"photos/{row}.png" for row in range(6)]
    assert (len(images), images.skipped) == (6, [])


def test_pictures_may_be_files_bytes_and_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(FILES[0])
    images = decode(split([tmp_path / "a.png", FILES[0], noise(8, 8)]), CLASSES, COLOUR)
    assert torch.equal(images.pixels[0], images.pixels[1])
    assert torch.equal(images.pixels[0], images.pixels[2])


def test_grey_preprocessing_gives_one_channel():
    images = decode(split([noise(8, 8, 1, seed=seed) for seed in range(2)]), CLASSES, GREY)
    assert np.array_equal(images.pixels[:, 0].numpy(), np.stack([noise(8, 8, 1, seed=seed) for seed in range(2)]))


def test_blue_first_preprocessing_reaches_the_tensor():
    backwards = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3, order="BGR")
    colour, found = (decode(split(FILES), CLASSES, steps).pixels for steps in (COLOUR, backwards))
    assert torch.equal(found, colour.flip(1))


MANY = [encoded(noise(8, 8, seed=seed)) for seed in range(40)]


def test_an_unreadable_picture_is_skipped_and_named(tmp_path):
    images = decode(split([*MANY[:2], MANY[2][:100], tmp_path / "gone.png", *MANY[4:]]), CLASSES, COLOUR)
    rows = [0, 1, *range(4, 40)]
    assert images.names == [f"photos/{row}.png" for row in rows]
    assert images.labels.tolist() == [row % 2 for row in rows]
    assert np.array_equal(images.pixels[2].numpy(), noise(8, 8, seed=4).transpose(2, 0, 1))
    assert len(images.skipped) == 2
    assert images.skipped[0].startswith("photos/2.png: truncated")
    assert "gone.png: no such file" in images.skipped[1]


def test_a_class_without_a_readable_picture_is_a_data_error_that_shows_the_first_fault():
    with pytest.raises(DataError, match="class 'dog': none of its pictures can be read") as caught:
        decode(split([FILES[0], b"text", FILES[2], b""]), CLASSES, COLOUR)
    assert "photos/1.png: not a picture" in str(caught.value)


def halves(count):
    """`count` of 20 cats damaged, one of them in a validation split of two."""
    labels = [0] * 18 + [1] * 18
    train = split([*[b"text"] * (count - 1), *MANY[count - 1 : 36]], labels)
    validation = split([b"text", *MANY[:3]], [0, 0, 1, 1])
    return [decode(part, CLASSES, COLOUR) for part in (train, validation)]


def test_a_tenth_of_a_class_may_be_unreadable_and_no_picture_more():
    refuse_corrupt(halves(2), CLASSES)
    with pytest.raises(DataError, match=r"class 'cat': 3 of 20 pictures cannot be read .*names them all") as caught:
        refuse_corrupt(halves(3), CLASSES)
    assert "photos/0.png: not a picture" in str(caught.value)
    assert caught.value.exit_code == 65


def test_pictures_that_would_not_fit_into_memory_are_a_config_error_before_decoding(monkeypatch):
    monkeypatch.setattr(batches, "SHARE_OF_MEMORY", 1e-15)
    monkeypatch.setattr(batches, "open_picture", lambda *a: pytest.fail("a picture was decoded"))
    with pytest.raises(ConfigError, match=r"6 decoded pictures need .* GiB .*give a smaller --image"):
        decode(split(FILES), CLASSES, COLOUR)


@pytest.mark.parametrize(("pages", "fits"), [(6 * 8 * 8 * 3 * 2, True), (6 * 8 * 8 * 3 * 2 - 1, False)])
def test_half_of_the_memory_may_be_taken_and_no_byte_more(monkeypatch, pages, fits):
    sizes = {"SC_PHYS_PAGES": pages, "SC_PAGE_SIZE": 1}
    monkeypatch.setattr(batches.os, "sysconf", sizes.__getitem__, raising=False)
    if fits:
        assert len(decode(split(FILES), CLASSES, COLOUR)) == 6
    else:
        with pytest.raises(ConfigError):
            decode(split(FILES), CLASSES, COLOUR)


def test_a_system_that_does_not_tell_its_memory_is_trusted(monkeypatch):
    monkeypatch.delattr(batches.os, "sysconf", raising=False)
    assert len(decode(split(FILES), CLASSES, COLOUR)) == 6


def test_progress_is_told_up_to_the_last_picture():
    told = []
    decode(split([noise(8, 8)] * 1203), CLASSES, COLOUR, progress=lambda done, total: told.append((done, total)))
    assert told == [(500, 1203), (1000, 1203), (1203, 1203)]


SIZES = [(count, batch) for count in (0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 127, 128, 129, 1000) for batch in (2, 3, 8, 64)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("count", "batch"), SIZES)
def test_one_epoch_covers_every_row_once_and_drops_a_lone_last_one(count, batch):
    rows = [row for part in shuffled(count, batch, generator()) for row in part.tolist()]
    assert len(rows) == len(set(rows)) == count - (count % batch == 1)
    assert set(rows) <= set(range(count))


@pytest.mark.parametrize(("count", "batch"), SIZES)
def test_every_batch_is_full_but_the_last_and_none_is_of_one_row(count, batch):
    sizes = [len(part) for part in shuffled(count, batch, generator())]
    assert all(size == batch for size in sizes[:-1])
    assert all(2 <= size <= batch for size in sizes)


@pytest.mark.parametrize(("count", "batch"), SIZES)
def test_the_number_of_batches_is_known_before_the_epoch(count, batch):
    assert count_batches(count, batch) == sum(1 for _ in shuffled(count, batch, generator()))


def test_the_same_seed_gives_the_same_batches():
    first, second = (torch.cat(list(shuffled(100, 8, generator(3)))) for _ in range(2))
    assert torch.equal(first, second)


def test_every_epoch_has_an_order_of_its_own():
    source = generator()
    first, second = (torch.cat(list(shuffled(100, 10, source))) for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(100))


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
    mean, std = channel_statistics(torch.from_numpy(pixels))
    scaled = pixels.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=5.1e-5)
    assert std == pytest.approx(scaled.std((0, 2, 3)).tolist(), abs=5.1e-5)


def test_channel_statistics_have_four_digits():
    mean, std = channel_statistics(torch.from_numpy(noise(9, 7)).permute(2, 0, 1)[None])
    assert [round(number, 4) for number in (*mean, *std)] == [*mean, *std]


def test_pictures_of_one_colour_have_a_deviation_that_can_be_divided_by():
    mean, std = channel_statistics(torch.full((2, 3, 4, 4), 51, dtype=torch.uint8))
    assert mean == (0.2, 0.2, 0.2)
    assert std == (0.001, 0.001, 0.001)
