"""A small network with classes and preprocessing, to be exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.weights.card import Card

TARGETS = ("onnx", "openvino", "torch-export")
CLASSES = ("cat", "<b>dog", "鸟\x85")
PREPROCESS = Preprocess(size=32, resize=36, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def saved(path: Path, preprocess: Preprocess | None = PREPROCESS, seed: int = 0, **card: object) -> Path:
    """The checkpoint of a network whose answers differ from picture to picture."""
    import torch

    torch.manual_seed(seed)
    channels = 3 if preprocess is None else len(preprocess.mean)
    net = inceptory.create("cifar_inception_v2", classes=3, in_channels=channels, width=0.25).eval()
    with torch.no_grad():
        net.head.classifier.weight.mul_(5)
    inceptory.save(net, path, replace(Card.of(net.plan, labels=CLASSES, preprocess=preprocess), **card))
    return path
