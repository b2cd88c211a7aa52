"""Weights and a picture by formula: whoever knows a tensor's name and shape can make it again."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def tensor(name: str, shape: tuple[int, ...]) -> Array:
    """He-normal kernels, norms whose every statistic matters; seeded by the name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if name.endswith((".running_var", ".weight")):
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    return rng.normal(0, 0.1, shape).astype(np.float32)


def keras_tensor(name: str, shape: tuple[int, ...]) -> Array:
    """The same for a variable of Keras, "conv2d_3/kernel", whose kernels have the outputs last."""
    role = name.rsplit("/", 1)[1]
    if len(shape) > 1:
        inputs = shape[:2] if role == "depthwise_kernel" else shape[:-1]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(inputs)))
    return tensor(f"{name}.running_var" if role in ("gamma", "moving_variance") else name, shape)


def picture(size: int) -> Array:
    """One picture, (1, 3, size, size), every value an exact step of 1/128 in [-1, 1)."""
    channel, row, column = np.ogrid[:3, :size, :size]
    steps = (row * (7 + channel) + column * (11 + 2 * channel) + row * column) % 256
    return ((steps - 128) / 128).astype(np.float32)[None]


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """SHA-256 over sorted lines of name and shape."""
    lines = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
