"""A network out of another package's file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory import files
from inceptory.data.preprocess import Preprocess
from inceptory.errors import DataError
from inceptory.nets.network import Network, empty
from inceptory.version import __version__
from inceptory.weights.certificate import identify_weights
from inceptory.weights.formats import Weights, open_weights
from inceptory.weights.identify import Identity, shapes_of
from inceptory.weights.published import by_hash, published, record
from inceptory.weights.resolve import Resolved, card_from, is_ours, resolve
from inceptory.weights.store import load as load_own
from inceptory.weights.view import view


def load(
    model: Path | str,
    *,
    name: str | None = None,
    dialect: str | None = None,
    preprocess: Preprocess | None = None,
) -> Network:
    """The network behind a path or a published name, in eval mode, with its card in `net.card`.

    Our own checkpoint answers bit for bit as it did when it was saved. Files of torchvision, timm,
    Keras, Cadene's pretrained-models, facenet-pytorch and pytorch-fid are recognised by their tensors;
    `name` (a network or a published name), `dialect` and `preprocess` settle what tensors cannot tell.
    A published name is downloaded once. Raises MissingError, or DataError that lists what does not
    fit; nothing in a file is ever executed.

        net = inceptory.load("runs/flowers")
        net = inceptory.load("inception_v3_google-0cc3c7bd.pth")
        net = inceptory.load("inception_v3.tf_in1k")
    """
    meant = resolve(model)
    if name is not None and name in published():
        meant = Resolved(meant.path, record(name))
    if is_ours(meant.path):
        return load_own(meant.path)
    architecture = meant.record.architecture if meant.record else name
    dialect = dialect or (meant.record.dialect if meant.record else None)
    return adopt(meant, architecture, dialect, preprocess)


def adopt(meant: Resolved, name: str | None, dialect: str | None, preprocess: Preprocess | None) -> Network:
    """The network of another package's file; warns where its names leave its preprocessing open."""
    path = meant.path
    with open_weights(path) as weights:
        identity = identify_weights(weights, name, dialect)
        if identity.origin.twins and not (dialect or preprocess or meant.record):
            meant = _settled(path, identity)
        net = empty(identity.plan)
        net.load_state_dict(dict(_tensors(weights, identity)), assign=True)
    for note in identity.notes:
        warnings.warn(f"{path}: {note} (prepare pictures and read answers accordingly)", stacklevel=3)
    card = card_from(meant, identity)
    net.card = replace(card, preprocess=preprocess or card.preprocess, versions={"inceptory": __version__})
    return net.eval()


def _settled(path: Path, identity: Identity) -> Resolved:
    """Files that share names and graph are told apart by their published hash; warns where that fails."""
    found = by_hash(files.sha256(path))
    if found is None:
        others = ", ".join(identity.origin.twins)
        told = f"{path}: read as {identity.origin.name}'s; {others} have the same names and graph"
        warnings.warn(f"{told} (say name=, dialect= or preprocess= to settle it)", stacklevel=4)
    return Resolved(path, found)


def _tensors(weights: Weights, identity: Identity) -> Iterator[tuple[str, Tensor]]:
    inside = view(weights)
    for ours, shape in shapes_of(identity.plan).items():
        if ours in identity.match.filled:
            yield ours, torch.full(shape, identity.match.filled[ours])
            continue
        array = inside.read(identity.match.pairs[ours])
        _check_finite(weights, identity.match.pairs[ours], array)
        if identity.background and ours.startswith("head.classifier."):
            array = array[1:]
        yield ours, torch.from_numpy(np.ascontiguousarray(array.reshape(shape)))


def _check_finite(weights: Weights, name: str, array: NDArray[Any]) -> None:
    # A sum is finite only if every value is, and needs no second array to find out.
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise DataError(f"{weights.path}: tensor {name} holds values that are no finite numbers (take another copy)")
