"""What a person means by a model: a checkpoint, a run folder, anybody's weight file, a published name."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from inceptory.data.imagenet import labels
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError, Doubt, UsageError
from inceptory.nets.catalogue import catalogue
from inceptory.system.files import exists, is_folder
from inceptory.weights.card import KEY, Card, read_card, read_metadata
from inceptory.weights.certificate import alternatives, identify_weights
from inceptory.weights.files.formats import Weights, open_weights
from inceptory.weights.files.tf_checkpoint import index_of
from inceptory.weights.hub_config import FILES
from inceptory.weights.identify import Identity
from inceptory.weights.published.records import Published, by_hash, find, record

IMAGENET_ORIGINS = ("torchvision", "timm", "cadene", "keras", "slim", "caffe")
"""Packages whose files with 1000 classes are ImageNet's."""


@dataclass(frozen=True)
class Resolved:
    """A file, and the record of it where it was meant by its published name."""

    path: Path
    record: Published | None = None
    raw: bool = False
    """Whether a trainer's weights as they are are meant, and not the average beside them."""

    @property
    def preprocess(self) -> Preprocess | None:
        """What the record says is done to pictures."""
        return self.record.preprocess if self.record else None


def resolve(model: Path | str, weights: Path | str | None = None, *, raw: bool = False) -> Resolved:
    """The file behind a path or a published name, fetched if need be; `weights` is a copy fetched by hand.

    Raises UnknownName for a published name that does not exist, MissingError where nothing can be had,
    UsageError for a copy of what has no published name.
    """
    path, name = index_of(Path(model)), str(model)
    here = exists(path) or not _is_published_name(name)
    if here and weights is not None:
        raise UsageError(f"--weights {weights}: {name} is no published name (give the file itself as the model)")
    if here:
        return Resolved(_inside(path) if is_folder(path) else path, raw=raw)
    found = record(name)
    if not found.readable:
        raise DataError(f"{name}: cannot be read yet, {found.why_not} (inceptory weights lists those that can)")
    if weights is not None:
        return Resolved(index_of(Path(weights)), found, raw)
    from inceptory.weights.published.download import fetch

    return Resolved(fetch(found), found, raw)


def _inside(folder: Path) -> Path:
    """The weights in a folder of a run, or in one that timm wrote."""
    there = [folder / file for file in FILES if (folder / file).exists()]
    return there[0] if there else folder / FILES[0]


def _is_published_name(name: str) -> bool:
    return find(name) is not None or ("." in name and name.split(".")[0] in catalogue())


def is_ours(path: Path | str) -> bool:
    """Whether a file is a checkpoint of ours; raises MissingError where it cannot be read."""
    try:
        return KEY in read_metadata(path)
    except DataError:
        return False


def card_of(meant: Resolved) -> Card:
    """The card of a checkpoint; for another package's file one made of what is known of that package."""
    if is_ours(meant.path):
        return read_card(meant.path)
    with open_weights(meant.path, raw=meant.raw) as weights:
        return card_from(*recognise(meant, weights))


def recognise(
    meant: Resolved, weights: Weights, name: str | None = None, dialect: str | None = None, *, settled: bool = False
) -> tuple[Resolved, Identity]:
    """What an open file is, by its record where it was meant by a published name, else by its hash.

    `settled` says that the caller knows the preprocessing: then nobody need be warned. Raises
    DataError where the file is not the published one.
    """
    if meant.record is not None:
        identity = identify_weights(weights, meant.record.architecture, dialect or meant.record.dialect)
        _check_classes(weights, meant.record, identity)
        _check_hash(weights, meant.record)
        return meant, identity
    identity = identify_weights(weights, name, dialect)
    if identity.origin.twins and not (dialect or settled):
        return replace(meant, record=_twin(weights, identity)), identity
    return meant, identity


def _check_hash(weights: Weights, record: Published) -> None:
    declared = record.declared
    if declared is not None and (wrong := declared.wrong(weights.digest(declared.algorithm))):
        raise DataError(f"{weights.path}: not {record.name}, {wrong} (give it as a path, without that name)")


def _check_classes(weights: Weights, record: Published, identity: Identity) -> None:
    found = identity.plan.classes + identity.background
    if record.classes is not None and found != record.classes:
        told = f"not {record.name}, its classifier has {found} classes and not {record.classes}"
        raise DataError(f"{weights.path}: {told} (give it as a path, without that name)")


def _twin(weights: Weights, identity: Identity) -> Published | None:
    """Files that share names and graph are told apart by their published hash; warns where that fails."""
    found = by_hash(weights.digest("sha256"))
    if others := alternatives(identity.origin, found):
        read = found.origin if found else identity.origin.name
        told = f"{weights.path}: read as {read}'s; others have the same names and graph: {', '.join(others)}"
        # The fifth caller from here is the one of `inceptory.load`.
        warnings.warn(f"{told} (say name= or preprocess= to settle it)", Doubt, stacklevel=5)
    return found


def card_from(meant: Resolved, identity: Identity) -> Card:
    """The card of another package's file that has been identified."""
    origin = identity.origin
    imagenet = identity.plan.classes == 1000 and origin.name in IMAGENET_ORIGINS
    names = identity.labels or (labels() if imagenet else ())
    steps = meant.preprocess or identity.preprocess
    known = {"origin": origin.name, "file": meant.path.name}
    if identity.remarks:
        known["read"] = "; ".join(identity.remarks)
    return Card.of(identity.plan, labels=names, preprocess=steps, data=known)
