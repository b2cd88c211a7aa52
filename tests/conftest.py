"""Small data and one trained checkpoint that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


def paint(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """A noisy picture of one colour, 40 x 36."""
    noise = np.random.default_rng(seed).integers(-30, 30, (36, 40, 3))
    Image.fromarray((np.asarray(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three class folders with 24 pictures each."""
    root = tmp_path_factory.mktemp("colours")
    for label, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir()
        for i in range(24):
            paint(root / name / f"{i}.png", colour, seed=100 * label + i)
    return root


@pytest.fixture(scope="session")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `colours`."""
    from inceptory import Recipe, Variant, train

    folder = tmp_path_factory.mktemp("runs") / "colours"
    train(
        str(colours),
        model="cifar_inception_v2",
        out=folder,
        variant=Variant(width=0.25),
        recipe=Recipe(epochs=12, batch=16, lr=0.02, precision="fp32"),
    )
    return folder


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder of CIFAR-10 as parquet, where the machine has it."""
    root = os.environ.get("INCEPTORY_DATA")
    if not root or not (Path(root) / "cifar10" / "train.parquet").is_file():
        pytest.skip("CIFAR-10 is not here: INCEPTORY_DATA names no folder with cifar10/train.parquet in it")
    return Path(root) / "cifar10"
