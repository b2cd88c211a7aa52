"""Files written by PyTorch packages: the same answers here, and the way back gives theirs the same answers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inceptory
from inceptory.weights.convert import convert
from tests.peers.proof import Peer, answers, compare, ours, pictures, randomised
from tests.peers.torch_peers import PEERS

ODD = 225
GRAPHS = (
    "torchvision inception_v3",
    "torchvision googlenet",
    "timm inception_v4",
    "timm inception_resnet_v2",
    "timm legacy_xception",
    "timm xception41",
    "cadene bninception",
    "facenet 8631 faces",
    "torch-fidelity inception_v3",
)
"""One of each graph: in double precision at their native size too, which takes its time."""


@dataclass(frozen=True)
class Case:
    """One peer with its weights, the file that it wrote, and our network out of that file."""

    name: str
    peer: Peer
    module: nn.Module
    path: Path
    net: Any

    def expected(self, x: Tensor, module: nn.Module | None = None) -> dict[str, Tensor]:
        """The peer's answers, without the background class that we drop."""
        found = answers(self.peer, module or self.module, x)
        return {**found, "logits": found["logits"][:, 1:]} if self.peer.classes == 1001 else found


@pytest.fixture(scope="module", params=PEERS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    peer = PEERS[request.param]
    module = randomised(peer.make(peer.classes))
    path = tmp_path_factory.mktemp("peer") / "weights.pth"
    torch.save(module.state_dict(), path)
    yield Case(request.param, peer, module, path, inceptory.load(path))
    path.unlink()


def test_answers_agree_at_the_native_size(case: Case):
    x = pictures(case.peer.size)
    compare(f"{case.name} at {case.peer.size}", case.expected(x), ours(case.net, case.peer.inner[1], x), 1e-5)


def test_answers_agree_at_an_odd_size(case: Case):
    x = pictures(case.peer.odd)
    compare(f"{case.name} at {case.peer.odd}", case.expected(x), ours(case.net, case.peer.inner[1], x), 1e-5)


def test_answers_agree_to_nine_digits_in_double_precision(case: Case):
    module, net = copy.deepcopy(case.module).double(), copy.deepcopy(case.net).double()
    for size in (case.peer.size, case.peer.odd) if case.name in GRAPHS else (case.peer.odd,):
        x = pictures(size, torch.float64)
        found = ours(net, case.peer.inner[1], x)
        compare(f"{case.name} at {size} in fp64", case.expected(x, module), found, 1e-9)


def test_the_file_written_back_gives_the_peer_the_same_answer_bit_for_bit(case: Case):
    classes = 1000 if case.peer.classes == 1001 else case.peer.classes
    state = case.module.state_dict()
    if classes != case.peer.classes:
        head = f"{case.peer.classifier}."
        state = {name: value[1:] if name.startswith(head) else value for name, value in state.items()}
    before, after = case.peer.make(classes).eval(), case.peer.make(classes).eval()
    before.load_state_dict(state, strict=True)
    back = case.path.with_name("back.pth")
    convert(case.path, back, to=case.peer.to)
    after.load_state_dict(torch.load(back, weights_only=True), strict=True)
    x = pictures(case.peer.odd)
    expected, found = answers(case.peer, before, x), answers(case.peer, after, x)
    back.unlink()
    assert {name: torch.equal(value, found[name]) for name, value in expected.items()} == dict.fromkeys(expected, True)


def written(module: nn.Module, path: Path, kind: str) -> Path:
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("name", ["inception_v3", "inception_resnet_v2"])
def test_timms_own_way_to_drop_the_background_class_gives_our_answer(name, tmp_path):
    """Its older files have 1001 classes; it cuts the first rows off by the `label_offset` of its config."""
    timm = pytest.importorskip("timm")
    peer, path = PEERS[f"timm {name}"], tmp_path / "older.pth"
    torch.save(randomised(peer.make(1001)).state_dict(), path)
    overlay = {"file": str(path), "label_offset": 1, "num_classes": 1000}
    theirs = timm.create_model(f"{name}.tf_in1k", pretrained=True, pretrained_cfg_overlay=overlay).eval()
    net = inceptory.load(path)
    for size, dtype, within in ((peer.size, torch.float32, 1e-5), (peer.odd, torch.float64, 1e-9)):
        x = pictures(size, dtype)
        expected = answers(peer, theirs.to(dtype), x)
        assert expected["logits"].shape == (2, 1000)
        compare(f"timm {name} of 1001 classes at {size}", expected, ours(net.to(dtype), peer.inner[1], x), within)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("torchvision inception_v3 with aux", ("zip", "legacy")),
        ("timm inception_v4", ("zip", "safetensors")),
        ("timm xception41", ("zip", "safetensors")),
    ],
)
def test_every_kind_of_file_of_the_same_weights_gives_the_same_answer_bit_for_bit(name, kinds, tmp_path):
    module = randomised(PEERS[name].make(PEERS[name].classes))
    endings = {"zip": "pth", "legacy": "pth", "safetensors": "safetensors"}
    nets = [inceptory.load(written(module, tmp_path / f"{kind}.{endings[kind]}", kind)) for kind in kinds]
    x = pictures(ODD)
    with torch.inference_mode():
        first, second = (net(x) for net in nets)
    assert torch.equal(first, second)


@pytest.mark.parametrize("matrices", [False, True])
def test_a_published_xception_file_of_cadene_calls_its_head_fc(matrices, tmp_path):
    module = randomised(PEERS["cadene xception"].make(1000))
    state = {name.replace("last_linear", "fc"): value for name, value in module.state_dict().items()}
    if matrices:
        # The older file, whose owners unsqueeze its pointwise kernels before they load it.
        state = {name: value[:, :, 0, 0] if "pointwise" in name else value for name, value in state.items()}
    torch.save(state, tmp_path / "xception.pth")
    x = pictures(ODD)
    with torch.inference_mode():
        compare(
            "cadene xception, head fc",
            {"logits": module(x)},
            {"logits": inceptory.load(tmp_path / "xception.pth")(x)},
            1e-5,
        )
