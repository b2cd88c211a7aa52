"""The small backbone and its cache of the neighbouring tests, and pictures as paths and as an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.learn.transfer.conftest import backbone, own_cache

__all__ = ["backbone", "own_cache"]


@pytest.fixture(scope="session")
def paths(colours: Path) -> list[str]:
    """30 pictures, ten of each colour."""
    return [str(path) for folder in sorted(colours.iterdir()) for path in sorted(folder.iterdir())[:10]]


@pytest.fixture(scope="session")
def names(paths: list[str]) -> list[str]:
    return [Path(path).parent.name for path in paths]


@pytest.fixture(scope="session")
def pixels(paths: list[str]) -> np.ndarray:
    """(30, 36, 40, 3)."""
    return np.stack([np.asarray(Image.open(path)) for path in paths])
