"""Several views of a picture, averaged as the papers do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, TenCrop

import inceptory
from inceptory.cli import main
from inceptory.data.picture.decode import open_picture
from inceptory.data.picture.preprocess import VIEWS, Preprocess
from inceptory.engines.views import logits_behind
from inceptory.errors import DataError, UnknownName

STEPS = Preprocess(size=24, mean=(0.5,) * 3, std=(0.25,) * 3, resize=30, filter="bilinear")


def picture(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (30, 30), (200, 30)])
def test_ten_views_are_those_of_torchvision(size):
    whole = picture(*size)
    crops = Compose([Resize(30, InterpolationMode.BILINEAR), TenCrop(24)])(whole)
    # torchvision names the middle last, and cuts the second five out of the mirrored picture, whose left was the right.
    expected = [crops[place] for place in (4, 0, 1, 2, 3, 9, 6, 5, 8, 7)]
    pixels = replace(STEPS, views="ten").pixels(whole)
    assert pixels.shape == (24, 24, 30)
    for number, crop in enumerate(expected):
        assert np.array_equal(pixels[..., 3 * number : 3 * number + 3], np.asarray(crop)), number


def test_corners_of_a_squashed_picture_are_cut_out_of_a_larger_square():
    whole, steps = picture(50, 37), replace(STEPS, size=28, resize=None, views="ten")
    square = whole.resize((32, 32), Image.Resampling.BILINEAR)  # 28 * 256 / 224
    assert [*map(np.asarray, TenCrop(28)(square)[:4])] == [
        pytest.approx(steps.pixels(whole)[..., 3 * number : 3 * number + 3]) for number in (1, 2, 3, 4)
    ]
    assert np.array_equal(steps.pixels(whole)[..., :3], replace(steps, views="1").pixels(whole))


@pytest.mark.parametrize(
    "steps",
    [
        replace(STEPS, order="BGR"),
        replace(STEPS, order="L", mean=(0.5,), std=(0.5,)),
        replace(STEPS, antialias=False, central_fraction=0.875),
        replace(STEPS, resize=20),  # smaller than what is cut out: black around
    ],
)
@pytest.mark.parametrize("views", ["flip", "ten"])
def test_the_first_view_is_the_picture_as_it_is_and_the_second_half_is_mirrored(steps, views):
    whole, channels = picture(50, 37), len(steps.mean)
    plain, several = steps.pixels(whole), replace(steps, views=views).pixels(whole)
    every = np.split(several, VIEWS[views], axis=2)
    assert np.array_equal(every[0], plain)
    assert all(view.shape == (24, 24, channels) for view in every)
    half = len(every) // 2
    assert all(np.array_equal(one[:, ::-1], other) for one, other in zip(every[:half], every[half:], strict=True))


def test_corners_that_stand_out_lie_where_the_middle_does():
    every = np.split(replace(STEPS, resize=20, views="ten").pixels(picture(30, 30)), 10, axis=2)
    assert all(np.array_equal(view, every[0]) for view in every[:5])


def test_a_card_with_several_views_is_refused(run, tmp_path):
    net = inceptory.load(run / "model.safetensors")
    card = replace(net.card, preprocess=replace(net.card.preprocess, views="flip"))
    inceptory.save(net, tmp_path / "x.safetensors", card)
    with pytest.raises(DataError, match="no network is trained on several views"):
        inceptory.open_model(tmp_path / "x.safetensors")


# The commands


@pytest.fixture(scope="module")
def roomy(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of `run` with a margin around its crop, so that corners differ."""
    net = inceptory.load(run / "model.safetensors")
    path = tmp_path_factory.mktemp("roomy") / "roomy.safetensors"
    inceptory.save(net, path, replace(net.card, preprocess=replace(net.card.preprocess, size=24, resize=30)))
    return path


def by_hand(model: Path, path: Path, views: str) -> np.ndarray:
    """(K,) the softmax of each view, averaged, in numpy."""
    net = inceptory.load(model)
    steps = net.card.preprocess
    whole = open_picture(path, "x")
    crops = Compose([Resize(30, InterpolationMode.BICUBIC), TenCrop(24)])(whole)[:5]
    crops += tuple(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for crop in crops)
    middle = CenterCrop(24)(Resize(30, InterpolationMode.BICUBIC)(whole))
    chosen = {"1": [middle], "flip": [middle, middle.transpose(Image.Transpose.FLIP_LEFT_RIGHT)], "ten": crops}[views]
    with torch.inference_mode():
        logits = net.eval()(torch.from_numpy(steps.values(np.stack([np.asarray(one) for one in chosen])))).numpy()
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return (exponents / exponents.sum(1, keepdims=True)).mean(0)


@pytest.mark.parametrize("views", VIEWS)
def test_predict_averages_the_probabilities_of_the_views(views, roomy, colours):
    path, names = colours / "blue" / "3.png", inceptory.load(roomy).card.labels
    (one,) = inceptory.predict(roomy, path, views=views)
    expected = dict(zip(names, by_hand(roomy, path, views).tolist(), strict=True))
    assert dict(zip(one.labels, one.probabilities, strict=True)) == pytest.approx(expected, abs=1e-5)


def test_evaluate_measures_the_averaged_probabilities(roomy, colours, tmp_path):
    names = inceptory.load(roomy).card.labels
    for name in names:
        (tmp_path / "few" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "few" / name / f"{number}.png").write_bytes((colours / name / f"{number}.png").read_bytes())
    every = [(row, path) for row, name in enumerate(names) for path in (tmp_path / "few" / name).iterdir()]
    expected = -np.mean([np.log(by_hand(roomy, path, "ten")[row]) for row, path in every])
    out = tmp_path / "x.json"
    metrics = inceptory.evaluate(roomy, tmp_path / "few", views="ten", out=out)
    assert metrics.log_loss == pytest.approx(expected, abs=1e-5)
    assert metrics.log_loss != pytest.approx(inceptory.evaluate(roomy, tmp_path / "few").log_loss, abs=1e-6)
    assert json.loads(out.read_text())["views"] == "ten"


@pytest.mark.parametrize("several", [False, True])
def test_logits_give_their_probabilities_again_and_stay_finite(several):
    probabilities = np.float32([[0.0, 1.0], [0.25, 0.75], [1e-7, 1 - 1e-7]])
    logits = torch.from_numpy(logits_behind(probabilities, several))
    assert torch.isfinite(logits).all()
    again = logits.sigmoid() if several else logits.softmax(1)
    assert again.numpy() == pytest.approx(probabilities, abs=1e-6)


def test_several_views_are_noted_in_every_row(roomy, colours, tmp_path):
    inceptory.predict(roomy, colours / "red" / "0.png", views="flip", out=tmp_path / "x.jsonl")
    assert json.loads((tmp_path / "x.jsonl").read_text())["views"] == "flip"
    for _ in range(2):  # the second time over a file of its own kind
        inceptory.predict(roomy, colours / "red" / "0.png", views="flip", out=tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "picture,rank,label,probability,views"


def test_other_views_are_one_line(roomy, colours, capsys):
    with pytest.raises(UnknownName, match="'two': no such --views"):
        inceptory.predict(roomy, colours, views="two")
    with pytest.raises(UnknownName, match="'two': no such --views"):
        inceptory.evaluate(roomy, colours, views="two")
    assert main(["predict", str(roomy), str(colours), "--views", "ten", "--coverage", "0.9"]) == 64
    assert "--views ten, --coverage: give one of them" in capsys.readouterr().err
