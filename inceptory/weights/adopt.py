"""A network out of an open model's tensors: our checkpoint's as they are, another package's by their pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.errors import DataError
from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Network, empty
from inceptory.version import __version__
from inceptory.weights.card import Card
from inceptory.weights.files.formats import Weights
from inceptory.weights.identify import Identity, classifies, shapes_of
from inceptory.weights.store import own_tensors
from inceptory.weights.view import View


def own(weights: Weights, card: Card, plan: Plan) -> Network:
    """The network of our checkpoint, in eval mode: it answers bit for bit as the saved one did."""
    return _filled(weights, card, plan, own_tensors(weights, plan))


def adopted(weights: Weights, inside: View, identity: Identity, card: Card) -> Network:
    """The network of another package's file, in eval mode."""
    card = replace(card, versions={"inceptory": __version__})
    return _filled(weights, card, identity.plan, dict(_tensors(weights, inside, identity)))


def with_new_head(net: Network, classes: int, *, seeded: bool = False) -> Network:
    """A network with a fresh classifier, in eval mode.

    `seeded` gives the same one each time, and leaves torch's global generator as it was.
    """
    with torch.random.fork_rng(devices=(), enabled=seeded):
        if seeded:
            torch.manual_seed(0)
        net.reset_classifier(classes)
        net.eval()
    return net


def _filled(weights: Weights, card: Card, plan: Plan, tensors: dict[str, Tensor]) -> Network:
    net = empty(plan)
    net.load_state_dict(tensors, assign=True)
    weights.require_unchanged()
    net.card = card
    return net.eval()


def _tensors(weights: Weights, inside: View, identity: Identity) -> Iterator[tuple[str, Tensor]]:
    for ours, shape in shapes_of(identity.plan).items():
        if ours in identity.match.filled:
            yield ours, torch.full(shape, identity.match.filled[ours])
            continue
        array = inside.read(identity.match.pairs[ours])
        _check_values(weights, identity.match.pairs[ours], array)
        if identity.background and classifies(ours):
            array = array[1:]
        yield ours, torch.from_numpy(np.ascontiguousarray(array.reshape(shape)))


def _check_values(weights: Weights, name: str, array: NDArray[Any]) -> None:
    what = f"{weights.path}: tensor {name} holds"
    if array.dtype.kind != "f":
        raise DataError(f"{what} {array.dtype} and no floating point numbers (take another copy)")
    # A sum is finite only if every value is, and unlike a test of each value it needs no second array.
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise DataError(f"{what} NaN or infinite values (take another copy)")
