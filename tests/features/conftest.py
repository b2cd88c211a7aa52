"""A tiny backbone, a few pictures of two classes, and a cache folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from inceptory.features import extract
from inceptory.weights.card import Card
from inceptory.weights.store import save
from tests.conftest import paint
from tests.weights.checkpoints import STEPS, small


@pytest.fixture(autouse=True)
def kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where vectors are kept in this test."""
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INCEPTORY_CACHE_LIMIT", raising=False)
    # What fills a batch up costs as much as pictures do.
    monkeypatch.setitem(extract.BATCH, "cpu", 4)
    return tmp_path / "cache" / "features"


def backbone(path: Path, name: str = "cifar_inception_v1", preprocess=STEPS, **options) -> Path:
    """A checkpoint of a tiny network that knows how its pictures are prepared."""
    net = small(name, **options)
    save(net, path, Card.of(net.plan, labels=("a", "b", "c"), preprocess=preprocess))
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network's checkpoint."""
    return backbone(tmp_path_factory.mktemp("backbone") / "model.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three red and two blue pictures in class folders."""
    root = tmp_path / "photos"
    for name, colour, count in (("red", (210, 50, 40), 3), ("blue", (40, 60, 200), 2)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            paint(root / name / f"{i}.png", colour, seed=10 * len(name) + i)
    return root
