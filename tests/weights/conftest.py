"""A small checkpoint that several files of tests damage."""

from __future__ import annotations

import pytest

from inceptory.weights.card import Card
from inceptory.weights.store import save
from tests.weights.checkpoints import STEPS, small


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(network, content of its file)."""
    path = tmp_path_factory.mktemp("saved") / "a.safetensors"
    net = small()
    save(net, path, Card.of(net.plan, labels=("cat", "dog", "fox"), preprocess=STEPS))
    return net, path.read_bytes()


@pytest.fixture
def path(saved, tmp_path):
    """A fresh copy of a good file."""
    (tmp_path / "a.safetensors").write_bytes(saved[1])
    return tmp_path / "a.safetensors"
