"""Record what other packages answer, for the proof that needs them no more.

    python -m tests.golden.record

Run by hand from the root of the repository, in the environment of `make peers`; writes answers.json
beside this file. Run it again only when a package changes its answers, and read the difference.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.golden.rule import digest, picture, tensor
from tests.peers.proof import Peer, answers
from tests.peers.torch_peers import PEERS

PLACE = Path(__file__).with_name("answers.json")
PACKAGES = ("torch", "torchvision", "timm", "pretrainedmodels", "facenet-pytorch", "torch-fidelity")
SHOWN = 8


def digits(values: torch.Tensor) -> list[float]:
    """Seven significant digits are what float32 holds."""
    return [float(f"{value:.6e}") for value in values.flatten().tolist()]


def record(peer: Peer) -> dict[str, Any]:
    """Names, shapes and answers of one network under the weights of the rule."""
    module = peer.make(peer.classes).eval()
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items() if value.ndim}
    state = {name: torch.from_numpy(tensor(name, shape)) for name, shape in shapes.items()}
    module.load_state_dict(state, strict=True)
    found = answers(peer, module, torch.from_numpy(picture(peer.least)))
    name = "logits" if peer.classes else "embedding"
    values = found[name][:, 1:] if peer.classes == 1001 else found[name]
    return {
        "to": peer.to,
        "classes": peer.classes,
        "size": peer.least,
        "tensors": len(shapes),
        "digest": digest(shapes),
        "answer": name,
        "largest": digits(values.abs().max())[0],
        "first": digits(values[0, :SHOWN]),
    }


def main() -> None:
    versions = {name: version(name) for name in PACKAGES}
    networks = {name: record(peer) for name, peer in PEERS.items()}
    content = {"versions": versions, "networks": networks}
    PLACE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
