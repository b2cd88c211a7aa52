"""A file against what it was meant as: a published name, a network, a number of classes."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

import inceptory
from inceptory.cli import main
from inceptory.errors import DataError, Doubt, UsageError
from inceptory.nets.network import create
from inceptory.weights import model as opening
from inceptory.weights.files.formats import open_weights
from inceptory.weights.published import resolve as resolving
from inceptory.weights.published.record import Declared
from inceptory.weights.published.records import record
from inceptory.weights.published.resolve import Resolved
from inceptory.weights.verify import inspect


def peer(name: str, classes: int, *, aux: bool = False) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return getattr(torchvision.models, name)(weights=None, init_weights=False, aux_logits=aux, num_classes=classes)


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes its GoogLeNet, with other values."""
    path = tmp_path_factory.mktemp("google") / "googlenet.pth"
    torch.save(peer("googlenet", 1000, aux=True).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as timm published TensorFlow's Inception v3 before its hub, with other values."""
    path = tmp_path_factory.mktemp("background") / "v3.pth"
    torch.save(peer("inception_v3", 1001).state_dict(), path)
    return path


def declare(monkeypatch: pytest.MonkeyPatch, digits: str, **changed: object) -> None:
    """Let the record of googlenet.tv_in1k have other digits, or other facts."""
    declared = Declared("sha256 prefix", digits)
    meant = replace(record("googlenet.tv_in1k"), **{"declared": declared, **changed})
    monkeypatch.setattr(resolving, "record", lambda name: meant)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


# The hash


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_file_given_for_a_published_name_has_its_hash(google, colours, command, capsys):
    words = [command, "googlenet.tv_in1k", str(colours), "--weights", str(google)]
    assert main(words) == 65
    told = line(capsys)
    assert "not googlenet.tv_in1k, its sha256 is" in told
    assert "and not 1378be20 (" in told


def test_a_copy_of_what_has_no_published_name_is_a_misuse(google, colours, capsys):
    assert main(["predict", str(google), str(colours), "--weights", str(google)]) == 64
    assert "is not a published name (give the file itself as the model)" in line(capsys)


def test_a_copy_that_is_not_there_is_missing(colours, tmp_path, capsys):
    assert main(["predict", "googlenet.torchvision", str(colours), "--weights", str(tmp_path / "no.pth")]) == 66
    assert "no such file" in line(capsys)


def test_predict_and_evaluate_say_that_the_weights_are_averaged_and_take_the_others_if_told(
    colours, google, tmp_path, capsys
):
    state = torch.load(google, weights_only=True)
    average = {name: tensor * 0 for name, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": average}, tmp_path / "w.pth")
    picture = str(colours / "red" / "0.png")
    told = {}
    for flag in ([], ["--raw"]):
        assert main(["predict", str(tmp_path / "w.pth"), picture, *flag]) == 0
        told[bool(flag)] = capsys.readouterr()
    assert "w.pth: averaged weights, from state_dict_ema (--raw takes the plain ones)" in told[False].err
    assert "plain weights, not their average" in told[True].err
    assert told[False].out != told[True].out


def test_a_file_with_that_hash_is_taken_and_prepared_as_published(google, colours, monkeypatch, capsys):
    declare(monkeypatch, sha256(google)[:8])
    picture = str(colours / "red" / "0.png")
    assert main(["predict", "googlenet.tv_in1k", picture, "--weights", str(google), "--top", "1"]) == 0
    by_name = capsys.readouterr().out
    assert main(["predict", str(google), picture, "--top", "1"]) == 0
    assert capsys.readouterr().out == by_name


def test_what_was_hashed_is_what_is_loaded_though_another_file_takes_its_name(google, tmp_path, monkeypatch):
    path, other = tmp_path / "google.pth", tmp_path / "other.pth"
    path.write_bytes(google.read_bytes())
    state = torch.load(google, weights_only=True)
    torch.save({name: tensor * 0 for name, tensor in state.items()}, other)
    declare(monkeypatch, sha256(path)[:8])
    check = opening._check_hash

    def swap(*arguments):
        check(*arguments)
        other.replace(path)

    monkeypatch.setattr(opening, "_check_hash", swap)
    net = inceptory.load(Resolved(path, resolving.record("googlenet.tv_in1k")))
    assert torch.equal(net.state_dict()["head.classifier.weight"], state["fc.weight"])
    assert not other.exists()


def test_a_file_that_is_written_to_between_hash_and_reading_is_refused(google, tmp_path, monkeypatch):
    path = tmp_path / "google.pth"
    path.write_bytes(google.read_bytes())
    declare(monkeypatch, sha256(path)[:8])
    check = opening._check_hash

    def overwrite(*arguments):
        check(*arguments)
        os.utime(path, (1, 1))

    monkeypatch.setattr(opening, "_check_hash", overwrite)
    with pytest.raises(DataError, match=r"was changed while it was read \(try again\)"):
        inceptory.load(Resolved(path, resolving.record("googlenet.tv_in1k")))


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_the_hash_is_that_of_the_whole_open_file(google, algorithm):
    with open_weights(google) as weights:
        assert weights.digest(algorithm) == hashlib.new(algorithm, google.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_file_is_known_by_its_published_hash_wherever_it_is_named(background, colours, monkeypatch, capsys):
    path = background.with_name("three.pth")
    torch.save(peer("inception_v3", 1000).state_dict(), path)
    known = record("inception_v3.gluon_in1k_old")
    picture = str(colours / "red" / "0.png")
    with pytest.warns(Doubt, match="read as torchvision's; .*gluon") as caught:
        assert inceptory.load(path).card.preprocess.filter == "bilinear"
    assert caught[0].filename == __file__
    assert main(["predict", str(path), picture]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: ")
    assert err.count("\n") == 1
    monkeypatch.setattr(opening, "by_hash", lambda digest: known if digest == sha256(path) else None)
    assert inceptory.load(path).card.preprocess == known.preprocess
    assert main(["predict", str(path), picture]) == 0
    assert capsys.readouterr().err == ""


# The network and its classes


def test_a_published_name_has_its_number_of_classes(google, colours, monkeypatch, capsys):
    declare(monkeypatch, sha256(google)[:8], classes=1008)
    assert main(["predict", "googlenet.tv_in1k", str(colours), "--weights", str(google)]) == 65
    assert "its classifier has 1000 classes and not 1008" in line(capsys)


def test_another_members_weights_are_called_by_their_name(google, colours, monkeypatch, capsys):
    declare(monkeypatch, sha256(google)[:8], architecture="inception_v3", name="inception_v3.torchvision")
    assert main(["predict", "inception_v3.torchvision", str(colours), "--weights", str(google)]) == 65
    assert "looks like googlenet of torchvision, not inception_v3 (" in line(capsys)
    assert main(["verify", str(google), "--name", "inception_v3"]) == 65
    assert "looks like googlenet of torchvision, not inception_v3 (" in line(capsys)


def test_a_background_class_under_torchvisions_names_is_dropped_and_said(background, capsys):
    net = inceptory.load(background)  # a warning would be an error here: all files of this kind are prepared alike
    state = torch.load(background, weights_only=True)
    assert net.plan.classes == 1000
    assert torch.equal(net.state_dict()["head.classifier.weight"], state["fc.weight"][1:])
    assert torch.equal(net.state_dict()["head.classifier.bias"], state["fc.bias"][1:])
    assert net.card.preprocess == record("inception_v3.tf_in1k_old").preprocess
    certificate = inspect(background)
    assert (certificate.origin, certificate.classes, certificate.background_class) == ("timm", 1000, True)
    assert certificate.dialect_decided == "by its 1001 classes"
    assert main(["verify", str(background)]) == 0
    assert "inception_v3, 1000 classes, background class dropped" in capsys.readouterr().out


def test_classes_asks_for_a_new_head_and_keeps_the_rest(google):
    torch.manual_seed(3)
    net = inceptory.load(google, classes=5)
    torch.manual_seed(3)
    again = inceptory.load(google, classes=5)
    state, before = net.state_dict(), inceptory.load(google).state_dict()
    assert not net.training
    assert net.card.labels == ()
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    fresh = {name for name in state if "classifier" in name}
    assert len(fresh) == 6
    assert all(torch.equal(state[name], before[name]) for name in state.keys() - fresh)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state.items())
    # As many classes as there are is a new head too: nobody's classes are guessed to be the same.
    assert not torch.equal(inceptory.load(google, classes=1000).state_dict()["head.classifier.weight"],
                           before["head.classifier.weight"])  # fmt: skip


def test_a_new_head_takes_the_place_of_a_head_that_could_not_be_loaded(tmp_path):
    state = peer("inception_v3", 7).state_dict()
    for name in ("fc.weight", "fc.bias"):
        state.pop(name)
    own = {"fc.0.weight": torch.ones(8, 2048), "fc.0.bias": torch.ones(8), "fc.2.weight": torch.ones(3, 8)}
    torch.save({**state, **own, "fc.2.bias": torch.ones(3)}, tmp_path / "own.pth")
    net = inceptory.load(tmp_path / "own.pth", dialect="torchvision", classes=3)
    assert net(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


def test_our_own_checkpoint_gets_a_new_head_too(tmp_path):
    inceptory.save(create("cifar_inception_v2", width=0.25, classes=4), tmp_path / "own.safetensors")
    assert inceptory.load(tmp_path / "own.safetensors", classes=6)(torch.zeros(1, 3, 32, 32)).shape == (1, 6)
    assert inceptory.load(tmp_path / "own.safetensors", classes=0).plan.classes == 0
    for classes in (-1, 10**18):
        with pytest.raises(UsageError, match="out of range"):
            inceptory.load(tmp_path / "own.safetensors", classes=classes)


def test_a_new_head_is_written_for_other_packages_the_same_each_time(google, tmp_path):
    state = torch.random.get_rng_state()
    for name in ("a.pth", "b.pth"):
        assert main(["convert", str(google), str(tmp_path / name), "--to", "torchvision", "--classes", "5"]) == 0
    first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pth", "b.pth"))
    assert first["fc.weight"].shape == (5, 1024)
    assert first["aux1.fc2.weight"].shape == (5, 1024)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert torch.equal(torch.random.get_rng_state(), state)
    with opening.open_model(google) as model:
        again = model.network(5, seeded=True).state_dict()
    assert torch.equal(again["head.classifier.weight"], first["fc.weight"])
    theirs = peer("googlenet", 5, aux=True)
    theirs.load_state_dict(first, strict=True)
