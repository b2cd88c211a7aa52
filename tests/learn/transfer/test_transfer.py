"""`train --from` as a run: what it leaves, what it answers, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import inceptory
from inceptory import Recipe, Transfer, Variant, train
from inceptory.cli import main
from inceptory.errors import ConfigError, DataError, InterruptedRun, UsageError
from inceptory.weights.card import read_card
from tests.conftest import COLOURS, paint
from tests.imports import loaded_by

FP32 = Recipe(precision="fp32")


@pytest.fixture(scope="module")
def transferred(colours, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "head"
    return train(str(colours), backbone=backbone, out=folder, recipe=FP32)


@pytest.mark.slow
def test_nothing_is_loaded_that_a_head_does_not_need(colours, backbone, tmp_path):
    code = "from inceptory.cli import main; assert main(['train', *sys.argv[1:], '--no-tensorboard']) == 0"
    loaded = loaded_by(code, str(colours), "--from", str(backbone), "--out", str(tmp_path / "run"))
    assert "torch" in loaded
    assert not {"torchvision", "torch._dynamo", "pandas"} & loaded


def test_no_curves_are_drawn_over_epochs_that_were_not(transferred):
    assert {path.name for path in transferred.folder.glob("*.png")} == {
        "confusion.png",
        "calibration.png",
        "features.png",
    }


def test_the_head_tells_the_colours_apart(transferred, colours):
    assert transferred.metrics.n == 72
    assert transferred.split == "cross-validation"
    assert transferred.metrics.top1 > 0.95
    answers = inceptory.predict(transferred.folder, *sorted((colours / "red").iterdir()))
    assert sum(answer.labels[0] == "red" for answer in answers) >= 23


def test_it_is_an_ordinary_checkpoint(transferred, backbone, tmp_path):
    card = read_card(transferred.folder / "model.safetensors")
    assert card.labels == tuple(sorted(COLOURS))
    assert card.recipe["from"] == str(backbone)
    assert card.recipe["folds"] == 5
    assert not card.options["aux"]
    assert min(card.recipe["log_loss_by_strength"].values()) == pytest.approx(
        card.recipe["log_loss_by_strength"][f"{card.recipe['strength']:g}"]
    )
    assert len(card.recipe["right_by_fold"]) == 5
    converted = tmp_path / "other.safetensors"
    shutil.copy(transferred.folder / "model.safetensors", converted)
    assert str(inceptory.verify(converted))
    old, new = inceptory.load(backbone), inceptory.load(transferred.folder)
    for name, tensor in new.state_dict().items():
        if not name.startswith("head.classifier"):
            assert torch.equal(tensor, old.state_dict()[name]), name


def test_predict_answers_what_scikit_learn_says_of_the_cached_features(transferred, colours, backbone):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features = inceptory.extract_features(backbone, str(colours), precision="fp32")
    assert features.computed == 0
    strength = read_card(transferred.folder / "model.safetensors").recipe["strength"]
    scaler = StandardScaler().fit(features.vectors.astype(float))
    peer = LogisticRegression(C=1 / (strength * len(features)), tol=1e-10, max_iter=10_000)
    peer.fit(scaler.transform(features.vectors.astype(float)), features.labels)
    theirs = peer.predict_proba(scaler.transform(features.vectors.astype(float)))
    answers = inceptory.predict(transferred.folder, *features.names, top=3)
    mine = [[answer.probabilities[answer.labels.index(name)] for name in features.classes] for answer in answers]
    assert np.abs(np.asarray(mine) - theirs).max() < 1e-5


def test_evaluate_says_that_the_head_was_fitted_on_all_of_these_pictures(transferred, colours, capsys):
    metrics = inceptory.evaluate(transferred.folder, str(colours))
    assert metrics.n == 72
    said = capsys.readouterr().err
    assert "fitted on all of them" in said
    assert "held out" not in said


def test_the_page_speaks_of_a_head_and_not_of_epochs(transferred, backbone):
    page = (transferred.folder / "report.html").read_text()
    assert "logistic regression of strength" in page
    assert backbone.name in page
    assert "took turns in 5 parts" in page
    assert "part by part" in page
    assert "epoch" not in page.partition("<h2>Reproduce")[0]


def test_the_folder_is_a_run(transferred, capsys):
    names = {path.name for path in transferred.folder.iterdir()}
    assert list((transferred.folder / "events").glob("events.out.tfevents.*"))
    assert {"model.safetensors", "last.safetensors", "metrics.json", "report.html", "history.csv", "run.json"} <= names
    assert main(["train", "--resume", str(transferred.folder)]) == 0
    assert "finished" in capsys.readouterr().err
    metrics = json.loads((transferred.folder / "metrics.json").read_text())
    assert metrics["top1"] == transferred.metrics.top1
    assert str(inceptory.compare(transferred.folder, transferred.folder)).count("\n") >= 2


@pytest.mark.slow
def test_many_pictures_are_held_out_once(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.learn.transfer.parts.FEW", 50)
    chance = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pictures = (chance.integers(0, 60, (120, 32, 32, 3)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    run = train((pictures, labels), backbone=backbone, out=tmp_path / "r", recipe=FP32)
    assert run.split == "validation"
    assert run.metrics.n == 12
    assert run.metrics.top1 > 0.9


@pytest.mark.slow
def test_a_test_split_is_what_is_measured(backbone, tmp_path):
    chance = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pictures = (chance.integers(0, 90, (60, 32, 32, 3)) + 90 * labels[:, None, None, None]).astype(np.uint8)
    data = {"train": (pictures[:40], labels[:40]), "test": (pictures[40:], labels[40:])}
    run = train(data, backbone=backbone, out=tmp_path / "r", recipe=FP32)
    assert (run.split, run.metrics.n) == ("test", 20)


@pytest.mark.slow
def test_the_strength_that_is_asked_for_is_taken(colours, backbone, tmp_path):
    strong = train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=FP32, transfer=Transfer(strength=100.0))
    weights = inceptory.load(strong.folder).head.classifier.weight
    weak = train(str(colours), backbone=backbone, out=tmp_path / "w", recipe=FP32, transfer=Transfer(strength=1e-4))
    assert weights.norm() < inceptory.load(weak.folder).head.classifier.weight.norm() / 10


@pytest.mark.slow
def test_views_of_training_pictures_count(colours, backbone, tmp_path):
    run = train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=FP32, transfer=Transfer(views=3))
    assert run.metrics.n == 72
    plain = train(str(colours), backbone=backbone, out=tmp_path / "p", recipe=FP32)
    mine, theirs = (inceptory.load(each.folder).head.classifier.weight for each in (run, plain))
    assert not torch.equal(mine, theirs)


@pytest.mark.slow
def test_several_labels_a_picture(backbone, tmp_path):
    chance = np.random.default_rng(0)
    shows = chance.integers(0, 2, (80, 2)).astype(np.uint8)
    pictures = chance.integers(0, 60, (80, 32, 32, 3))
    pictures[..., 0] += 150 * shows[:, 0, None, None]
    pictures[..., 2] += 150 * shows[:, 1, None, None]
    run = train((pictures.astype(np.uint8), shows), backbone=backbone, out=tmp_path / "r", recipe=FP32)
    assert run.metrics.exact > 0.9
    assert read_card(run.folder / "model.safetensors").multi_label


@pytest.mark.slow
def test_grey_pictures_with_alpha_and_another_size(backbone, tmp_path):
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(6):
            grey = np.random.default_rng(i).integers(-20, 20, (40, 44)) + level
            picture = Image.fromarray(grey.astype(np.uint8))
            (picture if i % 2 else picture.convert("RGBA")).save(tmp_path / "data" / label / f"{i}.png")
    run = train(str(tmp_path / "data"), backbone=backbone, out=tmp_path / "r", recipe=FP32, variant=Variant(image=48))
    card = read_card(run.folder / "model.safetensors")
    assert (card.preprocess.size, card.preprocess.resize, card.options["image"]) == (48, 48, 48)
    assert run.metrics.top1 == 1.0


@pytest.mark.slow
def test_one_picture_of_a_class_is_said_and_never_held_back(colours, backbone, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(colours, data)
    (data / "black").mkdir()
    paint(data / "black" / "1.png", (5, 5, 5), 0)
    run = train(str(data), backbone=backbone, out=tmp_path / "r", recipe=FP32)
    assert run.metrics.n == 72
    assert "'black'" in capsys.readouterr().err


@pytest.mark.slow
def test_it_goes_on_after_an_interrupt(colours, backbone, tmp_path, monkeypatch):
    """What was computed by then is kept, and the end is the same bits."""
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    whole = train(str(colours), backbone=backbone, out=tmp_path / "whole", recipe=FP32)
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache2"))
    from inceptory.learn.transfer import fit

    calls, real = [], fit._stopping

    def stopping(stop, *rest):
        look = real(stop, *rest)

        def counted():
            calls.append(1)
            stop.asked = len(calls) == 2
            look()

        return counted

    monkeypatch.setattr(fit, "_stopping", stopping)
    with pytest.raises(InterruptedRun, match="--resume"):
        train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=FP32)
    resumed = train(resume=tmp_path / "r")
    one, other = (inceptory.load(each.folder).state_dict() for each in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "xception"], "--model"),
        pytest.param(["--dialect", "keras"], "--dialect", marks=pytest.mark.slow),
        pytest.param(["--width", "0.5"], "--width", marks=pytest.mark.slow),
        (["--se"], "--se"),
        (["--epochs", "3"], "--epochs"),
        (["--find-lr"], "--find-lr"),
        (["--recipe", "paper"], "--recipe"),
    ],
)
def test_flags_that_a_backbone_decides_are_78(words, told, colours, backbone, tmp_path, capsys):
    line = ["train", str(colours), "--from", str(backbone), "--out", str(tmp_path / "r"), *words]
    assert main(line) == 78
    assert told in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("words", [["--strength", "0"], ["--views", "0"], ["--image", "0"]])
def test_values_out_of_range_are_64(words, colours, backbone, tmp_path, capsys):
    assert main(["train", str(colours), "--from", str(backbone), "--out", str(tmp_path / "r"), *words]) == 64
    assert not (tmp_path / "r").exists()


def test_a_recipe_of_python_says_only_what_a_head_has(colours, backbone, tmp_path):
    with pytest.raises(ConfigError, match="--epochs"):
        train(str(colours), backbone=backbone, out=tmp_path / "r", recipe=Recipe(epochs=3))


def test_several_processes_are_refused(colours, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        train(str(colours), backbone=backbone, out=tmp_path / "r")


def test_a_class_without_a_training_picture_is_refused(backbone, tmp_path, monkeypatch):
    """Where one part is held out; it would have no logit, and all after it would answer for another class."""
    monkeypatch.setattr("inceptory.learn.transfer.parts.FEW", 5)
    pictures, labels = np.zeros((20, 32, 32, 3), np.uint8), np.array(["a", "c"] * 10)
    pictures[::2] = 200
    data = {"train": (pictures, labels), "validation": (pictures[:3], np.array(["a", "b", "c"]))}
    with pytest.raises(DataError, match="class 'b' has no training picture"):
        train(data, backbone=backbone, out=tmp_path / "r", recipe=FP32)
    assert not (tmp_path / "r").exists()


def test_transfer_without_a_backbone_is_78(colours, tmp_path, capsys):
    line = ["train", str(colours), "--model", "xception", "--out", str(tmp_path / "r"), "--strength", "1"]
    assert main(line) == 78
    assert "--from" in capsys.readouterr().err


def test_a_backbone_that_is_no_model_is_one_line(colours, tmp_path, capsys):
    (tmp_path / "no.pth").write_bytes(b"nothing")
    assert main(["train", str(colours), "--from", str(tmp_path / "no.pth"), "--out", str(tmp_path / "r")]) == 65
    assert main(["train", str(colours), "--from", str(tmp_path / "gone.pth"), "--out", str(tmp_path / "r")]) == 66
    assert capsys.readouterr().err.count("error: ") == 2
    assert not (tmp_path / "r").exists()


def test_a_backbone_that_sees_nothing_is_refused(colours, tmp_path):
    net = inceptory.create("cifar_inception_v3", classes=0, width=0.25).eval()
    from inceptory.data.picture.preprocess import Preprocess

    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    card = inceptory.Card.of(net.plan, preprocess=Preprocess(size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3))
    inceptory.save(net, tmp_path / "dead.safetensors", card)
    with pytest.raises(DataError, match="same vector"):
        train(str(colours), backbone=tmp_path / "dead.safetensors", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_too_few_classes_or_pictures_are_refused(backbone, tmp_path):
    for folder, count in (("one/a", 4), ("few/a", 1), ("few/b", 1)):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(count):
            paint(tmp_path / folder / f"{i}.png", (9, 9, 9), i)
    for name in ("one", "few"):
        with pytest.raises((ConfigError, DataError, UsageError)):
            train(str(tmp_path / name), backbone=backbone, out=tmp_path / "r")
        assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_another_backbone_under_the_same_path_is_not_gone_on_with(colours, backbone, tmp_path, monkeypatch):
    path = tmp_path / "b.safetensors"
    shutil.copy(backbone, path)
    from inceptory.learn.transfer import fit

    with monkeypatch.context() as patched:
        patched.setattr(fit, "fit_head", lambda *_: (_ for _ in ()).throw(InterruptedRun("stop (go on)")))
        with pytest.raises(InterruptedRun):
            train(str(colours), backbone=path, out=tmp_path / "r", recipe=FP32)
    net = inceptory.load(path)
    with torch.no_grad():
        net.head.classifier.bias.add_(1)
    inceptory.save(net, path)
    with pytest.raises(ConfigError, match="no longer the file"):
        train(resume=tmp_path / "r")


def test_the_card_holds_a_calibration_of_pictures_that_chose_nothing(transferred, backbone, tmp_path, monkeypatch):
    from inceptory.measure.calibration import Calibration

    found = Calibration.from_json(read_card(transferred.folder / "model.safetensors").calibration)
    assert (found.kind, found.n) == ("cross-fitted", 72)
    monkeypatch.setattr("inceptory.learn.transfer.parts.FEW", 50)
    chance = np.random.default_rng(0)
    labels = np.arange(200) % 2
    pictures = (chance.integers(0, 90, (200, 32, 32, 3)) + 90 * labels[:, None, None, None]).astype(np.uint8)
    run = train((pictures, labels), backbone=backbone, out=tmp_path / "r", recipe=FP32)
    found = Calibration.from_json(read_card(run.folder / "model.safetensors").calibration)
    assert (found.kind, found.n) == ("held-out", 18)


def test_the_checkpoint_marks_what_is_unlike_its_training_pictures(transferred, backbone, colours, tmp_path):
    from inceptory.measure.novelty import Novelty

    vectors = inceptory.extract_features(backbone, str(colours), precision="fp32").vectors
    found = Novelty.from_json(read_card(transferred.folder / "model.safetensors").novelty)
    assert found.n == 72
    assert np.abs(found.distances_of(vectors) - Novelty.of(vectors, vectors[:1]).distances_of(vectors)).max() < 1e-3
    noise, like = tmp_path / "noise.png", tmp_path / "like.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(noise)
    paint(like, COLOURS["red"], seed=1_000)
    assert [one.unlike for one in inceptory.predict(transferred.folder, noise, like)] == [True, False]


@pytest.mark.parametrize("name", inceptory.catalogue())
def test_any_network_takes_a_head_on_what_its_classifier_is_given(name):
    from inceptory.learn.transfer.fitted import headed, plan_with
    from inceptory.learn.transfer.head import Linear
    from inceptory.nets.network import Network
    from inceptory.weights.adopt import network_of

    torch.manual_seed(0)
    net: Network = inceptory.create(name, classes=4, width=0.25).eval()
    x = torch.rand(2, net.plan.in_channels, net.minimum + 16, net.minimum + 16)
    with torch.inference_mode():
        vectors = net.head.bottleneck(net.features(x, net.stage_names[-1])[net.stage_names[-1]]).numpy()
        head = Linear(np.random.default_rng(0).normal(size=(3, vectors.shape[1])), np.array([1.0, -2.0, 0.5]))
        plan, tensors = plan_with(net.plan, 3), {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        logits = network_of(plan, headed(plan, tensors, head))(x).numpy()
    scale = np.abs(head(vectors)).max()
    assert np.abs(logits - head(vectors)).max() < 1e-5 * max(scale, 1)
