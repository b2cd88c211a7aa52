"""What a person means by a model: a checkpoint, a run folder, anybody's weight file, a published name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inceptory.data.imagenet import labels
from inceptory.data.preprocess import Preprocess
from inceptory.errors import DataError
from inceptory.nets.catalogue import catalogue
from inceptory.weights.card import KEY, Card, read_card, read_header
from inceptory.weights.certificate import identify_weights
from inceptory.weights.formats import open_weights
from inceptory.weights.identify import Identity
from inceptory.weights.published import Published, published, record

IMAGENET_ORIGINS = ("torchvision", "timm", "cadene", "keras")
"""Packages whose files with 1000 classes are ImageNet's."""


@dataclass(frozen=True)
class Resolved:
    """A file, and the record of it where it was meant by its published name."""

    path: Path
    record: Published | None = None

    @property
    def preprocess(self) -> Preprocess | None:
        """What the record says is done to pictures."""
        return self.record.preprocess if self.record else None


def resolve(model: Path | str, weights: Path | str | None = None) -> Resolved:
    """The file behind a path or a published name, fetched if need be; `weights` is a copy fetched by hand.

    Raises UnknownName for a published name that does not exist, MissingError where nothing can be had.
    """
    path, name = Path(model), str(model)
    if path.is_dir():
        return Resolved(path / "model.safetensors")
    if path.exists() or not _is_published_name(name):
        return Resolved(path)
    found = record(name)
    if not found.readable:
        raise DataError(f"{name}: cannot be read yet, {found.why_not} (inceptory weights lists those that can)")
    if weights is not None:
        return Resolved(Path(weights), found)
    from inceptory.weights.download import fetch

    return Resolved(fetch(found), found)


def _is_published_name(name: str) -> bool:
    return name in published() or ("." in name and name.split(".")[0] in catalogue())


def is_ours(path: Path | str) -> bool:
    """Whether a file is a checkpoint of ours; raises MissingError where it cannot be read."""
    try:
        metadata = read_header(path).get("__metadata__")
    except DataError:
        return False
    return isinstance(metadata, dict) and KEY in metadata


def card_of(meant: Resolved) -> Card:
    """The card of a checkpoint; for another package's file one made of what is known of that package."""
    if is_ours(meant.path):
        return read_card(meant.path)
    dialect = meant.record.dialect if meant.record else None
    with open_weights(meant.path) as weights:
        return card_from(meant, identify_weights(weights, dialect=dialect))


def card_from(meant: Resolved, identity: Identity) -> Card:
    """The card of another package's file that has been identified."""
    origin = identity.origin
    names = labels() if identity.plan.classes == 1000 and origin.name in IMAGENET_ORIGINS else ()
    steps = meant.preprocess or origin.preprocess
    known = {"origin": origin.name, "file": meant.path.name}
    return Card.of(identity.plan, labels=names, preprocess=steps, data=known)
