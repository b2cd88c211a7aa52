"""Where in a picture its labels come from, and which branches they rest on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inceptory
from inceptory.cli import main
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import Device
from inceptory.engines.explain.attribution import attribute, grad_cam
from inceptory.engines.explain.branches import joint_of
from inceptory.engines.torch import TorchEngine
from inceptory.errors import ConfigError, DataError, MissingError, UnknownName, UsageError
from inceptory.weights.card import Card

GREY = Preprocess(size=32, mean=(0.5,), std=(0.5,), order="L")


def engine(name: str = "cifar_inception_v2", *, image: int = 32, multi_label: bool = False, **options) -> TorchEngine:
    """A tiny network with fresh weights that let a signal through, and whose logits are no rounding."""
    torch.manual_seed(0)
    net = inceptory.create(name, **{"classes": 5, "width": 0.25, "image": image, **options}).eval()
    for part in net.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
        if isinstance(part, torch.nn.Linear) and part.bias is not None:
            torch.nn.init.normal_(part.weight, std=0.5)
            torch.nn.init.normal_(part.bias, std=0.5)
    preprocess = Preprocess(size=image, mean=(0.5,) * 3, std=(0.5,) * 3)
    return TorchEngine(net, preprocess, Device("cpu"), multi_label)


def pixels(image: int = 32, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, image, image), dtype=np.uint8)


# The arithmetic

LAST = [
    ("cifar_inception_v2", {}),
    ("cifar_inception_v1", {}),
    ("googlenet", {"image": 64}),
    ("inception_v3", {"image": 80}),
    ("cifar_inception_v2", {"se": True}),
]


@pytest.mark.parametrize(("name", "options"), LAST, ids=lambda value: value if isinstance(value, str) else "")
def test_branches_of_the_last_module_and_the_bias_add_up_to_the_logit(name, options):
    given = engine(name, **options)
    stage, parts = given.net.stage_names[-1], joint_of(given.net.plan)
    assert parts.stage == stage
    found = attribute(given, pixels(options.get("image", 32)), stage, parts, 5)
    rest = found.logits - found.contributions.sum(2) - found.bias
    largest = np.abs(found.contributions).max(axis=(0, 1))
    assert np.abs(rest).max() < min(1e-4, 0.01 * largest.min()), "every branch says more than what is left"


@pytest.mark.parametrize("scale", [None, 1])
def test_shortcut_and_branches_of_a_last_residual_stage_add_up_to_the_logit(scale):
    given = engine("inception_resnet_v1", image=80, scale=scale)
    parts = joint_of(given.net.plan, given.net.stage_names[-1])
    assert parts.names == ("shortcut", "branch0", "branch1")
    found = attribute(given, pixels(80), "Mixed_6a", parts, 2)
    # Only the bias of the convolution behind the branches belongs to none of them; it starts at zero.
    np.testing.assert_allclose(found.contributions.sum(2) + found.bias, found.logits, atol=1e-4, rtol=1e-4)
    assert np.abs(found.contributions).min() > 0


def test_a_rectified_sum_lets_nothing_through_where_it_is_shut():
    given = engine("inception_resnet_v1", image=80)
    last = given.net.stage_names[-1]
    stage = given.net.get_submodule(last)
    stage.shortcut = torch.nn.Identity()
    stage.shortcut.forward = lambda x: x - 100
    found = attribute(given, pixels(80), last, joint_of(given.net.plan, last), 2)
    assert (found.contributions == 0).all()
    assert (found.heat == 0).all()


def test_a_residual_stage_without_branches_is_its_shortcut_and_its_body():
    given = engine("xception", image=96)
    parts = joint_of(given.net.plan)
    assert (parts.stage, parts.names) == ("block13", ("shortcut", "body"))
    found = attribute(given, pixels(96, 1), "block13", parts, 1)
    assert found.contributions.shape == (1, 1, 2)
    assert np.isfinite(found.contributions).all()
    assert (found.contributions != 0).all()


def test_a_heat_map_is_what_its_definition_says():
    given = engine()
    values = torch.from_numpy(given.preprocess.values(pixels().transpose(0, 2, 3, 1)))
    stages = given.net.stage_names
    for stage in (stages[0], "Mixed_4c", stages[-1]):
        found = attribute(given, pixels(), stage, joint_of(given.net.plan), 2)
        maps = given.net.features(values, stage)[stage].detach().requires_grad_()
        x = maps
        for later in stages[stages.index(stage) + 1 :]:
            x = given.net.get_submodule(later)(x)
        logits = given.net.head(x)
        for row in range(2):
            for rank in range(2):
                label = logits[row].argsort(descending=True)[rank]
                assert found.best[row, rank] == label
                (gradient,) = torch.autograd.grad(logits[row, label], maps, retain_graph=True)
                weights = gradient[row].mean((1, 2))
                heat = (weights[:, None, None] * maps.detach()[row]).sum(0).clamp_min(0)
                large = torch.nn.functional.interpolate(heat[None, None], (32, 32), mode="bilinear")[0, 0]
                np.testing.assert_allclose(found.heat[row, rank], large.numpy(), atol=1e-5, rtol=1e-4)


def test_what_speaks_against_a_label_is_no_heat():
    activations = torch.ones(1, 2, 2, 2)
    gradients = torch.tensor([-1.0, 0.5]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    assert (grad_cam(activations, gradients, torch.Size((4, 4))) == 0).all()
    assert (grad_cam(activations, -gradients, torch.Size((4, 4))) == 0.5).all()


def test_no_gradient_is_computed_below_the_stages_and_no_hook_stays():
    given = engine()
    reached = []
    first = given.net.get_submodule(given.net.stage_names[0])
    first.register_full_backward_hook(lambda *_: reached.append(1))
    before = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in given.net.modules())
    attribute(given, pixels(), "Mixed_4c", joint_of(given.net.plan), 1)
    assert reached == []
    assert sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in given.net.modules()) == before
    attribute(given, pixels(), given.net.stage_names[1], joint_of(given.net.plan), 1)
    assert reached == []


def test_answers_are_those_of_predict_and_of_each_class_by_itself_where_several_are_shown():
    for multi_label in (False, True):
        given = engine(multi_label=multi_label)
        found = attribute(given, pixels(), given.net.stage_names[-1], joint_of(given.net.plan), 3)
        scores = given.answers(pixels()).probabilities
        np.testing.assert_array_equal(found.best, scores.argsort(1, kind="stable")[:, ::-1][:, :3])
        np.testing.assert_allclose(found.probabilities, np.take_along_axis(scores, found.best, 1), rtol=1e-5)
    assert found.probabilities.sum() != pytest.approx(2)


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny network with fresh weights that names its classes."""
    given = engine(classes=3)
    card = Card.of(given.net.plan, labels=("blue", "grün", "$red"), preprocess=given.preprocess)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    inceptory.save(given.net, path, card)
    return path


