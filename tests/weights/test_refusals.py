"""Every command that takes a weight file refuses a bad one in the same way: one line, its exit code, in time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inceptory.cli import main
from inceptory.data.imagenet import labels
from tests.weights.files import (
    checkpoints,
    makers,
    test_hostile_hdf5,
    test_hostile_safetensors,
    test_hostile_tensors,
    test_not_weights,
)
from tests.weights.files.hostile import files, styles

COMMANDS: dict[str, Callable[[str, Path], list[str]]] = {
    "verify": lambda file, _: ["verify", file],
    "verify --json": lambda file, _: ["verify", file, "--json"],
    "convert": lambda file, pictures: ["convert", file, str(pictures / "out.pth"), "--to", "timm"],
    "predict": lambda file, pictures: ["predict", file, str(pictures)],
    "evaluate": lambda file, pictures: ["evaluate", file, str(pictures)],
}


def tar_and_pickle() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("\x80\x02}."))
        return file.getvalue()


def module() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))


def script() -> bytes:
    return makers.packed(("net/data.pkl", makers.mapping()), ("net/code/__torch__.py", b""), ("net/constants.pkl", b""))


def cut(kind: str) -> bytes:
    content = makers.every_kind()[kind]
    return content[: len(content) // 2]


def config(text: bytes) -> bytes:
    return makers.keras_archive(config=text)


LAMBDA = b'{"module": "builtins", "class_name": "Lambda", "config": {"function": "exec", "safe_mode": false}}'
CALL = files(styles("os.system", "touch canary")["reduce"])

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    **{f"W02 {kind}": (lambda kind=kind: cut(kind), "") for kind in makers.every_kind()},
    "W03 empty": (lambda: b"", "an empty file"),
    "W03 text": (lambda: b"no weights here", "a plain text"),
    "W03 HTML": (lambda: b"<!DOCTYPE html><html>404</html>", "an HTML page"),
    "W03 LFS": (lambda: test_not_weights.LFS, "a Git LFS pointer"),
    "W03 LevelDB": (lambda: checkpoints.table({b"leveldb": b"x"}), "a table that is no checkpoint of TensorFlow"),
    "W05 safetensors and zip": (lambda: makers.safetensors_file() + makers.saved(makers.small()), "ambiguous"),
    "W05 pickle and zip": (lambda: makers.saved(makers.small(), True) + makers.saved(makers.small()), "ambiguous"),
    "W05 tar and pickle": (tar_and_pickle, ""),
    "W05 zip and zip": (lambda: makers.saved(makers.small()) * 2, "ambiguous"),
    "W06 in a zip": (lambda: CALL["torch zip"], "it names os.system ("),
    "W06 in a stream": (lambda: CALL["legacy"], "it names os.system ("),
    "W06 bare": (lambda: CALL["bare"], "it names os.system ("),
    **{
        f"W07 {lie}, {kind}": (lambda lie=lie, i=i: test_hostile_tensors.both(makers.mapping(a=lie))[i], "")
        for i, kind in enumerate(("zip", "legacy"))
        for lie in list(test_hostile_tensors.LIES.values())[:3]
    },
    "W07 sparse": (lambda: makers.saved({"a": torch.eye(3).to_sparse()}), "more than dense weights"),
    "W09 names outside": (lambda: makers.packed(("../evil", b""), ("/etc/x", b"")), "leads elsewhere"),
    "W10 a script": (script, "holds no tensors by name"),
    "W10 a module, zip": (lambda: makers.saved(module()), "a program, not weights"),
    "W10 a module, legacy": (lambda: makers.saved(module(), True), "a program, not weights"),
    "W11 an overlap": (lambda: test_hostile_safetensors.LIES["an overlap"][0], "overlaps another"),
    "W13 a config with code": (lambda: config(LAMBDA), ""),
    "W14 a soft link": (lambda: makers.hdf5(lambda root: test_hostile_hdf5.soft_link(root, "")), "a soft link"),
    "W14 a circle": (lambda: makers.hdf5(lambda root: test_hostile_hdf5.circle(root, "")), "leads in circles"),
    "W15 8 PiB": (lambda: test_hostile_hdf5.BOMBS["8 PiB in one run"][0](), "was never written"),
    **{
        f"W19 {kind}": (lambda kind=kind: makers.every_kind()[kind], "no network of the Inception family")
        for kind in ("safetensors", "torch zip", "torch legacy", "keras h5 2016")
    },
}


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(words)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert told.err.rstrip("\n").isprintable()
    assert len(told.err) <= 301
    assert told.err.endswith(")\n")
    return code, told.err


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_65_for_every_command(bad, tmp_path, colours, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, what = BAD[bad]
    (tmp_path / "w").write_bytes(make())
    pictures = tmp_path / "pictures"
    pictures.symlink_to(colours)
    for command, words in COMMANDS.items():
        code, told = refused(words("w", pictures), capsys)
        assert code == 65, command
        assert told.startswith("error: w: "), command
        assert what in told, command
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "w"]
    assert not (colours / "out.pth").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices as files are a matter of POSIX")
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_66_within_a_second(command, tmp_path, colours, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for place in (tmp_path / "pipe", tmp_path / "circle", Path("/dev/zero"), tmp_path / "nothing.pth"):
        start = time.process_time()
        code, _ = refused(COMMANDS[command](str(place), colours), capsys)
        assert code == 66, place
        assert time.process_time() - start < 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_may_not_be_read_is_66(command, tmp_path, colours, capsys):
    (tmp_path / "w.pth").write_bytes(makers.saved(makers.small()))
    (tmp_path / "w.pth").chmod(0)
    code, told = refused(COMMANDS[command](str(tmp_path / "w.pth"), colours), capsys)
    assert (code, "permission denied" in told) == (66, True)


def test_a_folder_is_66(tmp_path, capsys):
    assert refused(["verify", str(tmp_path)], capsys)[0] == 66


# Values


def net(value: float | None = None, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The tensors of a small network as its origin calls them, one of them with a planted value."""
    import torchvision

    torch.manual_seed(0)
    made = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=1000)
    state = {name: tensor.to(dtype) for name, tensor in made.state_dict().items() if "num_batches" not in name}
    if value is not None:
        state["inception4a.branch1.conv.weight"][3, 2, 0, 0] = value
    return state


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_65_and_their_tensor_is_named(value, tmp_path, colours, capsys):
    file = str(tmp_path / "w.safetensors")
    save_file(net(value), file)
    for there, here in zip(labels(), ("red", "green"), strict=False):
        shutil.copytree(colours / here, tmp_path / "data" / there)
    for words in (
        ["convert", file, str(tmp_path / "out.pth"), "--to", "torchvision"],
        ["predict", file, str(colours)],
        ["evaluate", file, str(tmp_path / "data"), "--split", "train"],
    ):
        code, told = refused(words, capsys)
        assert code == 65
        assert "tensor inception4a.branch1.conv.weight holds NaN or infinite values" in told
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_numbers_that_no_network_computes_with_are_65(dtype, tmp_path, colours, capsys):
    state = net()
    save_file(state | {"conv1.conv.weight": state["conv1.conv.weight"].to(dtype)}, tmp_path / "w")
    code, told = refused(["predict", str(tmp_path / "w"), str(colours)], capsys)
    assert code == 65
    assert f"tensor conv1.conv.weight holds {str(dtype).removeprefix('torch.')} and no floating" in told


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_other_precisions_are_cast_value_by_value(kind, dtype, tmp_path):
    from inceptory.weights.model import load

    state = net(dtype=dtype)
    if kind == "safetensors":
        save_file(state, tmp_path / "w")
    else:
        torch.save(state, tmp_path / "w", _use_new_zipfile_serialization=kind == "zip")
    found = load(tmp_path / "w").state_dict()
    assert torch.equal(found["Conv2d_1a_7x7.conv.weight"], state["conv1.conv.weight"].float())
    assert torch.equal(found["head.classifier.bias"], state["fc.bias"].float())
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_a_double_that_no_float_can_hold_is_refused(tmp_path, capsys):
    save_file(net(1e300, torch.float64), tmp_path / "w")
    assert "holds numbers beyond float32" in refused(["predict", str(tmp_path / "w"), str(tmp_path)], capsys)[1]


