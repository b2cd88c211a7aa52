"""Checkpoints of tf-slim: names with its irregularities, and a network that answers as its variables say."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from inceptory.errors import DataError
from inceptory.nets.network import create
from inceptory.weights.convert import convert
from inceptory.weights.files.unpacking import unpacked
from inceptory.weights.origins import slim
from inceptory.weights.rules import present_names
from inceptory.weights.verify import inspect
from tests.weights.files.checkpoints import indexed, of_2016

NAMES = {
    slim.INCEPTION_V1: {
        "InceptionV1.Mixed_5b.Branch_2.Conv2d_0a_1x1.bn.bias": "InceptionV1.Mixed_5b.Branch_2.Conv2d_0a.bn.bias",
        "InceptionV1.Mixed_5b.Branch_2.Conv2d_0a_3x3.bn.bias": "InceptionV1.Mixed_5b.Branch_2.Conv2d_0b.bn.bias",
        "InceptionV1.Mixed_5c.Branch_2.Conv2d_0b_3x3.bn.bias": "InceptionV1.Mixed_5c.Branch_2.Conv2d_0b.bn.bias",
        "InceptionV1.Conv2d_1a_7x7.bn.bias": "InceptionV1.Conv2d_1a_7x7.bn.bias",
    },
    slim.INCEPTION_V3: {
        "InceptionV3.Mixed_5c.Branch_1.Conv2d_0b_1x1.bn.bias": "InceptionV3.Mixed_5c.Branch_1.Conv2d_0a.bn.bias",
        "InceptionV3.Mixed_5c.Branch_1.Conv_1_0c_5x5.bn.bias": "InceptionV3.Mixed_5c.Branch_1.Conv2d_0b.bn.bias",
        "InceptionV3.Mixed_6a.Branch_0.Conv2d_1a_1x1.bn.bias": "InceptionV3.Mixed_6a.Branch_0.Conv2d_1a.bn.bias",
        "InceptionV3.Mixed_7b.Branch_1.Conv2d_0b_1x3.bn.bias": "InceptionV3.Mixed_7b.Branch_1.Conv2d_0b.bn.bias",
        "InceptionV3.Mixed_7b.Branch_1.Conv2d_0b_3x1.bn.bias": "InceptionV3.Mixed_7b.Branch_1.Conv2d_0c.bn.bias",
        "InceptionV3.Mixed_7c.Branch_1.Conv2d_0c_3x1.bn.bias": "InceptionV3.Mixed_7c.Branch_1.Conv2d_0c.bn.bias",
        "InceptionV3.AuxLogits.Conv2d_1b_1x1.bn.bias": "InceptionV3.AuxLogits.Conv2d_1b_1x1.bn.bias",
        "InceptionV3.Logits.Conv2d_1c_1x1.conv.bias": "InceptionV3.Logits.Conv2d_1c_1x1.conv.bias",
    },
    slim.INCEPTION_V4: {
        "InceptionV4.Mixed_7b.Branch_2.Conv2d_0d_1x3.bn.bias": "InceptionV4.Mixed_7b.Branch_2.Conv2d_0d.bn.bias",
        "InceptionV4.Mixed_4a.Branch_1.Conv2d_1a_3x3.bn.bias": "InceptionV4.Mixed_4a.Branch_1.Conv2d_1a.bn.bias",
    },
}


@pytest.mark.parametrize("table", NAMES, ids=lambda table: table.rules[0].theirs.partition(".")[0])
def test_kernels_are_left_out_of_names_and_letters_set_right(table):
    found = present_names(table, NAMES[table])
    assert {there: here for here, there in found.items()} == NAMES[table]


STAGES = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")


def variables() -> dict[str, np.ndarray]:
    """tf-slim's Inception v1 with a background class, as its own code calls it."""
    random = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}

    def conv(scope: str, high: int, inputs: int, outputs: int) -> int:
        kernel = random.normal(0, (2 / (high * high * inputs)) ** 0.5, (high, high, inputs, outputs))
        found[f"InceptionV1/{scope}/weights"] = kernel.astype(np.float32)
        for name, value in (("beta", 0.1), ("moving_mean", 0.1), ("moving_variance", 1.0)):
            found[f"InceptionV1/{scope}/BatchNorm/{name}"] = np.full(outputs, value, np.float32)
        return outputs

    last = conv("Conv2d_2c_3x3", 3, conv("Conv2d_2b_1x1", 1, conv("Conv2d_1a_7x7", 7, 3, 64), 64), 192)
    sizes = ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64))
    sizes += ((160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64))
    sizes += ((256, 160, 320, 32, 128, 128), (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128))
    for stage, (a, b, c, d, e, f) in zip(STAGES, sizes, strict=True):
        scope = f"Mixed_{stage}/Branch_"
        conv(f"{scope}0/Conv2d_0a_1x1", 1, last, a)
        conv(f"{scope}1/Conv2d_0b_3x3", 3, conv(f"{scope}1/Conv2d_0a_1x1", 1, last, b), c)
        odd = "0a" if stage == "5b" else "0b"
        conv(f"{scope}2/Conv2d_{odd}_3x3", 3, conv(f"{scope}2/Conv2d_0a_1x1", 1, last, d), e)
        conv(f"{scope}3/Conv2d_0b_1x1", 1, last, f)
        last = a + c + e + f
    found["InceptionV1/Logits/Conv2d_0c_1x1/weights"] = random.normal(0, 0.05, (1, 1, last, 1001)).astype(np.float32)
    found["InceptionV1/Logits/Conv2d_0c_1x1/biases"] = np.arange(1001, dtype=np.float32)
    found["global_step"] = np.array(7, np.int64)
    found["InceptionV1/Conv2d_1a_7x7/weights/RMSProp_1"] = found["InceptionV1/Conv2d_1a_7x7/weights"]
    return found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slim")
    (folder / "old.ckpt").write_bytes(of_2016(variables()))
    index, (data,) = indexed(variables())
    (folder / "new.ckpt.index").write_bytes(index)
    (folder / "new.ckpt.data-00000-of-00001").write_bytes(data)
    return folder