def test_a_picture_gets_its_png_and_its_entry(model, colours, tmp_path, capsys):
    picture = colours / "red" / "0.png"
    found = inceptory.explain(model, picture, out=tmp_path / "why", top=2)
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == ["0.png", "explain.json"]
    with Image.open(tmp_path / "why" / "0.png") as drawing:
        assert drawing.width > drawing.height > 300
        assert np.asarray(drawing.convert("RGB")).std() > 10
    (one,), (answer,) = found, inceptory.predict(model, picture, top=2)
    assert (one.labels, one.picture) == (answer.labels, str(picture))
    assert one.probabilities == pytest.approx(answer.probabilities, rel=1e-5)
    record = json.loads((tmp_path / "why" / "explain.json").read_text(encoding="utf-8"))
    # Of 32 pixels the last map has one place only.
    assert (record["stage"], record["module"]) == ("Mixed_3c", "Mixed_5c")
    assert list(record["parts"]) == ["branch0", "branch1", "branch2", "branch3"]
    (entry,) = record["pictures"]
    assert (entry["picture"], entry["drawing"], tuple(entry["labels"])) == (str(picture), "0.png", one.labels)
    for logit, parts in zip(entry["logits"], entry["contributions"], strict=True):
        assert sum(parts.values()) == pytest.approx(logit, abs=1e-5)
        assert abs(parts["rest"]) < 1e-4
    assert f"{one.labels[0]} {100 * one.probabilities[0]:.1f} %" in str(found)


def test_stage_module_and_number_of_labels_can_be_chosen(model, colours, tmp_path):
    found = inceptory.explain(
        model, colours / "red" / "0.png", out=tmp_path / "why", layer="Conv2d_1a_7x7", module="Mixed_3b", top=9
    )
    assert (found.stage, found.module) == ("Conv2d_1a_7x7", "Mixed_3b")
    assert len(next(iter(found)).labels) == 3


def test_grey_pictures_are_drawn(tmp_path, colours):
    net = inceptory.create("cifar_inception_v2", classes=2, width=0.25, in_channels=1)
    inceptory.save(net, tmp_path / "m.safetensors", Card.of(net.plan, labels=("a", "b"), preprocess=GREY))
    inceptory.explain(tmp_path / "m.safetensors", colours / "red" / "0.png", out=tmp_path / "why")
    assert (tmp_path / "why" / "0.png").stat().st_size > 10_000


