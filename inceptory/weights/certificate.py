"""What a weight file is, found out without torch and without reading its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inceptory.errors import DataError, printable
from inceptory.nets.catalogue import Plan
from inceptory.weights.card import KEY, Card
from inceptory.weights.files.formats import Weights
from inceptory.weights.files.source import quoted
from inceptory.weights.identify import Identity, shapes_of
from inceptory.weights.published.record import Published
from inceptory.weights.seal import bits, require_sealed


@dataclass(frozen=True)
class Certificate:
    """What a file holds, and where each of its tensors goes."""

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
    """Tensors of a custom head of more than one linear layer: the backbone is loaded without it."""
    published: str | None
    """Name of the published file that this one is, by its declared hash."""
    alternatives: tuple[str, ...]
    """Published files of the same names whose pictures are prepared in another way."""
    notes: tuple[str, ...]
    """What a person should know before trusting its answers."""
    remarks: tuple[str, ...]
    """How the file was read, where that was not the usual way."""

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


def of_own(weights: Weights, card: Card, plan: Plan, doubts: tuple[str, ...]) -> Certificate:
    """The certificate of our own checkpoint, which says itself what it is."""
    expected, shapes = shapes_of(plan), {name: entry.shape for name, entry in weights.entries.items()}
    if expected != shapes:
        problem = f"tensors do not fit {plan.architecture} of its card"
        raise DataError(f"{weights.path}: {problem} (restore it from a copy)")
    dtypes = {name: entry.dtype for name, entry in weights.entries.items()}
    tensors = ((name, dtype, shapes[name], bits(weights.read(name, None), dtype)) for name, dtype in dtypes.items())
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
        matched=len(shapes),
        filled=(),
        dropped=(),
        head=(),
        published=None,
        alternatives=(),
        notes=doubts,
        remarks=(),
    )


def of_another(
    weights: Weights, identity: Identity, digest: str, record: Published | None, others: tuple[str, ...]
) -> Certificate:
    """The certificate of another package's file; `others` are published files of the same names and graph."""
    numbers = identity.plan.numbers(stages=False)
    return Certificate(
        file=str(weights.path),
        sha256=digest,
        format=weights.kind,
        origin=identity.origin.name,
        architecture=identity.plan.architecture,
        dialect=identity.plan.dialect,
        dialect_decided="by its published hash" if record else identity.decided,
        classes=identity.plan.classes,
        background_class=identity.background,
        auxiliary_heads=identity.plan.aux,
        preprocessing=str((record and record.preprocess) or identity.preprocess or "not known"),
        parameters=numbers["parameters"],
        matched=len(identity.match.pairs),
        filled=tuple(identity.match.filled),
        dropped=identity.match.dropped,
        head=identity.head,
        published=record.name if record else None,
        alternatives=others,
        notes=identity.notes,
        remarks=identity.remarks,
    )
