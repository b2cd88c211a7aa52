"""What options of a training do: with the option and without, the difference is the one that its help promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import inceptory
from inceptory import Recipe, Variant
from inceptory.engines.device import Device
from inceptory.learn import loop as training
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper
from inceptory.learn.update.optim import penalised
from inceptory.measure.single_label import SingleMetrics
from inceptory.measure.tasks import SingleLabel
from inceptory.weights.card import read_card

MODEL = "cifar_inception_v1"
TINY = Variant(width=0.25)
KERNELS = ("Conv2d_1a_7x7.conv.weight", "head.classifier.0.weight")


def paint(folder: Path, count: int, level: float = 128, seed: int = 0) -> None:
    """Noisy grey pictures of 8 x 8, the same for the same seed."""
    chance = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for row in range(count):
        noise = chance.normal(level, 20, (8, 8, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{row}.png")


def run(data: Path, out: Path, **recipe) -> inceptory.measure.results.Run:
    """A run without chance in the pictures."""
    known = {"precision": "fp32", "flip": "off", "shift": 0.0, "label_smoothing": 0.0, "batch": 8, **recipe}
    return inceptory.train(str(data), model=MODEL, out=out, variant=TINY, recipe=Recipe(**known), tensorboard=False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12 training and 4 validation pictures each, dark and bright; validation is brighter by 60."""
    root = tmp_path_factory.mktemp("pairs")
    for name, level in (("bright", 150), ("dark", 60)):
        paint(root / "train" / name, 12, level, seed=level)
        paint(root / "val" / name, 4, level + 60, seed=level + 1)
    return root


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than these runs."""
    monkeypatch.setattr("inceptory.report.folder.write_run", lambda *_, **given: given["test"].metrics())


# What batch norms remember


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.slow
def test_the_share_that_norms_take_of_each_batch_counts_where_no_average_has_statistics_of_its_own(
    average, pairs, tmp_path
):
    kept = []
    for share in (0.05, 0.5):
        run(pairs, tmp_path / str(share), epochs=1, average=average, norm_momentum=share)
        kept.append(load_file(tmp_path / str(share) / "last.safetensors"))
    same = {name for name in kept[0] if torch.equal(kept[0][name], kept[1][name])}
    statistics = {name for name in kept[0] if "running" in name}
    assert statistics
    assert same == (set(kept[0]) if average else set(kept[0]) - statistics)


# Classes of unequal sizes


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 pictures of one class and 8 of another, all alike: only how often each comes can be learnt."""
    root = tmp_path_factory.mktemp("unequal")
    for split in ("train", "val"):
        for name, count in (("few", 8), ("many", 32)):
            paint(root / split / name, count)
            for row in range(8, count):
                (root / split / name / f"{row}.png").write_bytes((root / split / name / f"{row % 8}.png").read_bytes())
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "drawn", "answered"),
    [({}, 0.2, 0.2), ({"class_weights": True}, 0.2, 0.5), ({"balanced": True}, 0.5, 0.5)],
    ids=["neither", "class weights", "balanced"],
)
def test_a_rare_class_is_answered_as_often_as_it_counts(asked, drawn, answered, unequal, tmp_path, monkeypatch):
    """8 of 40: a fifth, unless the loss or the draw gives both classes the same weight."""
    labels, real = [], training.prepared

    def noted(batch, *others):
        labels.append(batch.labels)
        return real(batch, *others)

    monkeypatch.setattr(training, "prepared", noted)
    known = {"lr": 0.02, "average": 0.8, "warmup": 0.3, "weight_decay": 0.0}
    run(unequal, tmp_path / "run", epochs=8, batch=40, **known, **asked)
    found = inceptory.predict(tmp_path / "run" / "last.safetensors", unequal / "val" / "few", top=2)
    rare = [dict(zip(one.labels, one.probabilities, strict=True))["few"] for one in found]
    assert float((torch.cat(labels) == 0).float().mean()) == pytest.approx(drawn, abs=0.08)
    assert sum(rare) / len(rare) == pytest.approx(answered, abs=0.12)


# Dropout before the classifier


