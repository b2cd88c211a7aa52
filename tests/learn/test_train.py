"""One real line: train, evaluate, the run folder."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

import inceptory
from inceptory import Recipe, Variant
from inceptory.engines.device import choose
from inceptory.errors import ConfigError, DataError, UsageError, WriteError
from inceptory.learn.loop import Loop
from inceptory.learn.settings.job import Job
from inceptory.measure.results import Epoch, Metrics
from inceptory.measure.tasks import SingleLabel
from inceptory.system.signals import Stop
from inceptory.weights.card import read_card

TINY = Variant(width=0.25)
QUICK = Recipe(epochs=1, batch=16, precision="fp32")


def rows_of(run: Path) -> list[dict[str, str]]:
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_learns_and_says_what_it_did(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["top1"] >= 0.9, "three plain colours are easy"
    assert metrics["split"] == "validation"
    assert metrics["n"] == 6
    assert metrics["interval"][0] < metrics["top1"] <= metrics["interval"][1]
    rows = rows_of(run)
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    assert float(rows[-1]["train_log_loss"]) < float(rows[0]["train_log_loss"])
    assert not any(float(cell) < 0 for row in rows for cell in row.values()), (
        "numbers only: nothing a spreadsheet could run"
    )
    assert sorted(path.name for path in run.iterdir()) == [
        "calibration.png",
        "confusion.png",
        "curves.png",
        "events",
        "features.png",
        "first-batch.png",
        "history.csv",
        "last.safetensors",
        "metrics.json",
        "model.safetensors",
        "report.html",
        "run.json",
    ]


def test_the_checkpoint_knows_itself(run: Path, colours: Path):
    card = read_card(run / "model.safetensors")
    assert card.labels == ("blue", "green", "red")
    assert card.architecture == "cifar_inception_v2"
    assert card.options["width"] == 0.25
    assert card.preprocess is not None
    assert card.preprocess.size == 32
    assert card.recipe["epochs"] == 12
    assert card.data["splits"] == {"train": 66, "validation": 6}
    assert card.metrics["n"] == 6
    assert card.versions["torch"] == torch.__version__


def test_the_best_epoch_on_validation_is_kept(run: Path, colours: Path):
    rows = rows_of(run)
    best = max(rows, key=lambda row: (float(row["validation_top1"]), -float(row["validation_log_loss"])))
    for name, row in (("model.safetensors", best), ("last.safetensors", rows[-1])):
        card = read_card(run / name)
        assert card.metrics["epoch"] == int(row["epoch"])
        # Not the card alone: the weights answer as those of that epoch did.
        found = inceptory.evaluate(run / name, str(colours), precision="fp32")
        assert found.log_loss == pytest.approx(float(row["validation_log_loss"]), rel=1e-4)


@pytest.mark.slow
def test_an_epoch_that_spoils_the_network_is_not_kept(colours: Path, tmp_path: Path, monkeypatch):
    validated = Loop._validated

    def spoilt(self: Loop, number: int, stop: Stop, start: float) -> tuple[Epoch, Metrics]:
        with torch.no_grad():
            for weights in self.stepper.answering.parameters() if number == 3 else ():
                weights.zero_()
        row, metrics = validated(self, number, stop, start)
        return (row if number == 3 else replace(row, validation_top1=1.0)), metrics  # how well it learns is chance

    monkeypatch.setattr(Loop, "_validated", spoilt)
    monkeypatch.setattr("inceptory.report.plots.png", lambda _: b"a picture")
    recipe = replace(QUICK, epochs=3, lr=0.02)
    inceptory.train(str(colours), model="cifar_inception_v2", out=tmp_path / "run", variant=TINY, recipe=recipe)
    kept, last = (inceptory.load(tmp_path / "run" / f"{name}.safetensors") for name in ("model", "last"))
    assert not any(weights.any() for weights in last.parameters())
    assert all(weights.any() for name, weights in kept.named_parameters() if name.endswith("weight"))
    assert kept.card.metrics["epoch"] < 3


def test_evaluating_again_gives_the_runs_own_metrics(run: Path, colours: Path, tmp_path: Path):
    metrics = inceptory.evaluate(run, str(colours), out=tmp_path / "again.json", precision="fp32")
    recorded = json.loads((run / "metrics.json").read_text())
    assert metrics.top1 == recorded["top1"]
    assert metrics.log_loss == pytest.approx(recorded["log_loss"], rel=1e-5)
    again = json.loads((tmp_path / "again.json").read_text())
    of_the_run_only = {"minutes", "images_per_second", "epochs", "steps", "steps_per_epoch", "ended_by"}
    assert set(recorded) - of_the_run_only == set(again) - {"model", "data"}
    for name in ("top1", "n", "split", "confusion", "classes", "macro", "network", "file_bytes"):
        assert again[name] == recorded[name]
    assert again["calibration_error"] == pytest.approx(recorded["calibration_error"], rel=1e-4)


def test_classes_in_another_order_are_matched_by_name(run: Path, colours: Path, tmp_path: Path):
    for name in ("red", "blue"):
        shutil.copytree(colours / name, tmp_path / "test" / name)
    metrics = inceptory.evaluate(run, str(tmp_path), precision="fp32")
    assert metrics.n == 48
    assert metrics.top1 >= 0.9


@pytest.mark.slow
def test_two_runs_of_one_seed_are_equal(colours: Path, tmp_path: Path):
    for name in ("a", "b"):
        inceptory.train(str(colours), model="cifar_inception_v3", out=tmp_path / name, variant=TINY, recipe=QUICK)
    first, second = (inceptory.load(tmp_path / name / "last.safetensors").state_dict() for name in ("a", "b"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_network_is_decided_once_and_the_last_pictures_are_measured_once(colours, tmp_path, monkeypatch):
    methods = {"plan": Job, "measure": SingleLabel, "details": SingleLabel}
    calls = {name: mock.create_autospec(getattr(kind, name)) for name, kind in methods.items()}
    for name, kind in methods.items():
        calls[name].side_effect = getattr(kind, name)
        monkeypatch.setattr(kind, name, calls[name])
    inceptory.train(str(colours), model="cifar_inception_v1", out=tmp_path / "run", variant=TINY, recipe=QUICK)
    counts = {name: call.call_count for name, call in calls.items()}
    assert counts == {"plan": 1, "measure": 1 + 1, "details": 1}, "the epoch's validation is measured as well"


def test_a_network_trains_while_freed_memory_is_kept(colours: Path, tmp_path: Path, monkeypatch):
    order, real = [], Loop.run

    @contextmanager
    def keeping_memory():
        order.append("kept")
        yield
        order.append("given back")

    def run(loop: Loop, stop: Stop) -> None:
        order.append("trained")
        real(loop, stop)

    monkeypatch.setattr("inceptory.learn.fit.keeping_memory", keeping_memory)
    monkeypatch.setattr(Loop, "run", run)
    inceptory.train(str(colours), model="cifar_inception_v1", out=tmp_path / "run", variant=TINY, recipe=QUICK)
    assert order == ["kept", "trained", "given back"]


@pytest.mark.slow
def test_grey_auxiliary_and_squeezed_networks_train(colours: Path, tmp_path: Path):
    variant = Variant(width=0.25, in_channels=1, aux=True, se=True, image=64)
    inceptory.train(str(colours), model="googlenet", out=tmp_path / "run", variant=variant, recipe=QUICK)
    card = read_card(tmp_path / "run" / "model.safetensors")
    assert card.preprocess is not None
    assert card.preprocess.order == "L"
    assert len(card.preprocess.mean) == 1
    assert card.options["aux"]


def test_channels_that_no_picture_has_are_refused_before_any_data_is_read(tmp_path: Path):
    with pytest.raises(UsageError, match="--in-channels 4: pictures have 1"):
        inceptory.train("nowhere", model="googlenet", out=tmp_path / "run", variant=Variant(in_channels=4))


@pytest.mark.slow
def test_unreadable_pictures_are_named_counted_and_skipped(colours: Path, tmp_path: Path, capsys):
    shutil.copytree(colours, tmp_path / "data")
    (tmp_path / "data" / "red" / "0.png").write_bytes(b"not a picture")
    inceptory.train(
        str(tmp_path / "data"), model="cifar_inception_v3", out=tmp_path / "run", variant=TINY, recipe=QUICK
    )
    told = capsys.readouterr().err
    assert "red/0.png" in told.replace("\\", "/")
    assert "skipped 1 unreadable" in told


def test_a_class_that_is_damaged_beyond_a_tenth_is_refused(colours: Path, tmp_path: Path):
    shutil.copytree(colours, tmp_path / "data")
    for row in range(3):
        (tmp_path / "data" / "red" / f"{row}.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="class 'red': 3 of 24 pictures cannot be read"):
        inceptory.train(
            str(tmp_path / "data"), model="cifar_inception_v3", out=tmp_path / "run", variant=TINY, recipe=QUICK
        )
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_in_its_first_step_leaves_nothing(colours: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("inceptory.measure.losses.F.cross_entropy", lambda x, *_, **__: x.sum(1) * float("nan"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("not the run's")
    with pytest.raises(DataError, match="lower --lr"):
        inceptory.train(str(colours), model="cifar_inception_v3", out=tmp_path / "run", variant=TINY, recipe=QUICK)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_folder_that_holds_a_run_is_refused_and_untouched(run: Path, colours: Path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="already holds a run"):
        inceptory.train(str(colours), model="cifar_inception_v3", out=run, variant=TINY, recipe=QUICK)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_place_that_cannot_be_written_is_refused_before_training(colours: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="cannot be written"):
        inceptory.train(
            str(colours), model="cifar_inception_v3", out=tmp_path / "file" / "run", variant=TINY, recipe=QUICK
        )


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"batch": 1}, {"lr": 0.0}, {"shift": 1.5}])
def test_a_bad_recipe_is_refused_before_the_data_is_read(bad: dict, tmp_path: Path):
    with pytest.raises(UsageError, match=next(iter(bad))):
        inceptory.train("no/such/data", model="cifar_inception_v3", out=tmp_path / "run", recipe=Recipe(**bad))


def test_classes_that_the_checkpoint_does_not_know_are_refused(run: Path):
    with pytest.raises(ConfigError, match="10 of its classes are unknown"):
        inceptory.evaluate(run, "digits")


def test_a_checkpoint_without_class_names_cannot_be_evaluated(tmp_path: Path):
    inceptory.save(inceptory.create("cifar_inception_v3", width=0.25), tmp_path / "fresh.safetensors")
    with pytest.raises(ConfigError, match="train it first"):
        inceptory.evaluate(tmp_path / "fresh.safetensors", "digits")


def test_a_device_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="not on this machine"):
        choose("cuda")
    assert choose("auto", "fp32").precision == "fp32"
    assert choose("cpu", "bf16").precision == "bf16"


def test_cifar10_in_parquet_trains(cifar10: Path, tmp_path: Path):
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        pq.write_table(pq.read_table(cifar10 / f"{split}.parquet").slice(0, 400), tmp_path / f"{split}.parquet")
    recipe = replace(QUICK, batch=100)
    result = inceptory.train(
        str(tmp_path), model="cifar_inception_v1", out=tmp_path / "run", variant=TINY, recipe=recipe
    )
    assert result.split == "test"
    assert result.metrics.n == 400
    card = read_card(tmp_path / "run" / "model.safetensors")
    assert card.labels[:3] == ("airplane", "automobile", "bird")
    assert card.preprocess is not None
    assert card.preprocess.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.03), "CIFAR-10's published means"