@pytest.mark.parametrize("file", ["old.ckpt", "new.ckpt"])
def test_a_checkpoint_of_slim_is_a_network_without_its_background_class(checkpoint, file):
    net = inceptory.load(checkpoint / file)
    state, there = net.state_dict(), variables()
    assert (net.plan.architecture, net.plan.dialect, net.plan.classes) == ("googlenet", "slim", 1000)
    assert len(net.card.labels) == 1000
    assert state["head.classifier.bias"].tolist() == list(range(1, 1001))
    kernel = there["InceptionV1/Mixed_5b/Branch_2/Conv2d_0a_3x3/weights"]
    assert np.array_equal(state["Mixed_5b.branch2.1.conv.weight"].numpy(), kernel.transpose(3, 2, 0, 1))
    told = inspect(checkpoint / file)
    assert set(told.dropped) == {"InceptionV1.Conv2d_1a_7x7.weights.RMSProp_1", "global_step"}
    assert (told.origin, told.background_class) == ("slim", True)


def test_a_checkpoint_by_its_name_alone_can_be_converted(checkpoint, tmp_path):
    inceptory.save(inceptory.load(checkpoint / "new.ckpt"), tmp_path / "ours.safetensors")
    again = inceptory.load(tmp_path / "ours.safetensors")
    assert again.plan.dialect == "slim"
    with pytest.raises(DataError, match="torchvision has no googlenet in dialect slim"):
        convert(checkpoint / "new.ckpt", tmp_path / "x.pth", to="torchvision")
    assert torch.isfinite(create("googlenet", dialect="slim", classes=2).eval()(torch.zeros(1, 3, 64, 64))).all()


def test_a_checkpoint_is_taken_out_of_its_archive_once_and_nothing_else_of_it(checkpoint, tmp_path):
    archive, evil = tmp_path / "v1.tar.gz", tmp_path / "evil"
    evil.write_text("x")
    with tarfile.open(archive, "w:gz") as out:
        out.add(checkpoint / "new.ckpt.index", "../../new.ckpt.index")
        out.add(checkpoint / "new.ckpt.data-00000-of-00001", "deep/new.ckpt.data-00000-of-00001")
        out.add(evil, "/evil.sh")
        link = tarfile.TarInfo("link.ckpt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    for _ in range(2):
        path = unpacked(archive)
        assert path == tmp_path / "v1" / "new.ckpt.index"
        assert sorted(each.name for each in path.parent.iterdir()) == [
            "new.ckpt.data-00000-of-00001",
            "new.ckpt.index",
        ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["evil", "v1", "v1.tar.gz"]
    assert inspect(path).origin == "slim"


@pytest.mark.parametrize(("content", "told"), [(b"no archive", "a damaged archive"), (None, "no checkpoint inside")])
def test_an_archive_without_a_checkpoint_is_told(content, told, tmp_path):
    archive = tmp_path / "v1.tar.gz"
    if content is None:
        tarfile.open(archive, "w:gz").close()
    else:
        archive.write_bytes(content)
    with pytest.raises(DataError, match=told):
        unpacked(archive)
