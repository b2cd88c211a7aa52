"""What each option does to the pictures and targets of a training batch: with it and without."""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from inceptory import Recipe, Variant, train
from inceptory.data.augment.trivial import OPERATIONS, STEPS
from inceptory.data.feed.feed import feed
from inceptory.data.picture.crops import DRAWS
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.learn import loop as training
from inceptory.learn.order.steps import Steps
from inceptory.learn.pictures import prepared
from inceptory.learn.state import seeded
from inceptory.learn.step import Stepper
from inceptory.system.ranks import Ranks
from inceptory.weights.card import read_card

SIDE = 12
PLAIN = Preprocess(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
NOISE = np.random.default_rng(0).integers(0, 256, (400, SIDE, SIDE, 3), dtype=np.uint8)


def batch_of(pictures, labels=None, steps=PLAIN):
    """All pictures as a feed gives them to the training loop."""
    labels = np.arange(len(pictures)) % 2 if labels is None else labels
    one = feed(Split(list(pictures), labels, [str(row) for row in range(len(pictures))]), ("a", "b"), steps)
    return next(one.batches([torch.arange(len(pictures))]))


def made(pictures, epoch=0, step=0, **options):
    """(pixels (N, C, H, W) on the scale 0 to 255, targets) of a training batch whose other options are off."""
    recipe = Recipe(**{"flip": "off", "shift": 0.0, **options})
    values, targets = prepared(batch_of(pictures), recipe, PLAIN, "cpu", epoch, seeded(0, 1, step))
    return (values * 255).round().contiguous(), targets


def raw(pictures):
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()


def changed(after, before):
    """(N,) which pictures are not what they were."""
    return (after != before).flatten(1).any(1)


def copies(picture, count=300):
    return [np.asarray(picture, dtype=np.uint8)] * count


def halves(left, right):
    """A picture of two colours."""
    picture = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    picture[:, : SIDE // 2], picture[:, SIDE // 2 :] = left, right
    return picture


def test_with_everything_off_a_batch_shows_the_pictures():
    pixels, targets = made(NOISE)
    assert torch.equal(pixels, raw(NOISE))
    assert targets.labels.tolist() == [row % 2 for row in range(len(NOISE))]
    assert targets.others is targets.share is None


GOLDEN = {
    "flips and shifts": ({}, "afdd87acaf7f1876"),
    "flips in turn and holes": ({"flip": "alternate", "erase": 0.5}, "f287d7f0e4199d3d"),
    "cutmix": ({"cutmix": 1.0}, "b72dd0c397364696"),
}
"""Digests of an epoch; of flips, shifts and cutmix from before crops came out of the decoded picture."""


@pytest.mark.parametrize("way", [{}, {"memory": 0, "workers": 0}], ids=["memory", "stream"])
@pytest.mark.parametrize(("options", "digest"), GOLDEN.values(), ids=GOLDEN)
def test_without_crops_not_a_bit_of_a_batch_is_other_than_it_always_was(options, digest, way):
    split = Split(list(NOISE[:24]), np.arange(24) % 2, [str(row) for row in range(24)])
    one, found = feed(split, ("a", "b"), PLAIN, **way), hashlib.sha256()
    for step, batch in enumerate(one.batches(one.order(seeded(0, 0, 0)).split(8))):
        values, _ = prepared(batch, Recipe(**options), PLAIN, "cpu", 0, seeded(0, 1, step, 0))
        found.update((values * 255).round().to(torch.uint8).contiguous().numpy().tobytes())
    one.close()
    assert found.hexdigest()[:16] == digest


# Geometry


def test_flip_mirrors_half_of_the_pictures_or_each_every_second_epoch():
    before = raw(NOISE)
    mirrored = before.flip(3)
    random, _ = made(NOISE, flip="random")
    turned = changed(random, before)
    assert 160 < int(turned.sum()) < 240
    assert torch.equal(random[turned], mirrored[turned])
    first, second, third = (made(NOISE, epoch=epoch, flip="alternate")[0] for epoch in range(3))
    turned = changed(first, before)
    assert 160 < int(turned.sum()) < 240
    assert torch.equal(first, torch.where(turned.view(-1, 1, 1, 1), mirrored, before))
    assert torch.equal(second, first.flip(3))
    assert torch.equal(third, first)


def test_shift_moves_by_up_to_its_share_of_the_side():
    before = raw(NOISE)
    after, _ = made(NOISE, shift=0.25, shift_kind="zero")
    assert int(changed(after, before).sum()) > 0.9 * len(NOISE)
    moves = set()
    for old, new in zip(before, after, strict=True):
        padded = torch.nn.functional.pad(old, (3,) * 4)
        reach = [(y, x) for y in range(7) for x in range(7)]
        (move,) = [(y, x) for y, x in reach if torch.equal(padded[:, y : y + SIDE, x : x + SIDE], new)]
        moves.add(move)
    assert len(moves) > 45, "of 49"


def test_what_a_shift_moves_in_is_a_mirror_image_or_black():
    bright = copies(np.full((SIDE, SIDE, 3), 200))
    mirrored, _ = made(bright, shift=0.25, shift_kind="reflect")
    assert torch.equal(mirrored, raw(bright))
    black, _ = made(bright, shift=0.25, shift_kind="zero")
    assert black.unique().tolist() == [0, 200]
    assert (black[:, :, 3:-3, 3:-3] == 200).all()
    assert int((black == 0).flatten(1).any(1).sum()) > 250
    ramp = copies(np.arange(SIDE)[None, :, None].repeat(SIDE, 0).repeat(3, 2))
    after, _ = made(ramp, shift=0.25, shift_kind="reflect")
    edges = {tuple(row) for row in after[:, 0, 0, :4].int().tolist()}
    assert (3, 2, 1, 0) in edges, "moved by three: the edge itself is not repeated"
    assert (3, 4, 5, 6) in edges


def test_a_continuous_shift_moves_by_parts_of_pixels_and_brings_in_the_mean():
    steps = Preprocess(size=SIDE, resize=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = Recipe(flip="off", shift=0.25, shift_kind="continuous")
    batch = batch_of(copies(np.full((SIDE, SIDE, 3), 255)), steps=steps)
    values, _ = prepared(batch, recipe, steps, "cpu", 0, seeded(0, 1))
    assert sorted(values.unique().round(decimals=4).tolist()) == [0, 2], "standardised, the mean is 0"
    assert (values[:, :, 3:-3, 3:-3] - 2).abs().max() < 1e-5
    ramp = copies(np.arange(SIDE)[None, :, None].repeat(SIDE, 0).repeat(3, 2) * 20)
    batch = batch_of(ramp)
    values, _ = prepared(batch, recipe, PLAIN, "cpu", 0, seeded(0, 1))
    moves = (values[:, 0, 6, 6] * 255 - 120) / 20
    assert -3 <= moves.min() < -2.5
    assert 2.5 < moves.max() <= 3
    assert len(moves.unique()) > 250, "not whole pixels"


# Colours


def test_trivial_changes_each_picture_by_one_operation_of_random_strength():
    picture = NOISE[0]
    assert not changed(made(copies(picture))[0], raw(copies(picture))).any()
    after, _ = made(copies(picture, 400), trivial=True)
    one = torch.from_numpy(picture).permute(2, 0, 1)[None]
    known = {}
    for name, (operation, most, both) in OPERATIONS.items():
        for step in range(STEPS):
            for sign in (1, -1) if both else (1,):
                found = operation(one, sign * most * step / (STEPS - 1))
                known.setdefault(found.contiguous().numpy().tobytes(), []).append((name, step))
    used = [known[picture.to(torch.uint8).numpy().tobytes()] for picture in after]
    assert {name for each in used if len(each) == 1 for name, _ in each} >= set(OPERATIONS) - {
        "identity",
        "autocontrast",
        "equalize",
        "posterize",
    }
    assert len({step for each in used if len(each) == 1 for _, step in each}) > 25
    assert int(changed(after, raw(copies(picture, 400))).sum()) > 250


def ratios(pixels):
    """How bright the right half is, to the left one."""
    return pixels[:, 0, 0, -1] / pixels[:, 0, 0, 0]


def test_colour_changes_brightness_and_contrast_of_grey_and_keeps_it_grey():
    grey = copies(halves(60, 120))
    after, _ = made(grey, colour=0.5)
    assert torch.equal(after[:, 0], after[:, 1])
    assert torch.equal(after[:, 0], after[:, 2])
    assert float(after.mean((1, 2, 3)).std()) > 10, "brightness"
    assert float(ratios(after).std()) > 0.1, "contrast, which alone changes how much brighter one half is"
    assert (after[:, :, :, :6].flatten(2).std(2) == 0).all(), "places stay"


def test_colour_changes_saturation_and_hue_the_more_the_stronger():
    picture = copies(halves((150, 90, 60), (60, 90, 150)))
    assert not changed(made(picture, colour=0.0)[0], raw(picture)).any()
    spread = {}
    for strength in (0.1, 0.5):
        after, _ = made(picture, colour=strength)
        hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in (after[:, :, 0, 0] / 255).tolist()])
        spread[strength] = hsv.std(0)
    assert (spread[0.5] > 2.5 * spread[0.1]).all()
    assert (spread[0.5] > [0.03, 0.08, 0.08]).all(), "hue, saturation, brightness"


def test_light_moves_brightness_and_contrast_of_each_picture_by_up_to_its_share():
    picture = copies(halves((100,) * 3, (155,) * 3))
    assert not changed(made(picture, light=0.0)[0], raw(picture)).any()
    after, _ = made(picture, light=0.1)
    dark, bright = after[:, 0, 0, 0] / 255, after[:, 0, 0, -1] / 255
    stretched = (bright - dark) * 255 / 55
    assert 0.88 < stretched.min() < 0.92
    assert 1.08 < stretched.max() < 1.12
    shifted = dark / stretched - 100 / 255
    assert -0.11 < shifted.min() < -0.08
    assert 0.08 < shifted.max() < 0.11


def test_erase_erases_a_rectangle_in_its_share_of_the_pictures():
    before = raw(NOISE)
    assert int(changed(made(NOISE, erase=1.0)[0], before).sum()) > 380
    after, _ = made(NOISE, erase=0.25)
    holes = changed(after, before)
    assert 70 < int(holes.sum()) < 130
    for picture in (after != before).any(1)[holes]:
        rows, columns = picture.any(1).nonzero()[:, 0], picture.any(0).nonzero()[:, 0]
        box = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all(), "a rectangle"
        assert 0.01 < box.numel() / SIDE**2 < 0.36


def test_what_is_erased_is_the_mean_of_the_training_pictures():
    grey = replace(PLAIN, mean=(100.5 / 255,) * 3, std=(0.25,) * 3)
    options = {"flip": "off", "shift": 0.0}
    before, values = (
        prepared(batch_of(NOISE), Recipe(**options, erase=share), grey, "cpu", 0, seeded(0, 1, 0))[0]
        for share in (0.0, 1.0)
    )
    assert (values[values != before] == 0).all()
    assert 0.1 < float((values != before).float().mean()) < 0.25, "boxes of 2 to 33 % of the area"


# Mixtures

TWO = [np.full((SIDE, SIDE, 3), 200 * (row % 2), dtype=np.uint8) for row in range(300)]
"""Black pictures of one class and bright ones of another."""


def of_class(labels):
    return 200.0 * labels.view(-1, 1, 1, 1)


def test_mixup_mixes_pictures_and_targets_by_the_same_shares():
    assert made(TWO)[1].others is None
    spread = []
    for alpha in (0.1, 10.0):
        pixels, targets = made(TWO, mixup=alpha)
        assert targets.labels.tolist() == [row % 2 for row in range(300)]
        assert 100 < int((targets.labels != targets.others).sum()) < 200
        share = targets.share.view(-1, 1, 1, 1)
        expected = share * of_class(targets.labels) + (1 - share) * of_class(targets.others)
        assert (pixels - expected).abs().max() <= 0.5 + 1e-3
        spread.append(float(targets.share.std()))
    assert spread[0] > 0.4, "a small alpha takes nearly all of one"
    assert spread[1] < 0.15, "a large one takes halves"


def test_cutmix_puts_in_a_box_of_the_other_and_shares_the_target_by_its_area():
    pixels, targets = made(TWO, cutmix=1.0)
    own = (pixels == of_class(targets.labels)).all(1)
    other = (pixels == of_class(targets.others)).all(1)
    assert (own | other).all()
    apart = targets.labels != targets.others
    assert torch.allclose(own[apart].float().mean((1, 2)), targets.share[apart])
    for picture in ~own[apart & (targets.share < 1)]:
        rows, columns = picture.any(1).nonzero()[:, 0], picture.any(0).nonzero()[:, 0]
        assert int(picture.sum()) == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert float(targets.share[apart].std()) > 0.15


def test_of_mixup_and_cutmix_a_coin_decides_for_each_batch():
    mixed = [made(TWO, step=step, mixup=5.0, cutmix=1.0)[0].unique().numel() > 2 for step in range(40)]
    assert 10 < sum(mixed) < 30


# Crops, as a run takes them


def ramp(path):
    """Red tells the column and green the row of a picture of 200 x 200."""
    rows, columns = np.mgrid[:200, :200].astype(np.uint8)
    Image.fromarray(np.stack([columns, rows, columns * 0], -1)).save(path)


def batches_of_a_run(data, out, monkeypatch, **options):
    """Pixels (N, 3, 32, 32) and rows of all batches of one epoch."""
    seen = []
    real = training.prepared

    def noted(batch, *rest):
        seen.append(batch)
        return real(batch, *rest)

    monkeypatch.setattr(training, "prepared", noted)
    recipe = Recipe(**{"epochs": 1, "batch": 32, "flip": "off", "shift": 0.0, "precision": "fp32", **options})
    variant = Variant(width=0.25)
    train(str(data), model="cifar_inception_v1", out=out, variant=variant, recipe=recipe, tensorboard=False, workers=0)
    learnt = seen[1:]  # the first is drawn for the report
    return torch.cat([batch.pixels for batch in learnt]).float(), torch.cat([batch.rows for batch in learnt])


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Eighty pictures that show which part of them one sees."""
    root = tmp_path_factory.mktemp("ramps")
    for row in range(80):
        (root / str(row % 2)).mkdir(exist_ok=True)
        ramp(root / str(row % 2) / f"{row}.png")
    return root


def sides(pixels):
    """(widths, heights) in pixels of the 200 of what a batch shows."""
    spans = [pixels[:, channel].flatten(1) for channel in (0, 1)]
    return [(span.amax(1) - span.amin(1)) * 32 / 31 for span in spans]


@pytest.mark.slow
def test_crop_takes_parts_of_at_least_its_share_out_of_the_decoded_pictures(ramps, tmp_path, monkeypatch):
    whole, _ = batches_of_a_run(ramps, tmp_path / "a", monkeypatch)
    assert all((side > 193).all() for side in sides(whole))
    found, rows = batches_of_a_run(ramps, tmp_path / "b", monkeypatch, crop=0.3)
    assert len(rows) == len(rows.unique()) > 60
    widths, heights = sides(found)
    shares, aspects = widths * heights / 200**2, widths / heights
    assert 0.27 < shares.min() < 0.4
    assert 0.85 < shares.max() < 1.03
    assert 0.7 < aspects.min() < 0.85
    assert 1.15 < aspects.max() < 1.4
    lefts = found[:, 0].flatten(1).amin(1)
    assert lefts.min() < 10
    assert lefts.max() > 60
    plain, cropped = (read_card(tmp_path / name / "model.safetensors").preprocess for name in "ab")
    assert plain == cropped, "mean and deviation are those of the whole pictures, as validation sees them"


def test_a_run_sees_fine_detail_in_its_crops(tmp_path, monkeypatch):
    """Squares of two pixels in pictures of five times the network's size: grey, but in a small crop."""
    rows, columns = np.mgrid[:160, :160]
    squares = Image.fromarray(((rows // 2 + columns // 2) % 2 * 255).astype(np.uint8))
    for row in range(80):
        (tmp_path / "data" / str(row % 2)).mkdir(parents=True, exist_ok=True)
        squares.save(tmp_path / "data" / str(row % 2) / f"{row}.png")
    monkeypatch.setattr("inceptory.data.feed.feed.IN_MEMORY", 0)
    pixels, _ = batches_of_a_run(tmp_path / "data", tmp_path / "run", monkeypatch, crop=0.02)
    assert pixels.flatten(1).std(1).max() > 60
    assert pixels.flatten(1).std(1).median() < 10


def test_crops_depend_on_seed_epoch_and_batch_and_not_on_how_many_processes_share_it():
    def drawn(number=0, done=0, crop=0.08, seed=0, ranks=None):
        steps = SimpleNamespace(recipe=Recipe(crop=crop, seed=seed), ranks=ranks or Ranks())
        found = Steps.draws(steps, number, list(torch.arange(50).split(20)), done)
        return None if found is None else list(found)

    whole = drawn()
    assert [tuple(part.shape) for part in whole] == [(20, DRAWS), (20, DRAWS), (10, DRAWS)]
    for ours, first, second in zip(whole, *(drawn(ranks=Ranks(rank, 2)) for rank in (0, 1)), strict=True):
        assert torch.equal(ours, torch.cat([first, second]))
    assert all(torch.equal(*pair) for pair in zip(whole[2:], drawn(done=2), strict=True))
    every = torch.cat([*whole, *drawn(number=1), *drawn(seed=1)])
    assert len(every.unique()) == every.numel(), "no number twice"
    assert float(every.min()) >= 0
    assert float(every.max()) < 1
    assert float(every.mean()) == pytest.approx(0.5, abs=0.02)
    assert drawn(crop=0.0) is None


def test_progressive_training_shrinks_the_pictures_of_its_first_steps(monkeypatch, tmp_path):
    seen, real = [], Stepper.step

    def noted(self, number, rate, parts, momentum=None):
        seen.extend(tuple(values.shape[2:]) for values, _ in parts)
        return real(self, number, rate, parts, momentum)

    monkeypatch.setattr(Stepper, "step", noted)
    monkeypatch.setattr("inceptory.report.plots.png", lambda _: b"a picture")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    recipe = Recipe(epochs=2, batch=16, progressive=0.3, precision="fp32")
    net = {"model": "cifar_inception_v2", "variant": Variant(width=0.25)}
    train((pixels, np.arange(60) % 2), out=tmp_path / "run", recipe=recipe, tensorboard=False, **net)
    assert len(seen) == 8
    assert seen == [(24, 24)] * 3 + [(32, 32)] * 5, "steps 0, 1 and 2 of 8 begin before three tenths are over"
