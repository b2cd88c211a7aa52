"""An open model's tensors as arrays under the names of our network, each checked. Without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.errors import DataError
from inceptory.nets.catalogue import Plan
from inceptory.weights.card import KEY
from inceptory.weights.files.formats import Weights
from inceptory.weights.identify import Identity, classifies, shapes_of
from inceptory.weights.seal import bits, require_sealed
from inceptory.weights.view import View

NAMES_SHOWN = 5


def own_arrays(weights: Weights, plan: Plan) -> dict[str, NDArray[Any]]:
    """Those of our open checkpoint, bfloat16 as float32, checked against the digest of its card where it has one.

    Raises DataError naming what does not fit.
    """
    _check_shapes(weights.path, plan, {name: entry.shape for name, entry in weights.entries.items()})
    arrays = {name: weights.read(name, None) for name in weights.entries}
    dtypes = {name: entry.dtype for name, entry in weights.entries.items()}
    stored = ((name, dtypes[name], array.shape, bits(array, dtypes[name])) for name, array in arrays.items())
    require_sealed(weights.path, weights.metadata[KEY], stored)
    _check_values(weights.path, arrays, sorted(set(dtypes.values())))
    return arrays


def adopted_arrays(weights: Weights, inside: View, identity: Identity) -> Iterator[tuple[str, NDArray[Any]]]:
    """Those of another package's file, one after the other; raises DataError for what are no finite numbers."""
    for ours, shape in shapes_of(identity.plan).items():
        if ours in identity.match.filled:
            yield ours, np.full(shape, identity.match.filled[ours], dtype=np.float32)
            continue
        array = inside.read(identity.match.pairs[ours])
        _check_adopted(weights, identity.match.pairs[ours], array)
        if identity.background and classifies(ours):
            array = array[1:]
        yield ours, np.ascontiguousarray(array.reshape(shape))


def _check_adopted(weights: Weights, name: str, array: NDArray[Any]) -> None:
    what = f"{weights.path}: tensor {name} holds"
    if array.dtype.kind != "f":
        raise DataError(f"{what} {array.dtype} and no floating point numbers (take another copy)")
    if not _finite(array):
        raise DataError(f"{what} NaN or infinite values (take another copy)")


def _check_values(path: Path, arrays: Mapping[str, NDArray[Any]], dtypes: list[str]) -> None:
    """Every tensor holds finite numbers, all of one type, as those of a network do."""
    if len(dtypes) != 1 or any(array.dtype.kind != "f" for array in arrays.values()):
        raise DataError(
            f"{path}: tensors of type {', '.join(dtypes)}, not of one floating point type (restore it from a copy)"
        )
    bad = next((name for name, array in arrays.items() if not _finite(array)), None)
    if bad is not None:
        raise DataError(f"{path}: tensor {bad} holds NaN or infinite values (restore it from a copy)")


def _finite(array: NDArray[Any]) -> bool:
    # A sum is finite only if every value is, and unlike a test of each value it needs no second array.
    return bool(np.isfinite(array.sum(dtype=np.float64)))


def _check_shapes(path: Path, plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes are a bijection with the network's, or an error that lists both sides."""
    expected = shapes_of(plan)
    if shapes == expected:
        return
    missing = [name for name in expected if name not in shapes]
    surplus = [name for name in shapes if name not in expected]
    reshaped = [name for name in expected if name in shapes and shapes[name] != expected[name]]
    parts = ((missing, "missing"), (surplus, "surplus"), (reshaped, "of another shape"))
    problem = "; ".join(f"{len(names)} {what}: {', '.join(names[:NAMES_SHOWN])}" for names, what in parts if names)
    raise DataError(f"{path}: tensors do not fit {plan.architecture}, {problem} (restore it from a copy)")
