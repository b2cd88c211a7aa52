"""What the network saw first, as pictures; and the losses that both curves of a run share."""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import inceptory
from inceptory import Recipe, Variant
from inceptory.data.feed.batches import pixels_of
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import Device
from inceptory.errors import InterruptedRun
from inceptory.learn.loop import Loop
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper
from inceptory.measure.tasks import MULTI_LABEL, SINGLE_LABEL
from inceptory.report import plots
from inceptory.weights.card import read_card

TINY = Variant(width=0.25)
BUSY = Recipe(epochs=1, batch=16, precision="fp32", crop=0.4, mixup=0.4, colour=0.3, average=0.0)


@pytest.fixture(scope="module")
def first(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor, Targets]:
    """A run with many augmentations, and the values and targets that its first step learnt from."""
    folder, parts, step = tmp_path_factory.mktemp("first") / "run", [], Stepper.step
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            Stepper, "step", lambda self, n, lr, more, *rest: parts.extend(more) or step(self, n, lr, more, *rest)
        )
        inceptory.train(str(colours), model="cifar_inception_v1", out=folder, variant=TINY, recipe=BUSY)
    return folder, *parts[0]


def test_the_first_batch_is_drawn_pixel_by_pixel_as_the_network_saw_it(first):
    folder, values, _ = first
    steps = read_card(folder / "model.safetensors").preprocess
    mean, std = (np.reshape(numbers, (3, 1, 1)) for numbers in (steps.mean, steps.std))
    pixels = np.round((values.numpy() * std + mean) * 255).clip(0, 255).astype(np.uint8)
    with Image.open(folder / "first-batch.png") as image:
        found = np.asarray(image.convert("RGBA"))
    high = plots.TILE + 2 * plots.LINE + plots.GAP
    for number, picture in enumerate(pixels):
        row, column = divmod(number, plots.COLUMNS)
        top, left = row * high, column * (plots.TILE + plots.GAP) + plots.GAP // 2
        tile = found[top : top + plots.TILE, left : left + plots.TILE, :3]
        assert (tile[2::4, 2::4] == picture.transpose(1, 2, 0)).all(), "32 pixels, each four times four dots"


def test_the_page_holds_it_and_keeps_its_colours_in_the_dark(first):
    folder, *_ = first
    content = base64.b64encode((folder / "first-batch.png").read_bytes()).decode()
    text = (folder / "report.html").read_text()
    assert f'class="photos" src="data:image/png;base64,{content}"' in text.replace("wide photos", "photos")
    assert "figure>img.photos{filter:none;}" in "".join(text.split())


