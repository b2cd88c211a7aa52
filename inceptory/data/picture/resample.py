"""Bilinear sampling at points, as packages do it that shrink a picture without smoothing it first.

Pillow averages over every pixel that a new one covers. PyTorch's F.interpolate without antialias and
TensorFlow 1's resize_bilinear look at four pixels, however much they shrink, and at other four each.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Grid = Literal["half_pixel", "asymmetric"]
"""Where new pixels lie among the old ones, in ONNX' words. half_pixel: centre upon centre.
asymmetric: source = destination * old / new, TensorFlow 1's grid, a little up and to the left."""
GRIDS: tuple[Grid, ...] = get_args(Grid)


def positions(old: int, new: int, grid: Grid) -> NDArray[np.float64]:
    """Where along a side of `old` pixels each of `new` pixels is read; 0 is the middle of the first one."""
    steps = np.arange(new, dtype=np.float64)
    places = (steps + 0.5) * (old / new) - 0.5 if grid == "half_pixel" else steps * (old / new)
    # Beyond the outermost centres the edge goes on.
    return places.clip(0, old - 1)


def bilinear(pixels: NDArray[np.uint8], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) read at h rows and w columns: (h, w) or (h, w, C), rounded to whole levels.

    Memory follows the result, not the picture.
    """
    above, below, down = _neighbours(rows, pixels.shape[0])
    left, right, across = _neighbours(columns, pixels.shape[1])
    channels = (1,) * (pixels.ndim - 2)
    across, down = across.reshape(1, -1, *channels), down.reshape(-1, 1, *channels)
    upper, lower = (_mix(pixels[y[:, None], left], pixels[y[:, None], right], across) for y in (above, below))
    return np.rint(_mix(upper, lower, down)).astype(np.uint8)


def _neighbours(at: NDArray[np.float64], length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The pixel before each position, the one after it, and the share of the latter."""
    before = at.astype(np.intp)
    return before, np.minimum(before + 1, length - 1), (at - before).astype(np.float32)


def _mix(
    one: NDArray[np.uint8 | np.float32], other: NDArray[np.uint8 | np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    first = one.astype(np.float32, copy=False)
    return first + (other - first) * share
