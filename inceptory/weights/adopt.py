"""A network out of an open model's tensors: our checkpoint's as they are, another package's by their pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Network, empty
from inceptory.version import __version__
from inceptory.weights.arrays import adopted_arrays, own_arrays
from inceptory.weights.card import Card
from inceptory.weights.files.formats import Weights
from inceptory.weights.identify import Identity
from inceptory.weights.view import View


def own(weights: Weights, card: Card, plan: Plan) -> Network:
    """The network of our checkpoint, in eval mode: it answers bit for bit as the saved one did."""
    # Copied into torch's own memory: kernels sum in another order where a tensor does not begin on a
    # boundary, and the answer would not be bit for bit the saved network's.
    tensors = {
        name: torch.tensor(array).to(getattr(torch, weights.entries[name].dtype))
        for name, array in own_arrays(weights, plan).items()
    }
    return _filled(weights, card, plan, tensors)


def adopted(weights: Weights, inside: View, identity: Identity, card: Card) -> Network:
    """The network of another package's file, in eval mode."""
    card = replace(card, versions={"inceptory": __version__})
    tensors = {name: torch.from_numpy(array) for name, array in adopted_arrays(weights, inside, identity)}
    return _filled(weights, card, identity.plan, tensors)


def network_of(plan: Plan, arrays: Mapping[str, NDArray[Any]]) -> Network:
    """The network of this plan with copies of these tensors, in eval mode."""
    return _made(plan, {name: torch.tensor(array) for name, array in arrays.items()})


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
    net = _made(plan, tensors)
    weights.require_unchanged()
    net.card = card
    return net


def _made(plan: Plan, tensors: dict[str, Tensor]) -> Network:
    net = empty(plan)
    net.load_state_dict(tensors, assign=True)
    return net.eval()