def test_pictures_of_one_name_get_numbers(model, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.report.explained.explained", lambda *_: b"a picture")
    for folder, name in (("a", "0.png"), ("b", "0.jpg"), ("b", "0-2.png"), ("c", "0.PNG")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(colours / "red" / "0.png", tmp_path / folder / name)
    found = inceptory.explain(model, tmp_path / "a", tmp_path / "b", tmp_path / "c", out=tmp_path / "why", top=1)
    names = {Path(one.picture).relative_to(tmp_path).as_posix(): one.drawing for one in found}
    assert names == {"a/0.png": "0.png", "b/0-2.png": "0-2.png", "b/0.jpg": "0-3.png", "c/0.PNG": "0-4.png"}


def test_unreadable_pictures_are_named_counted_and_skipped(model, colours, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    shutil.copy(colours / "red" / "1.png", tmp_path / "in" / "good.png")
    found = inceptory.explain(model, tmp_path / "in", out=tmp_path / "why", top=1)
    assert [one.drawing for one in found] == ["good.png"]
    assert len(found.skipped) == 1
    told = capsys.readouterr().err
    assert "broken.jpg" in told
    assert "skipped 1 unreadable" in told
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == ["explain.json", "good.png"]


def test_when_no_picture_can_be_read_nothing_is_left(model, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"1 of 1 pictures"):
        inceptory.explain(model, tmp_path / "broken.jpg", out=tmp_path / "why")
    assert not (tmp_path / "why").exists()


def test_misuse_names_the_input_and_the_remedy_and_loads_no_network(model, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.engines.torch.torch_engine", lambda *_: pytest.fail("the work must not begin"))
    picture, why = colours / "red" / "0.png", tmp_path / "why"
    with pytest.raises(UnknownName, match=r"'Mixed_5x': no such stage of cifar_inception_v2 .*known: .*Mixed_5b"):
        inceptory.explain(model, picture, out=why, layer="Mixed_5x")
    with pytest.raises(UnknownName, match="no such stage"):
        inceptory.explain(model, picture, out=why, module="Mixed_9")
    with pytest.raises(UsageError, match=r"--module MaxPool_3a_3x3: .*\(stages with branches: Mixed_3b, "):
        inceptory.explain(model, picture, out=why, module="MaxPool_3a_3x3")
    for top in (0, 11):
        with pytest.raises(UsageError, match=rf"--top {top}: out of range \(1 to 10\)"):
            inceptory.explain(model, picture, out=why, top=top)
    with pytest.raises(UsageError, match="explain needs pictures"):
        inceptory.explain(model, out=why)
    with pytest.raises(MissingError, match="no such picture"):
        inceptory.explain(model, tmp_path / "nothing.png", out=why)
    for inside in (colours, colours / "red", colours / "new" / "folder"):
        with pytest.raises(UsageError, match="which is searched for pictures"):
            inceptory.explain(model, colours, out=inside)
    assert not why.exists()
    assert not (colours / "new").exists()


def test_a_network_without_labels_is_refused(tmp_path, colours):
    inceptory.save(inceptory.create("cifar_inception_v3", width=0.25), tmp_path / "fresh.safetensors")
    with pytest.raises(ConfigError, match="train it first"):
        inceptory.explain(tmp_path / "fresh.safetensors", colours / "red" / "0.png", out=tmp_path / "why")


def test_answers_that_are_no_numbers_are_one_line(tmp_path, colours, capsys):
    given = engine(classes=2)
    torch.nn.init.constant_(given.net.head.classifier.weight, 3e38)
    card = Card.of(given.net.plan, labels=("a", "b"), preprocess=given.preprocess)
    inceptory.save(given.net, tmp_path / "m.safetensors", card)
    words = ["explain", str(tmp_path / "m.safetensors"), str(colours / "red"), "--out", str(tmp_path / "why")]
    assert main(words) == 65
    assert "its answer is not a finite number" in capsys.readouterr().err.splitlines()[-1]


def test_own_files_are_replaced_and_no_others(model, colours, tmp_path, capsys):
    picture = Path(shutil.copy(colours / "red" / "0.png", tmp_path / "cat.png"))
    words = ["explain", str(model), str(picture), "--out", str(tmp_path / "why"), "--top", "1"]
    assert main(words) == 0
    assert main(words) == 0
    for name in ("cat.png", "explain.json"):
        kept = (tmp_path / "why" / name).read_bytes()
        # A picture of another command of ours is another's, too.
        (tmp_path / "why" / name).write_bytes(b"made by inceptory")
        assert main(words) == 78
        assert "--force to replace it" in capsys.readouterr().err
        assert main([*words, "--force"]) == 0
        assert (tmp_path / "why" / name).read_bytes() == kept
    before = picture.read_bytes()
    assert main([*words[:4], str(tmp_path), "--force"]) == 64
    assert "is read by this command" in capsys.readouterr().err
    assert picture.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="names that are not UTF-8 are of POSIX")
def test_a_name_that_is_not_utf8_is_kept(model, colours, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    shutil.copy(colours / "red" / "0.png", path)
    (one,) = inceptory.explain(model, path, out=tmp_path / "why", top=1)
    assert (tmp_path / "why" / os.fsdecode(b"caf\xe9.png")).is_file()
    assert json.loads((tmp_path / "why" / "explain.json").read_text())["pictures"][0]["drawing"] == one.drawing