def test_dropout_before_the_classifier_acts_in_training_only():
    torch.manual_seed(0)
    net, values = (
        inceptory.create("inception_v4", width=0.25, image=75, classes=0, dropout=0.25),
        torch.rand(8, 3, 75, 75),
    )
    with torch.no_grad():
        plain = net.eval().embed(values)
        again = net.embed(values)
        maps = net.features(values, net.stage_names[-1])[net.stage_names[-1]]
        dropped = net.train().head.embed(maps)
    assert torch.equal(plain, again)
    zeroed = dropped == 0
    assert float(zeroed[plain != 0].float().mean()) == pytest.approx(0.25, abs=0.05)
    assert torch.allclose(dropped[~zeroed], plain[~zeroed] / 0.75, rtol=1e-5), "what is left makes up for the rest"


# The weights that are kept


class Seen:
    """The loop of a run, and its weights after each epoch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.raw: list[dict[str, torch.Tensor]] = []
        self.answering: list[dict[str, torch.Tensor]] = []
        real = training.Loop._write_epoch

        def noted(loop, metrics):
            for net, kept in ((loop.stepper.net, self.raw), (loop.stepper.answering, self.answering)):
                kept.append({name: value.clone() for name, value in net.state_dict().items()})
            real(loop, metrics)

        monkeypatch.setattr(training.Loop, "_write_epoch", noted)


def same(file: Path, tensors: dict[str, torch.Tensor]) -> bool:
    found = load_file(file)
    assert found.keys() == tensors.keys()
    return all(torch.equal(value, tensors[name]) for name, value in found.items())


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_averaged_weights_are_what_is_measured_and_kept(average, pairs, tmp_path, monkeypatch):
    seen = Seen(monkeypatch)
    run(pairs, tmp_path / "run", epochs=2, average=average)
    last = tmp_path / "run" / "last.safetensors"
    assert same(last, seen.answering[-1])
    assert same(last, seen.raw[-1]) is (not average), "without an average it is the network itself"
    assert not any(torch.equal(seen.answering[0][name], seen.answering[1][name]) for name in KERNELS), "it follows"
    measured = inceptory.evaluate(last, str(pairs), split="validation")
    assert measured.log_loss == pytest.approx(read_card(last).metrics["log_loss"], rel=1e-5)


def scripted(monkeypatch: pytest.MonkeyPatch, top1: list[float]) -> None:
    """Let validation find these shares, epoch by epoch."""
    told, measure = iter(top1), SingleLabel.measure

    def scripted_or_measured(self, *answered):
        share = next(told, None)  # what comes after is the measurement at the end
        return measure(self, *answered) if share is None else SingleMetrics(share, 1.0, 0.5, 8, (0.0, 1.0))

    monkeypatch.setattr(SingleLabel, "measure", scripted_or_measured)


@pytest.mark.parametrize(
    ("stop_after", "epochs", "best"), [(0, 6, 6), (2, 4, 2), (4, 6, 6)], ids=["never", "after 2", "after 4"]
)
@pytest.mark.slow
def test_the_best_epoch_is_kept_and_training_ends_when_none_gets_better(
    stop_after, epochs, best, pairs, tmp_path, monkeypatch
):
    seen = Seen(monkeypatch)
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7, 0.4, 0.8])
    found = run(pairs, tmp_path / "run", epochs=6, stop_after=stop_after, batch=24)
    assert len(found.epochs) == len(seen.raw) == epochs
    assert same(tmp_path / "run" / "model.safetensors", seen.answering[best - 1])
    assert same(tmp_path / "run" / "last.safetensors", seen.answering[-1])
    assert read_card(tmp_path / "run" / "model.safetensors").metrics["epoch"] == best


def test_the_last_measurement_is_of_the_best_epoch(pairs, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        scripted(patched, [0.9, 0.1])
        found = run(pairs, tmp_path / "run", epochs=2, lr=0.02)
    best, last = (
        inceptory.evaluate(tmp_path / "run" / f"{name}.safetensors", str(pairs), split="validation")
        for name in ("model", "last")
    )
    assert found.metrics.log_loss == pytest.approx(best.log_loss, rel=1e-5)
    assert abs(best.log_loss - last.log_loss) > 1e-3


# The pictures


def test_mean_and_deviation_are_those_of_the_training_pictures(pairs, tmp_path):
    run(pairs, tmp_path / "run", epochs=1)
    found = read_card(tmp_path / "run" / "model.safetensors").preprocess
    pixels = [np.asarray(Image.open(path)) for path in sorted((pairs / "train").rglob("*.png"))]
    assert found.mean == pytest.approx(np.mean(pixels, axis=(0, 1, 2)) / 255, abs=0.005)
    # Enlarged from 8 to 32 pixels, noise is smoother and classes are as far apart as they were.
    assert found.std == pytest.approx(np.std(pixels, axis=(0, 1, 2)) / 255, rel=0.1)


# The step


def made(**recipe) -> Stepper:
    torch.manual_seed(0)
    net = inceptory.create(MODEL, width=0.25, classes=4, dropout=0.0).double()
    return Stepper(net, Recipe(**{"label_smoothing": 0.0, "average": 0.0, **recipe}), Device("cpu"))


def batch(count: int = 6):
    chance = torch.Generator().manual_seed(2)
    labels = torch.randint(4, (count,), generator=chance)
    return torch.randn(count, 3, 32, 32, generator=chance, dtype=torch.float64), labels


def test_smoothing_spreads_its_share_of_the_target_over_all_classes():
    values, labels = batch()
    torch.manual_seed(0)
    logits = made().net.train().heads(values)["logits"].detach()
    found = made(label_smoothing=0.3).step(0, 0.1, [(values, Targets(labels))])
    targets = 0.7 * F.one_hot(labels, 4).double() + 0.3 / 4
    assert found.losses == pytest.approx(float(-(targets * logits.log_softmax(1)).sum()), rel=1e-9)


def test_the_penalty_is_part_of_the_loss_that_is_told():
    values, labels = batch()
    plain, more = (made(penalty=share) for share in (0.0, 1e-2))
    squares = sum(float(each.detach().square().sum()) for each in penalised(more.net))
    without, found = (each.step(0, 0.1, [(values, Targets(labels))]) for each in (plain, more))
    assert found.losses / 6 - without.losses / 6 == pytest.approx(1e-2 * squares, rel=1e-9)


def test_clipping_bounds_a_step_and_leaves_short_ones_alone():
    def moved(**recipe):
        stepper = made(momentum=0.0, weight_decay=0.0, **recipe)
        before = [each.detach().clone() for each in stepper.net.parameters()]
        stepper.step(0, 1.0, [(batch()[0], Targets(batch()[1]))])
        pairs = zip(stepper.net.parameters(), before, strict=True)
        return torch.cat([(each.detach() - start).flatten() for each, start in pairs])

    free = moved()
    length = float(free.norm())
    assert torch.equal(moved(clip=2 * length), free)
    short = moved(clip=length / 10)
    assert float(short.norm()) == pytest.approx(length / 10, rel=1e-4)
    assert float(F.cosine_similarity(short, free, 0)) == pytest.approx(1), "of the same direction"


def steps_of(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **recipe) -> list[tuple[float, list[int]]]:
    """(rate, pictures of each part) of every step of a run."""
    found, real = [], Stepper.step

    def noted(self, number, rate, parts, *others):
        found.append((rate, [len(values) for values, _ in parts]))
        return real(self, number, rate, parts, *others)

    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "step", noted)
        run(data, out, **recipe)
    return found


def test_accumulated_batches_make_one_step_and_warming_up_takes_its_share(pairs, tmp_path, monkeypatch):
    """24 pictures, batches of 4, two of them a step: 3 steps an epoch, of which 2 epochs have 6."""
    known = {"epochs": 2, "batch": 4, "accumulate": 2, "lr": 0.006, "schedule": "constant"}
    found = steps_of(pairs, tmp_path / "half", monkeypatch, warmup=0.5, **known)
    assert [parts for _, parts in found] == [[4, 4]] * 6
    assert [rate for rate, _ in found] == pytest.approx([0.002, 0.004, 0.006, 0.006, 0.006, 0.006])
    found = steps_of(pairs, tmp_path / "none", monkeypatch, warmup=0.0, **{**known, "accumulate": 1, "epochs": 1})
    assert found == [(0.006, [4])] * 6
