"""What a weight file is, told without torch and without reading its tensors."""

from __future__ import annotations

import json as json_text
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inceptory.errors import DataError, printable
from inceptory.weights.card import KEY, Card
from inceptory.weights.files.formats import Weights, open_weights
from inceptory.weights.files.source import quoted
from inceptory.weights.hub_config import with_config
from inceptory.weights.identify import Identity, identify, shapes_of
from inceptory.weights.keras.facts import settle
from inceptory.weights.origins.registry import Origin
from inceptory.weights.published.records import Published, by_hash, published
from inceptory.weights.seal import UNSEALED, bits, is_sealed, require_sealed
from inceptory.weights.view import view


@dataclass(frozen=True)
class Certificate:
    """What was found in a file, and where each of its tensors went."""

    file: str
    sha256: str
    format: str
    origin: str
    architecture: str
    dialect: str
    dialect_decided: str
    classes: int
    background_class: bool
    auxiliary_heads: bool
    preprocessing: str
    parameters: int
    matched: int
    filled: tuple[str, ...]
    dropped: tuple[str, ...]
    head: tuple[str, ...]
    """Tensors of a person's own head that is more than one linear layer: the backbone is loaded without."""
    published: str | None
    """Name of the published file that this one is, by its declared hash."""
    alternatives: tuple[str, ...]
    """Published files of the same names whose pictures are prepared in another way."""
    notes: tuple[str, ...]
    """What a person should know before trusting its answers."""
    remarks: tuple[str, ...]
    """How the file was read where that was not the plain way."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self.__dict__.items()}

    def __str__(self) -> str:
        background = ", background class dropped" if self.background_class else ""
        heads = ", with auxiliary heads" if self.auxiliary_heads else ""
        lines = [
            f"{self.file}",
            f"  format         {self.format}",
            f"  origin         {self.origin}",
            f"  network        {self.architecture}, {self.classes} classes{background}{heads}",
            f"  dialect        {self.dialect} ({self.dialect_decided})",
            f"  preprocessing  {self.preprocessing}",
            f"  tensors        {self.matched} matched, {_counted(self.filled, 'filled')}, "
            f"{_counted(self.dropped, 'dropped')}; {self.parameters:,} parameters",
            f"  sha256         {self.sha256}",
        ]
        if self.published:
            lines.append(f"  published as   {self.published}")
        if self.head:
            lines.append(f"  own head       not loaded, {_counted(self.head, 'tensors')}")
        if self.alternatives:
            lines.append(f"  same names     {', '.join(self.alternatives)}")
        lines += [f"  read           {remark}" for remark in self.remarks]
        lines += [f"  note           {note}" for note in self.notes]
        return "\n".join(map(printable, lines))


def _counted(names: tuple[str, ...], what: str) -> str:
    shown = f" ({', '.join(map(quoted, names[:3]))}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} {what}{shown}"


def inspect(path: Path | str, name: str | None = None, dialect: str | None = None, *, raw: bool = False) -> Certificate:
    """The certificate of a file; its names and shapes are compared, its tensors are not read."""
    with open_weights(path, raw=raw) as weights:
        if KEY in weights.metadata:
            return _own(weights)
        identity = identify_weights(weights, name, dialect)
        # A hash takes as long as the file is, so what is no weight file is refused before.
        digest = weights.digest("sha256")
        record = by_hash(digest, weights.digest("md5"))
        if record is not None and dialect is None:
            identity = identify_weights(weights, name, record.dialect)
        weights.require_unchanged()
        return _certificate(weights, identity, digest, record)


def _own(weights: Weights) -> Certificate:
    """The certificate of our own checkpoint, which says itself what it is."""
    card = Card.from_json(weights.metadata[KEY], str(weights.path))
    plan = card.plan()
    wanted, found = shapes_of(plan), {name: entry.shape for name, entry in weights.entries.items()}
    if wanted != found:
        told = f"tensors do not fit {plan.architecture} of its card"
        raise DataError(f"{weights.path}: {told} (restore it from a copy)")
    kinds = {name: entry.dtype for name, entry in weights.entries.items()}
    tensors = ((name, kind, found[name], bits(weights.read(name, None), kind)) for name, kind in kinds.items())
    require_sealed(weights.path, weights.metadata[KEY], tensors)
    return Certificate(
        file=str(weights.path),
        sha256=weights.digest("sha256"),
        format=weights.kind,
        origin="inceptory",
        architecture=plan.architecture,
        dialect=plan.dialect,
        dialect_decided="by its card",
        classes=plan.classes,
        background_class=False,
        auxiliary_heads=plan.aux,
        preprocessing=str(card.preprocess or "not known"),
        parameters=plan.numbers(stages=False)["parameters"],
        matched=len(found),
        filled=(),
        dropped=(),
        head=(),
        published=None,
        alternatives=(),
        notes=() if is_sealed(weights.metadata[KEY]) else (UNSEALED,),
        remarks=(),
    )


def identify_weights(weights: Weights, name: str | None = None, dialect: str | None = None) -> Identity:
    """Origin and network of an open file; see `identify`."""
    inside = view(weights)
    identity = identify(weights.path, inside.shapes, name, dialect)
    identity = with_config(replace(identity, remarks=(*weights.remarks, *identity.remarks)), weights.path)
    # A dialect that was asked for, or that a published file is known to have, stands.
    return identity if dialect else settle(weights, inside, identity, free=name is None)


def alternatives(origin: Origin, found: Published | None) -> tuple[str, ...]:
    """Names of the other published files that a file of this origin may be, `found` being the one of its hash.

    The same bytes may be published twice, for pictures that are prepared in two ways.
    """
    if found is None:
        return origin.twins
    same = {each.name for each in published().values() if each.declared == found.declared} - {found.name}
    return tuple(name for name in origin.twins if name in same)


def _certificate(weights: Weights, identity: Identity, digest: str, found: Published | None) -> Certificate:
    numbers = identity.plan.numbers(stages=False)
    return Certificate(
        file=str(weights.path),
        sha256=digest,
        format=weights.kind,
        origin=identity.origin.name,
        architecture=identity.plan.architecture,
        dialect=identity.plan.dialect,
        dialect_decided="by its published hash" if found else identity.decided,
        classes=identity.plan.classes,
        background_class=identity.background,
        auxiliary_heads=identity.plan.aux,
        preprocessing=str((found and found.preprocess) or identity.preprocess or "not known"),
        parameters=numbers["parameters"],
        matched=len(identity.match.pairs),
        filled=tuple(identity.match.filled),
        dropped=identity.match.dropped,
        head=identity.head,
        published=found.name if found else None,
        alternatives=alternatives(identity.origin, found),
        notes=identity.notes,
        remarks=identity.remarks,
    )


def verify(
    file: Path | str,
    /,
    *,
    name: str | None = None,
    dialect: str | None = None,
    raw: bool = False,
    json: bool = False,
) -> str:
    """Say what a weight file of any package is, and whether every tensor of it finds its place.

    Nothing in the file is executed; its tensors are not read.

    For example:

        inceptory verify inception_v3_google-0cc3c7bd.pth

        inceptory verify weights.pth --json

    Parameters
    ----------
    file
        Our own checkpoint, or weights of torchvision, timm, Keras, Cadene's pretrained-models,
        facenet-pytorch or pytorch-fid, as .pth, .pt, .safetensors, .h5 or .keras; what is inside
        counts, not the name.
    name
        Network that it must be.
    dialect
        Dialect to read it as, where the tensors cannot tell.
    raw
        Look at a trainer's weights as they are where their average lies beside them.
    json
        Print one record instead of lines.
    """
    certificate = inspect(file, name, dialect, raw=raw)
    return json_text.dumps(certificate.to_json(), indent=2) if json else str(certificate)
