"""Random crops: torchvision's boxes and pixels, out of the decoded picture, wherever it is decoded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from inceptory.data.feed import batches as batching
from inceptory.data.feed import feed as feeding
from inceptory.data.feed.batches import bytes_of
from inceptory.data.feed.decoding import Decoder
from inceptory.data.feed.feed import InMemory, Stream, Whole, feed, room_for, statistics
from inceptory.data.picture.crops import ATTEMPTS, DRAWS, Crops
from inceptory.data.picture.decode import open_picture
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from tests.data.pictures import encoded, exif, noise, orientation

SIDE = 24
STEPS = Preprocess(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
GREY = Preprocess(size=SIDE, resize=SIDE, mean=(0.0,), std=(1.0,), order="L")
CLASSES = ("cat", "dog")
CROPS = Crops(0.08)
SIZES = [(40, 50), (33, 61), (25, 25), (60, 41), (24, 90), (70, 30), (12, 10), (48, 48)]
"""Heights and widths, none of which has a pixel to spare."""
FILES = [
    encoded(noise(*size, channels=1 if row == 3 else 3, seed=row), "PNG" if row % 2 else "JPEG", quality=95)
    for row, size in enumerate(SIZES)
]
WAYS = {"memory": {}, "threads": {"memory": 0, "workers": 0}, "processes": {"memory": 0, "workers": 2}}
LARGE = (750, 1000)
"""Pictures of this height and width have eight pixels for one at a least share of 0.08."""


def photo(height, width):
    return Image.fromarray(load_sample_image("china.jpg")).resize((width, height), Image.Resampling.BICUBIC)


def split(pictures=FILES):
    labels = np.arange(len(pictures)) % 2
    return Split(pictures, labels.astype(np.int64), [f"photos/{row}" for row in range(len(pictures))])


def draws_of(count, seed=0):
    return torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chosen(share=0.5, slant=0.5, down=0.0, across=0.0):
    """Draws whose first attempt has this area, aspect and place."""
    return [share] * ATTEMPTS + [slant] * ATTEMPTS + [down, across]


@pytest.fixture
def opened():
    """Feeds that are closed after the test."""
    made = []

    def open_feed(pictures=FILES, steps=STEPS, crops=CROPS, **options):
        made.append(feed(split(pictures), CLASSES, steps, crops=crops, **options))
        return made[-1]

    yield open_feed
    for one in made:
        one.close()


# Boxes


def drawn_by_torchvision(size, scale, seed, monkeypatch):
    """((left, top, right, bottom) of RandomResizedCrop, the even numbers that it drew)."""
    places, real = [], torch.randint

    def noted(low, high, size):
        found = real(low, high, size)
        places.append((int(found) + 0.5) / high)
        return found

    monkeypatch.setattr(torch, "randint", noted)
    torch.manual_seed(seed)
    top, left, tall, wide = RandomResizedCrop.get_params(Image.new("L", size), [scale, 1.0], [3 / 4, 4 / 3])
    torch.manual_seed(seed)
    numbers = [float(torch.rand(1)) for _ in range(2 * ATTEMPTS)]
    return (left, top, left + wide, top + tall), [*numbers[::2], *numbers[1::2], *(places or [0.5, 0.5])]


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64), (32, 24), (1000, 90), (90, 1000), (3, 2), (1, 1)])
@pytest.mark.parametrize("scale", [0.08, 0.5, 1.0])
def test_boxes_are_those_of_torchvision_for_the_same_draws(size, scale, monkeypatch):
    found = [drawn_by_torchvision(size, scale, seed, monkeypatch) for seed in range(40)]
    assert [Crops(scale).box(size, draws) for _, draws in found] == [box for box, _ in found]
    if size == (500, 375) and scale < 1:
        assert len({box for box, _ in found}) == 40


@pytest.mark.parametrize("size", [(500, 375), (7, 5), (1, 9)])
def test_the_largest_draws_stay_inside_the_picture(size):
    least, most = 0.0, float(np.nextafter(1.0, 0.0))
    for share in (least, most):
        for slant in (least, most):
            left, top, right, bottom = CROPS.box(size, chosen(share, slant, most, most))
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]
    assert CROPS.box((500, 375), chosen(0.0, 0.5, most, most))[2:] == (500, 375), "the far corner is reached"


# Pixels


@pytest.mark.parametrize("box", [(0, 0, 500, 375), (31, 20, 381, 300), (200, 100, 260, 180), (499, 374, 500, 375)])
@pytest.mark.parametrize("steps", [STEPS, GREY], ids=["colour", "grey"])
def test_a_resized_crop_is_that_of_torchvision(box, steps):
    left, top, right, bottom = box
    picture = photo(375, 500)
    size = [SIDE, SIDE]
    expected = F.resized_crop(picture.convert(steps._mode), top, left, bottom - top, right - left, size)
    assert np.array_equal(steps.cropped(picture, box), np.asarray(expected).reshape(SIDE, SIDE, -1))


def test_blue_comes_first_where_the_preprocessing_says_so():
    backwards = Preprocess(size=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, order="BGR")
    box = (10, 20, 200, 220)
    assert np.array_equal(backwards.cropped(photo(375, 500), box), STEPS.cropped(photo(375, 500), box)[:, :, ::-1])


def by_torchvision(file, draws, steps=STEPS):
    picture = open_picture(file, "").convert(steps._mode)
    left, top, right, bottom = CROPS.box(picture.size, draws)
    cut = F.resized_crop(picture, top, left, bottom - top, right - left, [SIDE, SIDE])
    return torch.from_numpy(np.array(cut).reshape(SIDE, SIDE, -1)).permute(2, 0, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("steps", [STEPS, GREY], ids=["colour", "grey"])
def test_every_feed_cuts_what_torchvision_cuts_out_of_the_decoded_picture(way, steps, opened):
    groups, draws = [torch.tensor([3, 0, 7, 1]), torch.tensor([2, 2, 6])], [draws_of(4), draws_of(3, seed=1)]
    found = list(opened(steps=steps, **WAYS[way]).batches(groups, draws))
    for batch, rows, numbers in zip(found, groups, draws, strict=True):
        assert torch.equal(batch.rows, rows)
        expected = [by_torchvision(FILES[row], own, steps) for row, own in zip(rows, numbers.tolist(), strict=True)]
        assert torch.equal(batch.pixels, torch.stack(expected))
    assert not torch.equal(found[1].pixels[0], found[1].pixels[1]), "one row twice, two crops"


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_cut_as_it_stands_upright(way, opened):
    lying = encoded(photo(40, 60), "PNG", exif=exif(orientation(6)))
    (batch,) = opened([lying] * 2, **WAYS[way]).batches([torch.tensor([0])], [draws_of(1)])
    upright = encoded(photo(40, 60).transpose(Image.Transpose.ROTATE_270), "PNG")
    assert torch.equal(batch.pixels[0], by_torchvision(upright, draws_of(1)[0].tolist()))


def test_fine_detail_survives_a_small_crop_as_it_does_in_torchvision(opened):
    """Squares of two pixels; when small copies were cropped and enlarged, a deviation of 1.6 was left."""
    rows, columns = np.mgrid[:450, :600]
    squares = ((rows // 2 + columns // 2) % 2 * 255).astype(np.uint8)
    file = encoded(Image.fromarray(np.stack([squares] * 3, -1)))
    steps = Preprocess(size=150, resize=150, mean=(0.0,) * 3, std=(1.0,) * 3)
    numbers = draws_of(12)
    numbers[:, :ATTEMPTS] *= 0.04 / 0.92  # areas of 8 to 12 %
    (batch,) = opened([file] * 2, steps).batches([torch.zeros(12, dtype=torch.int64)], [numbers])
    deviations = batch.pixels.float().flatten(1).std(1)
    theirs = RandomResizedCrop(150, (0.08, 0.12))
    expected = np.mean([np.asarray(theirs(Image.fromarray(squares))).std() for _ in range(12)])
    assert 70 < expected < 90
    assert float(deviations.mean()) == pytest.approx(expected, abs=4)
    (centre,) = opened([file] * 2, steps).batches([torch.tensor([0])])
    assert float(centre.pixels.float().std()) < 2, "the network's own size has no room for them"


@pytest.mark.parametrize("way", WAYS)
def test_without_draws_a_feed_with_crops_shows_what_a_feed_without_shows(way, opened):
    files, groups = [*FILES, encoded(photo(*LARGE))], [torch.arange(9).flip(0)]
    (plain,), (cropping,) = (opened(files, crops=crops, **WAYS[way]).batches(groups) for crops in (None, CROPS))
    assert torch.equal(plain.pixels, cropping.pixels)
    assert statistics(opened(files, **WAYS[way])) == statistics(opened(files, crops=None))


@pytest.mark.parametrize("way", WAYS)
def test_each_readable_picture_keeps_its_own_draws_beside_an_unreadable_one(way, opened):
    files = [*FILES[:2], FILES[2][:50], *FILES[3:]]
    one, groups, draws = opened(files, **WAYS[way]), [torch.tensor([1, 2, 3, 4])], draws_of(4)
    for _ in range(2):  # found unreadable, then known to be
        (batch,) = one.batches(groups, [draws])
        assert batch.rows.tolist() == [1, 3, 4]
        expected = [by_torchvision(files[row], draws[row - 1].tolist()) for row in (1, 3, 4)]
        assert torch.equal(batch.pixels, torch.stack(expected))
    assert len(one.skipped) == 1


@pytest.mark.parametrize("way", WAYS)
def test_each_group_has_its_draws(way, opened):
    with pytest.raises(ValueError, match="shorter"):
        list(opened(**WAYS[way]).batches([torch.tensor([0]), torch.tensor([1])], [draws_of(1)]))


def test_an_empty_group_is_an_empty_batch(opened):
    for options in WAYS.values():
        (batch,) = opened(**options).batches([torch.empty(0, dtype=torch.int64)], [draws_of(0)])
        assert batch.pixels.shape == (0, 3, SIDE, SIDE)


def test_in_memory_unreadable_pictures_are_known_before_the_first_epoch(opened):
    one = opened([*FILES[:2], b"text", *FILES[3:]])
    assert isinstance(one, Whole)
    assert sorted(one.order(torch.Generator()).tolist()) == [0, 1, 3, 4, 5, 6, 7]
    assert (len(one), len(one.skipped), one.unreadable.tolist().index(True)) == (7, 1, 2)


# What is kept


@pytest.mark.parametrize(
    ("size", "least", "side", "spare"),
    [
        ((500, 375), 0.08, 299, 1),
        ((4000, 3000), 0.08, 299, 2),
        ((600, 450), 0.5, 64, 4),
        ((32, 32), 0.08, 32, 1),
        ((400, 300), 1.0, 100, 3),
        ((3000, 60), 0.9, 60, 1),
    ],
)
def test_pixels_to_spare_are_those_that_no_crop_of_the_network_s_size_needs(size, least, side, spare):
    crops = Crops(least)
    assert crops.spare(size, side) == crops.spare(size[::-1], side) == spare
    if spare > 1:
        left, top, right, bottom = crops.box([length // spare for length in size], chosen(0.0, 0.0))
        assert min(right - left, bottom - top) >= side - 1, "even the smallest is only shrunk"


def test_a_large_picture_is_kept_at_the_size_that_its_crops_need(opened):
    file, small = encoded(photo(*LARGE), "JPEG", quality=95), encoded(photo(40, 50))
    kept, view = Decoder([file, small], STEPS, CROPS).whole(0, "")
    assert kept.shape == (94, 125, 3)
    alone, none = Decoder([small], STEPS, CROPS).whole(0, "")
    assert np.array_equal(alone, np.asarray(photo(40, 50)))
    assert none is None
    need = 2 * (kept.nbytes + view.nbytes)
    assert isinstance(opened([file] * 2, memory=need), Whole)
    assert isinstance(opened([file] * 2, memory=need - 1, workers=0), Stream)
    assert Decoder([file], GREY, CROPS).whole(0, "").picture.shape == (94, 125)


def test_crops_of_a_picture_kept_smaller_look_like_torchvision_s(opened):
    file = encoded(photo(*LARGE), "JPEG", quality=95)
    numbers = draws_of(24)
    batch, exact = (
        next(opened([file] * 2, **options).batches([torch.zeros(24, dtype=torch.int64)], [numbers])).pixels.float()
        for options in ({}, {"memory": 0, "workers": 0})
    )
    expected = torch.stack([by_torchvision(file, own) for own in numbers.tolist()]).float()
    assert torch.equal(exact, expected), "a stream keeps nothing and needs nothing smaller"
    # The same place to a pixel of what was kept, but where another attempt is the first to fit.
    assert (batch - expected).abs().flatten(1).mean(1).median() < 3
    assert (batch.flatten(1).std(1) / expected.flatten(1).std(1) - 1).abs().median() < 0.03


def test_memory_is_estimated_from_the_sizes_of_some_pictures(monkeypatch):
    alike = split([encoded(noise(40, 50, seed=row)) for row in range(6)])
    assert bytes_of(alike, STEPS, CROPS) == 6 * 40 * 50 * 3
    assert bytes_of(alike, STEPS) == 6 * 24 * 24 * 3
    assert bytes_of(alike, GREY, CROPS) == 6 * 40 * 50
    arrays = split([noise(40, 50), noise(20, 30, channels=1), *[noise(30, 30)] * 4])
    assert bytes_of(arrays, STEPS, CROPS) == (2000 + 600 + 4 * 900) * 3
    assert bytes_of(split([b"text", *alike.pictures[:3]]), STEPS, CROPS) == 4 * 40 * 50 * 3
    assert bytes_of(split([b"text"] * 4), STEPS, CROPS) == 0
    monkeypatch.setattr(batching, "RUNS", 2)
    monkeypatch.setattr(batching, "RUN", 2)
    looked_at = []
    monkeypatch.setattr(batching, "size_of", lambda _, name: looked_at.append(name) or (10, 10))
    assert bytes_of(split([b""] * 100), STEPS, CROPS) == 100 * 100 * 3
    assert looked_at == ["photos/0", "photos/1", "photos/98", "photos/99"]


def test_a_feed_that_is_told_its_size_looks_at_no_picture_for_it(monkeypatch):
    looked_at = []
    monkeypatch.setattr(batching, "size_of", lambda _, name: looked_at.append(name) or (10, 10))
    alike = split([noise(30, 30)] * 4)
    for need, memory, kind in ((100, 100, Whole), (101, 100, Stream)):
        one = feed(alike, "ab", STEPS, crops=CROPS, memory=memory, need=need, workers=0)
        assert isinstance(one, kind)
        one.close()
    assert looked_at == []


def test_room_goes_to_the_small_splits_first(monkeypatch):
    monkeypatch.setattr(feeding, "IN_MEMORY", 100)
    assert room_for([80, 15, 10]) == 15
    assert room_for([60, 25, 15]) == 60
    assert room_for([60, 60, 15]) == 15, "of two alike both or neither"
    assert room_for([101]) == 0
    assert room_for([]) == 0


def test_a_feed_without_crops_takes_no_draws(opened):
    with pytest.raises(AssertionError, match="not opened with crops"):
        next(opened(crops=None).batches([torch.tensor([0])], [draws_of(1)]))
    assert isinstance(opened(crops=None), InMemory)
    with pytest.raises(AssertionError, match="choose crops"):
        next(opened(crops=None, memory=0, workers=0).batches([torch.tensor([0])], [draws_of(1)]))
