"""A CIFAR-10 of few pictures, as parquet."""

from __future__ import annotations

from pathlib import Path

from inceptory.data.sources.built_in import CIFAR10
from tests.data.parquet_files import store
from tests.data.pictures import encoded, noise

TRAIN, TEST = 40, 20


def written(root: Path, kind: str = "PNG", train: int = TRAIN) -> Path:
    """Write it below a folder for $INCEPTORY_DATA, which is returned."""
    for split, count in (("train", train), ("test", TEST)):
        pictures = [encoded(noise(32, 32, seed=count + row), kind) for row in range(count)]
        labels = [row % len(CIFAR10) for row in range(count)]
        store(root / "cifar10" / f"{split}.parquet", labels, pictures, names=list(CIFAR10))
    return root
