"""A small backbone with weights that tell colours apart, and a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import inceptory
from inceptory.data.picture.preprocess import Preprocess


@pytest.fixture(scope="package", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("INCEPTORY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 7 classes with fresh weights, whose card knows how pictures are prepared."""
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v3", classes=7, width=0.25)
    card = inceptory.Card.of(net.plan, preprocess=Preprocess(size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3))
    path = tmp_path_factory.mktemp("backbone") / "backbone.safetensors"
    inceptory.save(net.eval(), path, card)
    return path