@pytest.mark.slow
def test_a_resumed_run_has_the_same_first_batch(first, colours: Path, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patched:
        keep = Loop._keep

        def asked(self, stop):
            stop.asked = self.position.step == 2
            keep(self, stop)

        patched.setattr(Loop, "_keep", asked)
        with pytest.raises(InterruptedRun):
            inceptory.train(str(colours), model="cifar_inception_v1", out=tmp_path / "r", variant=TINY, recipe=BUSY)
    picture = tmp_path / "r" / "first-batch.png"
    assert picture.read_bytes() == (first[0] / "first-batch.png").read_bytes(), "there as soon as the run begins"
    picture.unlink()
    inceptory.train(resume=tmp_path / "r")
    assert picture.read_bytes() == (first[0] / "first-batch.png").read_bytes()


def test_at_most_32_pictures_stand_in_rows_of_eight():
    labels = [[("cat", 1.0)]] * 32
    with Image.open(io.BytesIO(plots.pictures(np.zeros((32, 200, 100, 3), np.uint8), labels))) as image:
        assert image.size == (8 * (plots.TILE // 2 + plots.GAP), 4 * (plots.TILE + plots.LINE + plots.GAP))


def test_mixed_pictures_are_told_by_both_shares_and_several_classes_by_all():
    names = ("cat", "dog", "owl")
    mixed = Targets(torch.tensor([0, 1]), torch.tensor([2, 1]), torch.tensor([0.75, 0.5]))
    assert mixed.told(names) == [[("cat", 0.75), ("owl", 0.25)], [("dog", 1.0)]]
    several = Targets(torch.tensor([[1, 0, 1], [0, 0, 0]], dtype=torch.uint8))
    assert several.told(names) == [[("cat, owl", 1.0)], [("none", 1.0)]]


@pytest.mark.parametrize(("order", "colour"), [("RGB", (10, 20, 30)), ("BGR", (30, 20, 10))])
def test_pictures_are_shown_in_red_green_blue_whatever_the_network_reads(order, colour):
    steps = Preprocess(size=1, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0), order=order)
    given = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1) / 255
    values = (given - torch.tensor(steps.mean).view(1, 3, 1, 1)) / torch.tensor(steps.std).view(1, 3, 1, 1)
    assert tuple(pixels_of(values, steps)[0, 0, 0]) == colour
    assert pixels_of(values + 9, steps).max() == 255, "beyond white is white"


# The same measure of training and of validation

PLAIN = Recipe(label_smoothing=0.0, average=0.0, penalty=0.0)
HARD = Recipe(label_smoothing=0.3, average=0.0, penalty=1e-3)


def stepped(recipe: Recipe, targets: Targets, task, weights=None, aux: bool = False):
    """(what a step told, the main head's logits in train mode before it)."""
    torch.manual_seed(0)
    name, image = ("googlenet", 64) if aux else ("cifar_inception_v1", 32)
    net = inceptory.create(name, classes=3, width=0.25, dropout=0, aux=aux, image=image)
    values = torch.rand(8, 3, image, image)
    with torch.no_grad():
        logits = net.train()(values)
    torch.manual_seed(1)
    outcome = Stepper(net, recipe, Device("cpu"), None, weights, None, task).step(0, 0.01, [(values, targets)])
    return outcome, logits


@pytest.mark.parametrize("aux", [False, True])
def test_the_log_loss_of_training_is_the_plain_cross_entropy_of_the_main_head(aux):
    labels = torch.arange(8) % 3
    weights = torch.tensor([1.0, 2.0, 3.0])
    found, logits = stepped(HARD, Targets(labels), SINGLE_LABEL, weights, aux)
    assert found.plain == pytest.approx(F.cross_entropy(logits, labels, reduction="sum").item(), rel=1e-4)
    assert found.losses > 1.2 * found.plain, "smoothing, weights, penalty and auxiliary heads come on top"


def test_without_anything_on_top_the_objective_is_the_log_loss():
    found, _ = stepped(PLAIN, Targets(torch.arange(8) % 3), SINGLE_LABEL)
    assert found.losses == pytest.approx(found.plain, rel=1e-6)


def test_of_several_classes_it_is_the_mean_binary_cross_entropy():
    labels = torch.tensor([[1, 0, 1], [0, 0, 0]] * 4, dtype=torch.uint8)
    found, logits = stepped(HARD, Targets(labels), MULTI_LABEL, torch.tensor([1.0, 2.0, 3.0]))
    expected = F.binary_cross_entropy_with_logits(logits, labels.float()).item()
    assert found.plain / 8 == pytest.approx(expected, rel=1e-4)
    assert found.losses > found.plain


def test_of_mixed_pictures_both_classes_count_by_their_shares():
    one, other, share = torch.arange(8) % 3, (torch.arange(8) + 1) % 3, torch.linspace(0.1, 0.9, 8)
    found, logits = stepped(HARD, Targets(one, other, share), SINGLE_LABEL)
    losses = [F.cross_entropy(logits, labels, reduction="none") for labels in (one, other)]
    assert found.plain == pytest.approx((share * losses[0] + (1 - share) * losses[1]).sum().item(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_history_has_the_objective_in_a_column_of_its_own(smoothing, colours: Path, tmp_path: Path):
    recipe = replace(BUSY, label_smoothing=smoothing)
    inceptory.train(str(colours), model="cifar_inception_v1", out=tmp_path / "r", variant=TINY, recipe=recipe)
    with open(tmp_path / "r" / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    objective, plain = float(row["train_objective"]), float(row["train_log_loss"])
    assert (objective == pytest.approx(plain, rel=1e-5)) is (smoothing == 0)


def test_the_curves_are_of_one_measure_and_say_what_differs(first, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "png", lambda figure: shown.append(figure) or b"")
    run = inceptory.train(resume=first[0])
    row = replace(run.epochs[0], train_objective=99.0, train_log_loss=7.0)
    plots.curves("net", [row], row)
    left = shown[0].axes[0]
    assert [line.get_ydata()[0] for line in left.get_lines()[:2]] == [7.0, run.epochs[0].validation_log_loss]
    assert "log-loss" in left.get_ylabel()
    told = [text.get_text() for text in shown[0].legends[0].get_texts()]
    assert told[0].startswith("training (augmented, in train mode")
    page = " ".join((first[0] / "report.html").read_text().split())
    assert "with the weights at the end of the epoch" in page, "this run keeps no average"
    assert "mixed ones weighted by the shares of both classes" in page