def test_zeros_are_weights_like_any_other(tmp_path):
    from inceptory.weights.model import load

    state = {name: torch.zeros_like(tensor) for name, tensor in net().items()}
    save_file(state, tmp_path / "w")
    assert not any(tensor.any() for tensor in load(tmp_path / "w").state_dict().values())


# Texts


def test_texts_of_a_file_never_reach_the_terminal_as_they_are(tmp_path, capsys):
    evil = "\x1b[2J\x9b31m\rerror: all is well\u202e<script>"
    state = net() | {f"{evil}.num_batches_tracked": torch.zeros(1)}
    path = tmp_path / f"w{evil.replace('/', '')}.safetensors"
    save_file(state, path, metadata={"note": evil, evil: "x"})
    for words in (["verify", str(path)], ["verify", str(path), "--json"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert "num_batches_tracked" in out
        assert not any(mark in out for mark in ("\x1b", "\x9b", "\u202e"))
        assert all(line.isprintable() for line in out.splitlines())
    broken = {**state, f"{evil}.weight": torch.zeros(1)}
    save_file(broken, tmp_path / "w")
    code, told = refused(["verify", str(tmp_path / "w")], capsys)
    assert code == 65
    assert "1 surplus: \\x1b[2J\\x9b31m\\rerror" in told


def test_tensors_on_either_side_are_counted_and_five_of_each_are_named(tmp_path, capsys):
    state = net()
    for name in [name for name in state if name.startswith("inception4e")][:7]:
        del state[name]
    save_file(state | {f"more{i}": torch.zeros(1) for i in range(9)}, tmp_path / "w")
    code, told = refused(["verify", str(tmp_path / "w")], capsys)
    assert code == 65
    assert "looks like googlenet of torchvision, but 7 missing: " in told
    assert "9 surplus: more0, more1, more2, more3, more4 (" in told
    assert "more5" not in told


# Names


@pytest.mark.parametrize(
    "paths",
    [
        ["layers/a/vars/abc"],
        ["vars/0"],
        ["layers/batch_normalization/vars/7"],
        ["layers/separable_conv2d/vars/5"],
        [f"layers/batch_normalization/vars/{i}" for i in range(9)],
        ["layers/conv2d/vars/\u00b2"],
    ],
)
def test_variables_that_keras_does_not_number_so_are_65(paths, tmp_path, colours, capsys):
    def fill(root):
        for path in paths:
            root[path] = makers.KERNEL
            root[path.rpartition("/")[0]].attrs["name"] = "own"

    (tmp_path / "w").write_bytes(makers.hdf5(fill))
    for words in COMMANDS.values():
        code, told = refused(words(str(tmp_path / "w"), colours), capsys)
        assert code == 65
        assert "variables are not called as Keras calls them" in told


def own(path: Path, **changed: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """A checkpoint of ours, with tensors changed: those of a name, or all of them by the name "every"."""
    from inceptory import Card, save
    from inceptory.data.picture.preprocess import Preprocess
    from inceptory.nets.network import create
    from inceptory.weights.card import KEY, read_card
    from inceptory.weights.seal import seal
    from inceptory.weights.store import described

    net = create("cifar_inception_v2", width=0.25, classes=3)
    steps = Preprocess(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    save(net, path, Card.of(net.plan, labels=("blue", "green", "red"), preprocess=steps))
    whole = changed.get("every", lambda tensor: tensor)
    tensors = {name: whole(tensor) for name, tensor in net.state_dict().items()}
    key = "head.classifier.weight"
    tensors[key] = changed.get("head", lambda tensor: tensor)(tensors[key])
    bare = read_card(path).to_json()
    save_file(tensors, path, metadata={KEY: seal(bare, described(tensors))})


CHANGES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "NaN": (lambda tensor: tensor * float("nan"), "tensor head.classifier.weight holds NaN or infinite values"),
    "half": (torch.Tensor.half, "tensors of type float16, float32, not of one"),
    "whole numbers": (torch.Tensor.long, "tensors of type float32, int64, not of one"),
    "truths": (torch.Tensor.bool, "tensors of type bool, float32, not of one"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_our_own_checkpoint_with_other_values_is_65(change, tmp_path, colours, capsys):
    make, what = CHANGES[change]
    own(tmp_path / "w.safetensors", head=make)
    for command in ("convert", "predict", "evaluate"):
        code, told = refused(COMMANDS[command](str(tmp_path / "w.safetensors"), colours), capsys)
        assert code == 65
        assert what in told


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_our_own_checkpoint_of_another_precision_answers(dtype, tmp_path, colours, capsys):
    own(tmp_path / "w.safetensors", every=lambda tensor: tensor.to(dtype))
    assert main(["predict", str(tmp_path / "w.safetensors"), str(colours / "red" / "0.png")]) == 0
    assert main(["evaluate", str(tmp_path / "w.safetensors"), str(colours), "--split", "train"]) == 0
    assert "nan" not in capsys.readouterr().out


def test_our_own_checkpoint_has_a_certificate_too(tmp_path, capsys):
    from inceptory import save
    from inceptory.nets.network import create

    net = create("cifar_inception_v2", width=0.25, classes=3)
    save(net, tmp_path / "w.safetensors")
    assert main(["verify", str(tmp_path / "w.safetensors"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["origin"], told["classes"], told["matched"]) == ("inceptory", 3, len(net.state_dict()))
    assert told["sha256"] == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    card = load_file_card(tmp_path / "w.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", metadata=card)
    assert "tensors do not fit cifar_inception_v2" in refused(["verify", str(tmp_path / "x.safetensors")], capsys)[1]


def load_file_card(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, as its own package reads it."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return dict(file.metadata())
