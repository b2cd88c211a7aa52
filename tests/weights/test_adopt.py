"""Other packages' files as networks, and back."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

import inceptory
from inceptory.cli import main
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import ConfigError, DataError, UsageError
from inceptory.nets.catalogue import plan
from inceptory.nets.network import create
from inceptory.weights.convert import convert
from inceptory.weights.express import express
from inceptory.weights.files.formats import Weights
from inceptory.weights.published.records import record
from inceptory.weights.verify import inspect

# Pickled by an older torch or a newer one, a file is the same to us; these are made by the installed one.


def randomised(net: torch.nn.Module) -> torch.nn.Module:
    """Weights under which pictures differ and every statistic matters."""
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            torch.nn.init.kaiming_normal_(tensor)
        elif name.endswith("running_var") or (name.endswith(".weight") and tensor.ndim == 1):
            tensor.uniform_(0.8, 1.2)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1)
    return net.eval()


def googlenet() -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True, num_classes=7)


@pytest.fixture(scope="module")
def peer() -> torch.nn.Module:
    return randomised(googlenet())


@pytest.fixture(scope="module")
def file(peer: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / "google.pth"
    torch.save(peer.state_dict(), path)
    return path


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / a.abs().max()).item()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "checkpoint"])
def test_a_peers_file_answers_as_the_peer_does_whatever_its_format(peer, kind, tmp_path: Path):
    path = tmp_path / "weights.bin"
    state = peer.state_dict()
    match kind:
        case "zip":
            torch.save(state, path)
        case "legacy":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        case "safetensors":
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        case _:
            torch.save({"state_dict": state, "epoch": 3}, path)
    net = inceptory.load(path)
    images = torch.randn(2, 3, 97, 97)
    with torch.inference_mode():
        expected, found = peer(images), net(images)
    assert relative(expected, found) <= 1e-5
    assert relative(expected[0], expected[1]) > 1e-3
    assert not net.training


def test_the_card_says_where_the_weights_come_from(file: Path):
    card = inceptory.load(file).card
    assert card.data == {"origin": "torchvision", "file": "google.pth"}
    assert str(card.preprocess) == "resize 256 bilinear | centre crop 224 | RGB | (x / 255 - 0.5) / 0.5"


def test_names_shared_by_several_published_files_are_told_unless_settled(tmp_path: Path):
    net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False, num_classes=3)
    torch.save(randomised(net).state_dict(), tmp_path / "v3.pth")
    with pytest.warns(UserWarning, match=r"inception_v3\.gluon_in1k"):
        inceptory.load(tmp_path / "v3.pth")
    steps = Preprocess(size=299, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert inceptory.load(tmp_path / "v3.pth", preprocess=steps).card.preprocess == steps
    assert inceptory.load(tmp_path / "v3.pth", dialect="torchvision").plan.dialect == "torchvision"


def test_a_wrapped_network_with_another_head_for_grey_pictures_answers_as_its_owner_s(tmp_path: Path):
    net = randomised(googlenet())
    net.conv1.conv = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    net.fc, net.transform_input = torch.nn.Linear(1024, 3), False
    torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="takes 1 channel, so its preprocessing is not known"):
        found = inceptory.load(tmp_path / "w.pth")
    images = torch.randn(2, 1, 97, 97)
    with torch.inference_mode():
        assert relative(net(images), found(images)) <= 1e-5
    told = str(inspect(tmp_path / "w.pth"))
    assert "read           its names begin with module.\n" in told
    assert "read           its auxiliary heads, for 7 classes, are left out\n" in told
    assert "| L |" in told


@pytest.fixture(scope="module")
def fid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False, num_classes=1008)
    path = tmp_path_factory.mktemp("fid") / "fid.pth"
    torch.save(randomised(net).state_dict(), path)
    return path


def test_both_homes_of_the_fid_network_are_told_and_the_name_settles_which(fid: Path):
    with pytest.warns(UserWarning, match=r"read as fid's; .*: inception_v3\.torch_fidelity \("):
        card = inceptory.load(fid).card
    assert str(card.preprocess) == "squash 299x299 bilinear without antialias | RGB | (x / 255 - 0.5) / 0.5"
    settled = inceptory.load(fid, name="inception_v3.torch_fidelity").card
    assert settled.preprocess == record("inception_v3.torch_fidelity").preprocess != card.preprocess


def test_the_hash_that_both_homes_declare_does_not_settle_it(fid: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Weights, "digest", lambda *_: "6726825d" + "0" * 56)
    with pytest.warns(UserWarning, match=r"read as pytorch-fid's; .*: inception_v3\.torch_fidelity \("):
        inceptory.load(fid)
    certificate = inspect(fid)
    assert certificate.published == "inception_v3.fid"
    assert certificate.alternatives == ("inception_v3.torch_fidelity",)


def test_a_hash_of_ones_own_settles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    torch.save(randomised(net).state_dict(), tmp_path / "v3.pth")
    monkeypatch.setattr(Weights, "digest", lambda *_: "0cc3c7bd" + "0" * 56)
    assert inceptory.load(tmp_path / "v3.pth").card.preprocess == record("inception_v3.torchvision").preprocess
    assert inspect(tmp_path / "v3.pth").alternatives == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_finite_numbers_are_refused_by_name(peer, value, tmp_path: Path):
    state = {name: tensor.clone() for name, tensor in peer.state_dict().items()}
    state["inception4a.branch1.conv.weight"][3, 2, 0, 0] = value
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(DataError, match=r"inception4a\.branch1\.conv\.weight"):
        inceptory.load(tmp_path / "bad.pth")


def test_the_way_back_is_a_file_that_the_peer_loads_and_answers_from_unchanged(peer, file, tmp_path: Path):
    inceptory.save(inceptory.load(file), tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "back.pth", to="torchvision")
    again = googlenet()
    again.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True))
    images = torch.randn(1, 3, 97, 97)
    with torch.inference_mode():
        assert torch.equal(peer(images), again.eval()(images))


def test_what_a_peer_cannot_express_is_refused_with_the_reason(tmp_path: Path):
    cases = {
        "half.safetensors": ({"width": 0.5}, "knows no width=0.5"),
        "squeezed.safetensors": ({"width": 0.25, "se": True}, "knows no width"),
        "caffe.safetensors": ({"dialect": "caffe", "classes": 2}, "in dialect caffe"),
    }
    for name, (options, told) in cases.items():
        inceptory.save(create("googlenet", **options), tmp_path / name)
        with pytest.raises(DataError, match=told):
            convert(tmp_path / name, tmp_path / "x.pth", to="torchvision")
    assert not (tmp_path / "x.pth").exists()
    with pytest.raises(UsageError, match="end it in"):
        convert(tmp_path / "half.safetensors", tmp_path / "x.h5", to="torchvision")
    with pytest.raises(UsageError, match=r"\.weights\.h5"):
        convert(tmp_path / "half.safetensors", tmp_path / "x.pth", to="keras")


@pytest.mark.slow
def test_gamma_folds_into_the_kernel_and_comes_back_as_ones():
    ours = plan("inception_resnet_v2", dialect="timm", classes=4)
    there = plan("inception_resnet_v2", dialect="keras", classes=4)
    state = randomised(create("inception_resnet_v2", dialect="timm", classes=4)).state_dict()
    answers = []
    images = torch.randn(2, 3, 75, 75)
    for target in (ours, there):
        net = create("inception_resnet_v2", dialect=target.dialect, classes=4).eval()
        net.load_state_dict(express(state, target))
        with torch.inference_mode():
            answers.append(net(images))
    assert relative(*answers) <= 1e-5
    back = express(express(state, there), ours)
    assert (back["Mixed_5b.branch0.0.bn.weight"] == 1).all()


def keras_file(path: Path, layers, *, first: int = 0) -> None:
    """A file as Keras 2 wrote it: layers by name, automatic names from `first` on."""
    counters: dict[str, int] = {}
    names = {"conv2d": "kernel bias", "dense": "kernel bias", "batch_normalization": ""}
    with h5py.File(path, "w") as file:
        listed = []
        for kind, variables in layers:
            number = counters[kind] = counters.get(kind, first - 1) + 1
            layer = f"{kind}_{number}" if number else kind
            roles = names[kind].split()[: len(variables)]
            if kind == "batch_normalization":
                roles = ["gamma", "beta", "moving_mean", "moving_variance"][4 - len(variables) :]
            group = file.create_group(layer)
            full = [f"{layer}/{role}:0" for role in roles]
            group.attrs["weight_names"] = [name.encode() for name in full]
            for name, variable in zip(full, variables, strict=True):
                group.create_dataset(name, data=variable)
            listed.append(layer.encode())
        file.attrs["layer_names"] = listed


@pytest.mark.parametrize("first", [0, 1, 95])
def test_kerass_numbered_layers_are_read_by_rank_wherever_they_start(first, tmp_path: Path):
    net = randomised(create("inception_v3", dialect="keras", classes=3))
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    # Numbers follow the order of making, which is our own order of layers.
    paths = dict.fromkeys(name.rsplit(".", 1)[0] for name in state)
    by_path = dict(_made(paths, state))
    keras_file(tmp_path / "k.h5", by_path.values(), first=first)
    found = inceptory.load(tmp_path / "k.h5")
    assert found.plan.dialect == "keras"
    images = torch.randn(2, 3, 75, 75)
    with torch.inference_mode():
        assert relative(net(images), found(images)) <= 1e-6


def _made(paths, state):
    from inceptory.weights.keras.writer import _layer

    for path in paths:
        if path.startswith("head"):
            yield path, ("dense", [state[f"{path}.weight"].T, state[f"{path}.bias"]])
        else:
            yield path, _layer(path, state)


@pytest.mark.parametrize(
    "name",
    ["xception", *(pytest.param(name, marks=pytest.mark.slow) for name in ("inception_v3", "inception_resnet_v2"))],
)
@pytest.mark.slow
def test_what_we_write_for_keras_we_read_back_bit_for_bit(name, tmp_path: Path):
    net = randomised(create(name, dialect="keras", classes=3))
    inceptory.save(net, tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "theirs.weights.h5", to="keras")
    again = inceptory.load(tmp_path / "theirs.weights.h5").state_dict()
    assert again.keys() == net.state_dict().keys()
    assert all(torch.equal(value, again[key]) for key, value in net.state_dict().items())


def test_writing_for_keras_without_h5py_says_what_to_install(monkeypatch, tmp_path: Path):
    inceptory.save(create("xception", classes=2), tmp_path / "ours.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"inceptory\[keras\]"):
        convert(tmp_path / "ours.safetensors", tmp_path / "theirs.weights.h5", to="keras")


def test_a_checkpoint_of_timm_s_train_script_gives_its_averaged_weights_or_the_others(peer, tmp_path: Path, capsys):
    state = peer.state_dict()
    doubled = {name: tensor * 2 for name, tensor in state.items()}
    args = argparse.Namespace(lr=np.float64(0.1), device=torch.device("cpu"))
    beside = {"epoch": 3, "arch": "googlenet", "optimizer": {"state": {}}, "version": 2, "args": args, "metric": 7.0}
    torch.save({**beside, "state_dict": state, "state_dict_ema": doubled}, tmp_path / "w.pth")
    for raw, wanted, word in ((False, doubled, "averaged weights, from"), (True, state, "plain weights, not")):
        net = inceptory.load(tmp_path / "w.pth", raw=raw)
        assert torch.equal(net.state_dict()["head.classifier.weight"], wanted["fc.weight"])
        assert word in net.card.data["read"]
        flag = ["--raw"] * raw
        assert main(["verify", str(tmp_path / "w.pth"), *flag]) == 0
        assert word in capsys.readouterr().out
        out = tmp_path / f"{raw}.pth"
        assert main(["convert", str(tmp_path / "w.pth"), str(out), "--to", "torchvision", *flag]) == 0
        assert torch.equal(torch.load(out, weights_only=True)["fc.weight"], wanted["fc.weight"])


def test_verify_prints_the_certificate(file: Path, capsys):
    assert main(["verify", str(file)]) == 0
    told = capsys.readouterr().out
    for word in ("torch zip", "torchvision", "googlenet, 7 classes", "with auxiliary heads", "305 matched", "sha256"):
        assert word in told
    assert main(["verify", str(file), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["matched"] == 305
    assert record["filled"] == []
    assert len(record["dropped"]) == 59


def test_verify_and_convert_refuse_in_one_line(tmp_path: Path, capsys):
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>404</html>")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for words, code in (
        (["verify", str(tmp_path / "page.pth")], 65),
        (["verify", str(tmp_path / "array.npy")], 65),
        (["verify", str(tmp_path / "none.pth")], 66),
        (["convert", str(tmp_path / "none"), str(tmp_path / "x.pth"), "--to", "timm"], 66),
        (["convert", str(tmp_path / "page.pth"), str(tmp_path / "x.pth"), "--to", "timmm"], 64),
    ):
        assert main(words) == code, words
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
