"""The network trained further after its head: what it gains, when it is kept, and that nothing is lost on the way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import inceptory
from inceptory import Recipe, Transfer, train
from inceptory.cli import main
from inceptory.errors import ConfigError, InterruptedRun, UsageError
from inceptory.learn.settings.options import Options, decided
from inceptory.measure.gain import Gain
from inceptory.weights.card import read_card
from tests.conftest import COLOURS
from tests.learn.stopped import stopped_after

AS_IT_IS = {"average": 0.0, "label_smoothing": 0.0, "flip": "off", "shift": 0.0}
LEARNS = Recipe(epochs=8, batch=8, lr=0.02, precision="fp32", validation=0.4, **AS_IT_IS)
"""Steps enough for pictures of one colour each."""
WEAK = Transfer(finetune=True, strength=1e6)
"""A head that answers with any class, so that there is something to gain."""


@pytest.fixture(autouse=True)
def unpainted(monkeypatch):
    monkeypatch.setattr("inceptory.report.plots.png", lambda _: b"a picture")


def weights(path):
    return {name: tensor for name, tensor in inceptory.load(path).state_dict().items() if "classifier" not in name}


def equal(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture(scope="module")
def gained(colours, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "gained"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("inceptory.report.plots.png", lambda _: b"a picture")
        return train(str(colours), backbone=backbone, out=folder, recipe=LEARNS, transfer=WEAK)


def test_what_is_better_by_more_than_noise_is_kept_and_answers(gained, colours, backbone, capsys):
    card = read_card(gained.folder / "model.safetensors")
    verdict = card.recipe["fine_tuning"]
    assert verdict["kept"]
    assert verdict["after"] - verdict["before"] > verdict["noise"]
    assert gained.split == "validation"
    assert gained.metrics.top1 == verdict["after"] > 0.9
    assert inceptory.evaluate(gained.folder, str(colours)).top1 > 0.9
    assert equal(weights(gained.folder), weights(gained.folder / "last.safetensors"))
    assert not equal(weights(gained.folder), weights(backbone))


def test_the_history_begins_with_the_head(gained):
    assert [row.epoch for row in gained.epochs] == list(range(9))
    head, *_, last = gained.epochs
    assert head.right[1] < 0.7 < last.right[1]
    assert read_card(gained.folder / "model.safetensors").metrics["epoch"] == 8
    record = json.loads((gained.folder / "metrics.json").read_text())
    assert record["ended_by"] == "epochs"
    assert not (gained.folder / "state").exists()


def test_its_calibration_is_of_pictures_that_it_did_not_see(gained):
    card = read_card(gained.folder / "model.safetensors")
    assert card.calibration["kind"] == "held-out"
    assert 3 <= card.calibration["n"] < 20
    assert card.recipe["folds"] == 0


def test_the_page_says_what_was_gained(gained):
    page = (gained.folder / "report.html").read_text()
    assert "Fine-tuning gained" in page
    assert "It was kept." in page
    assert "<h2>Curves</h2>" in page


@pytest.mark.slow
def test_a_head_that_is_as_good_is_kept_alone(colours, backbone, tmp_path, capsys):
    recipe = Recipe(epochs=1, batch=8, lr=1e-5, precision="fp32")
    run = train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=recipe, transfer=Transfer(finetune=True))
    card = read_card(run.folder / "model.safetensors")
    assert not card.recipe["fine_tuning"]["kept"]
    assert "kept the head alone" in capsys.readouterr().err
    assert "kept the head alone" in (run.folder / "report.html").read_text()
    assert equal(weights(run.folder), weights(backbone))
    assert run.split == "cross-validation"
    assert card.calibration["kind"] == "cross-fitted"
    assert [row.epoch for row in run.epochs] == [0, 1]
    assert not equal(weights(run.folder / "last.safetensors"), weights(backbone))


@pytest.mark.slow
def test_parts_that_do_not_learn_stay_as_they_are(colours, backbone, tmp_path):
    recipe = Recipe(epochs=2, batch=8, lr=0.05, unfreeze=0.3, average=0.0, precision="fp32")
    run = train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=recipe, transfer=WEAK)
    before, after = weights(backbone), weights(run.folder / "last.safetensors")
    still = {name.partition(".")[0] for name in after if torch.equal(after[name], before[name])}
    moved = {name.partition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert "stem" in still or any(name.startswith("Conv2d_1") for name in still)
    assert moved
    assert not any(name.startswith("Conv2d_1") for name in moved)
    running = [name for name in after if "running_" in name and name.partition(".")[0] not in moved]
    assert running
    assert all(torch.equal(after[name], before[name]) for name in running)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_end(gained, colours, backbone, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stopped_after(7, patched)
        with pytest.raises(InterruptedRun, match="--resume"):
            train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=LEARNS, transfer=WEAK)
    assert equal(weights(tmp_path / "r"), weights(backbone)), "until it is better, the head alone is there"
    run = train(resume=tmp_path / "r")
    assert run.metrics == gained.metrics
    for name in ("model.safetensors", "last.safetensors"):
        assert equal(
            inceptory.load(tmp_path / "r" / name).state_dict(), inceptory.load(gained.folder / name).state_dict()
        )


@pytest.mark.slow
def test_a_signal_while_it_is_measured_loses_nothing(gained, colours, backbone, tmp_path, monkeypatch):
    from inceptory.learn.transfer import finetune

    def stopped(*_):
        raise InterruptedRun("stopped (go on)")

    with monkeypatch.context() as patched:
        patched.setattr(finetune, "_measured", stopped)
        with pytest.raises(InterruptedRun):
            train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=LEARNS, transfer=WEAK)
    assert train(resume=tmp_path / "r").metrics == gained.metrics


@pytest.mark.slow
def test_the_head_is_kept_where_the_classes_are_the_same(gained, colours, tmp_path):
    run = train(str(colours), backbone=gained.folder, out=tmp_path / "r", transfer=Transfer(keep_head=True))
    mine, theirs = inceptory.load(run.folder).state_dict(), inceptory.load(gained.folder).state_dict()
    assert all(torch.allclose(mine[name], theirs[name]) for name in theirs)
    assert read_card(run.folder / "model.safetensors").calibration["n"] > 0
    page = (run.folder / "report.html").read_text()
    assert "kept its last layer" in page
    assert "which chose nothing" in page


@pytest.mark.slow
def test_a_kept_head_answers_in_the_order_of_the_data(gained, tmp_path):
    chance, names = np.random.default_rng(0), ("red", "green", "blue")
    labels = np.array([name for name in names for _ in range(10)])
    pictures = np.array(
        [np.clip(np.array(COLOURS[name]) + chance.integers(-20, 20, (32, 32, 3)), 0, 255) for name in labels]
    )
    renamed = gained.folder.parent / "renamed"
    shutil.copytree(gained.folder, renamed)
    net, card = inceptory.load(renamed), read_card(renamed / "model.safetensors")
    # The same network under other names of its classes: their order in the data is another one.
    order = {"blue": "c", "green": "a", "red": "b"}
    inceptory.save(net, renamed / "model.safetensors", replace(card, labels=tuple(order[name] for name in card.labels)))
    data = (pictures.astype(np.uint8), np.array([order[name] for name in labels]))
    run = train(data, backbone=renamed, out=tmp_path / "r", transfer=Transfer(keep_head=True))
    assert run.metrics.top1 > 0.9
    assert read_card(run.folder / "model.safetensors").labels == ("a", "b", "c")


@pytest.mark.slow
def test_a_head_of_other_classes_is_not_kept(colours, backbone, tmp_path):
    with pytest.raises(ConfigError, match=r"--keep-head: .* has other classes than .*does not name its own"):
        train(str(colours), backbone=backbone, out=tmp_path / "r", transfer=Transfer(keep_head=True))
    assert not (tmp_path / "r").exists()


def test_the_tutorials_recipe_starts_from_a_fresh_head(colours, backbone, tmp_path):
    line = ["train", str(colours), "--from", str(backbone), "--recipe", "tutorial-finetune", "--epochs", "1"]
    assert main([*line, "--out", str(tmp_path / "r")]) == 0
    card = read_card(tmp_path / "r" / "model.safetensors")
    assert card.recipe["from"] == str(backbone)
    assert (card.recipe["schedule"], card.recipe["nesterov"], card.recipe["batch"]) == ("inverse", True, 16)
    assert "fine_tuning" not in card.recipe
    page = (tmp_path / "r" / "report.html").read_text()
    assert f"trained further, from the weights of {backbone} and a new last layer" in page
    assert card.preprocess == read_card(backbone).preprocess
    command = json.loads((tmp_path / "r" / "run.json").read_text())["command"]
    assert "--finetune --fresh-head --recipe tutorial-finetune --epochs 1" in command


@pytest.mark.slow
def test_the_tutorials_plain_layer_is_hardly_held_small(colours, backbone, tmp_path):
    run = train(str(colours), backbone=backbone, out=tmp_path / "r", recipe="tutorial-bottleneck")
    assert read_card(run.folder / "model.safetensors").recipe["strength"] == 1e-6


def test_time_bounds_the_features_too(colours, backbone, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    line = ["train", str(colours), "--from", str(backbone), "--time", "0.001s", "--out", str(tmp_path / "r")]
    assert main(line) == 75
    assert "--time 0.001s is over while features were computed" in capsys.readouterr().err


@pytest.mark.slow
def test_rates_are_tried_on_the_network_with_its_head(colours, backbone, tmp_path):
    line = ["train", str(colours), "--from", str(backbone), "--out", str(tmp_path / "r"), "--find-lr"]
    assert main(line) == 78, "a head alone has no rate"
    assert main([*line, "--finetune", "--batch", "8", "--strength", "1e6"]) == 0
    assert (tmp_path / "r" / "find-lr.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--keep-head", "--strength", "1"], "--keep-head, --strength"),
        (["--keep-head", "--fresh-head", "--finetune"], "--keep-head, --fresh-head"),
        (["--fresh-head"], "--fresh-head: nothing would be learnt"),
        (["--fresh-head", "--finetune", "--views", "2"], "--fresh-head, --views"),
        (["--finetune", "--statistics", "cifar10"], "--statistics"),
        (["--finetune", "--recipe", "tutorial-bottleneck"], "tutorial-bottleneck, --finetune"),
    ],
)
def test_flags_in_conflict_are_78(words, told, colours, backbone, tmp_path, capsys):
    assert main(["train", str(colours), "--from", str(backbone), "--out", str(tmp_path / "r"), *words]) == 78
    assert told in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_recipes_have_the_names_of_what_they_start_from():
    assert decided(None, Options(), None) == decided("finetune", Options(), None)
    with pytest.raises(UsageError, match="for fresh weights"):
        decided("paper", Options(), None)
    with pytest.raises(UsageError, match="give one by --from"):
        decided("finetune", Options(), "xception")
    with pytest.raises(UsageError, match="no such recipe"):
        decided("slow", Options(), None)


def test_a_resumed_run_has_what_it_began_with(gained, backbone):
    with pytest.raises(ConfigError, match="views"):
        train(resume=gained.folder, transfer=Transfer(finetune=True, strength=1e6, views=2))
    with pytest.raises(ConfigError, match="backbone"):
        train(resume=gained.folder, backbone=gained.folder)
    assert train(resume=gained.folder, backbone=backbone, transfer=WEAK).metrics == gained.metrics


def test_chance_is_called_a_gain_as_seldom_as_asked():
    """Two networks of the same quality, whose answers differ on a fifth of the pictures: 2.5 % at most one way."""
    chance = np.random.default_rng(0)
    for n in (20, 100, 1000):
        real = 0
        for _ in range(2000):
            before = chance.random(n) < 0.8
            flips = chance.random(n) < 0.2
            after = np.where(flips, chance.random(n) < 0.8, before)
            real += Gain.of(before, after).is_real
        assert real / 2000 < 0.034, n


def test_a_true_gain_is_seen_and_told():
    before, after = np.arange(400) % 10 < 8, np.arange(400) % 10 < 9
    gain = Gain.of(before, after)
    assert gain.is_real
    assert str(gain).startswith("fine-tuning gained 10.0 ± 3.")
    assert "80.0 to 90.0 % of 400 validation pictures" in str(gain)
    assert "lost 10.0" in str(Gain.of(after, before))
    assert "may be chance: kept the head alone" in str(Gain.of(before[:10], after[:10]))


@pytest.mark.slow
def test_several_labels_a_picture_and_grey_ones_are_trained_further_too(backbone, tmp_path):
    """Each channel bright or not is a label of its own; grey pictures become colour as everywhere."""
    chance = np.random.default_rng(0)
    shows = chance.integers(0, 2, (90, 3)).astype(np.uint8)
    pictures = 150 * shows[:, None, None, :] + chance.integers(0, 100, (90, 32, 32, 3))
    recipe = replace(LEARNS, freeze_norms=True, lr=0.05, epochs=25)
    run = train((pictures.astype(np.uint8), shows), backbone=backbone, out=tmp_path / "r", recipe=recipe, transfer=WEAK)
    verdict = read_card(run.folder / "model.safetensors").recipe["fine_tuning"]
    assert verdict["kept"]
    assert run.metrics.exact == verdict["after"] > 0.35  # one of eight is right by chance
    levels = np.arange(60) % 2
    grey = (120 * levels[:, None, None] + chance.integers(0, 100, (60, 32, 32))).astype(np.uint8)
    run = train((grey, levels), backbone=backbone, out=tmp_path / "g", recipe=recipe, transfer=WEAK)
    assert run.metrics.top1 > 0.8
