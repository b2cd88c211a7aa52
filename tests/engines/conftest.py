"""A small network that is not trained, open, on a quiet machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines import machine
from inceptory.nets.network import create
from inceptory.weights.card import Card
from inceptory.weights.model import open_model

PREPROCESS = Preprocess(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small fresh network of three classes that knows its preprocessing."""
    torch.manual_seed(0)
    net = create("cifar_inception_v1", width=0.25, classes=3)
    path = tmp_path_factory.mktemp("engines") / "net.safetensors"
    inceptory.save(net, path, Card.of(net.plan, labels=("a", "b", "c"), preprocess=PREPROCESS))
    return path


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It, open, on a quiet machine with an empty cache."""
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "busy", lambda: False)
    with open_model(checkpoint) as opened:
        yield opened
