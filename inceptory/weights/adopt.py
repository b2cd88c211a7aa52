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

from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError, Doubt
from inceptory.nets.network import Network, empty
from inceptory.version import __version__
from inceptory.weights.files.formats import Weights, open_weights
from inceptory.weights.identify import Identity, classifies, shapes_of
from inceptory.weights.published.records import find
from inceptory.weights.resolve import Resolved, card_from, is_ours, recognise, resolve
from inceptory.weights.store import load as load_own
from inceptory.weights.view import view


def load(
    model: Path | str | Resolved,
    *,
    name: str | None = None,
    dialect: str | None = None,
    preprocess: Preprocess | None = None,
    classes: int | None = None,
    raw: bool = False,
) -> Network:
    """The network behind a path or a published name, in eval mode, with its card in `net.card`.

    Our own checkpoint answers bit for bit as it did when it was saved. Files of torchvision, timm,
    Keras, Cadene's pretrained-models, facenet-pytorch and pytorch-fid are recognised by their tensors;
    `name` (a network or a published name), `dialect` and `preprocess` settle what tensors cannot tell.
    A published name is downloaded once. `classes` asks for a new head, whatever the file has: fresh
    classifiers from torch's global generator, as `Network.reset_classifier` puts them in.
    Of a trainer's checkpoint with averaged weights these are taken, or with `raw` the others. Raises
    MissingError, or DataError that lists what does not fit; nothing in a file is ever executed.

        net = inceptory.load("runs/flowers")
        net = inceptory.load("inception_v3_google-0cc3c7bd.pth")
        net = inceptory.load("inception_v3.tf_in1k")
        net = inceptory.load("inception_v3.tf_in1k", classes=5)     # a backbone to be trained further
    """
    meant = model if isinstance(model, Resolved) else resolve(model, raw=raw)
    like = None if name is None else find(name)
    if like is not None:
        # A file trained further from a published one: prepared as that, with other bytes.
        name, dialect, preprocess = like.architecture, dialect or like.dialect, preprocess or like.preprocess
    net = load_own(meant.path) if is_ours(meant.path) else adopt(meant, name, dialect, preprocess)
    if classes is not None:
        net.reset_classifier(classes)
        net.eval()
    return net


def load_with_new_head(model: Path | str, classes: int, *, raw: bool = False) -> Network:
    """`load(model, classes=classes)` with the same fresh values each time; nobody else's draws are disturbed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return load(model, classes=classes, raw=raw)


def adopt(meant: Resolved, name: str | None, dialect: str | None, preprocess: Preprocess | None) -> Network:
    """The network of another package's file; warns where its names leave its preprocessing open."""
    with open_weights(meant.path, raw=meant.raw) as weights:
        meant, identity = recognise(meant, weights, name, dialect, settled=preprocess is not None)
        net = empty(identity.plan)
        net.load_state_dict(dict(_tensors(weights, identity)), assign=True)
        weights.require_unchanged()
    for note in identity.notes:
        told = f"{meant.path}: {note} (prepare pictures and read answers accordingly)"
        warnings.warn(told, Doubt, stacklevel=3)
    card = card_from(meant, identity)
    net.card = replace(card, preprocess=preprocess or card.preprocess, versions={"inceptory": __version__})
    return net.eval()


def _tensors(weights: Weights, identity: Identity) -> Iterator[tuple[str, Tensor]]:
    inside = view(weights)
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
    # A sum is finite only if every value is, and needs no second array to find out.
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise DataError(f"{what} values that are no finite numbers (take another copy)")
