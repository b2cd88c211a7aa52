"""What a checkpoint knows of itself: one JSON record inside the weight file, read without torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Required, TypedDict

import msgspec

from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError, UsageError
from inceptory.nets.catalogue import Plan, plan
from inceptory.system.files import json_text
from inceptory.weights.files.safetensors_file import METADATA, read_header
from inceptory.weights.files.source import Source
from inceptory.weights.seal import WORD, is_sealed

KEY = "inceptory"
"""Name of the card in the safetensors metadata."""
FORMAT = 1


class Options(TypedDict, total=False):
    """The options of a network that are of one kind only."""

    classes: Required[int]
    image: Required[int]
    in_channels: Required[int]
    width: float
    se: bool
    aux: bool


@dataclass(frozen=True)
class Card:
    """Everything that predict, evaluate, export and serve need to know of a checkpoint."""

    architecture: str
    dialect: str
    options: dict[str, Any]
    """Keywords of `inceptory.plan` beside name and dialect, all decided."""
    labels: tuple[str, ...] = ()
    """Class names in the order of the logits."""
    multi_label: bool = False
    """Whether a picture may show several classes: a logit is then one class's own, through a sigmoid."""
    preprocess: Preprocess | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    """How it was trained: every option by name."""
    data: dict[str, Any] = field(default_factory=dict)
    """Name, sizes of the splits and fingerprint of the data it was trained on."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What was measured on validation when it was saved."""
    versions: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Other names under which `evaluate` finds a class in data: {"cat": ("felix", "n02121620")}."""
    calibration: dict[str, Any] = field(default_factory=dict)
    """How sure its answers may be, from pictures that had no part in training: `measure.calibration.Calibration`."""
    novelty: dict[str, Any] = field(default_factory=dict)
    """How far pictures may be from those of the training, by some that had no part in it: `measure.novelty.Novelty`."""

    @classmethod
    def of(cls, plan: Plan, **others: Any) -> Card:
        """The card of a plan, with whatever else is known."""
        return cls(plan.architecture, plan.dialect, plan.options(), **others)

    def plan(self) -> Plan:
        """The network that the weights belong to, decided once."""
        return self._plan

    @cached_property
    def _plan(self) -> Plan:
        return plan(self.architecture, dialect=self.dialect, **self.options)

    def without_classes(self) -> Card:
        """The card of the same network with a fresh classifier: names, figures and pictures belonged to the old one."""
        return replace(self, labels=(), metrics={}, calibration={}, novelty={})

    def to_json(self) -> str:
        """The record as text."""
        preprocess = None if self.preprocess is None else self.preprocess.to_json()
        plain = {"format": FORMAT, **asdict(self), "preprocess": preprocess}
        for name in ("multi_label", "aliases", "calibration", "novelty"):
            if not plain[name]:
                del plain[name]  # so that older versions, which refuse unknown words, read a card without them
        return json_text(plain)

    @classmethod
    def from_json(cls, text: str, name: str) -> Card:
        """The card that `to_json` wrote; `name` is the file for the message of a DataError."""
        try:
            plain = json.loads(text)
            if plain.pop(WORD, None) is not None and not is_sealed(text):
                raise ValueError(f"its {WORD} is not a digest")
            if plain.pop("format") != FORMAT:
                raise DataError(f"{name}: its card has a newer format (update inceptory)")
            unknown = sorted(plain.keys() - {each.name for each in fields(cls)})
            unknown += sorted((plain.get("preprocess") or {}).keys() - {each.name for each in fields(Preprocess)})
            if unknown:
                raise ValueError(f"{unknown[0]!r} does not belong in a card")
            card = msgspec.convert(plain, cls)
            if card.preprocess is not None and card.preprocess.views != "1":
                raise ValueError("no network is trained on several views of a picture")
            _check_aliases(card)
            msgspec.convert(card.options, Options)
            classes = card.plan().classes
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UsageError) as fault:
            raise DataError(f"{name}: its card is damaged, {fault} (save it again)") from None
        if card.labels and len(card.labels) != classes:
            raise DataError(f"{name}: its card names {len(card.labels)} of {classes} classes (save it again)")
        return card


def _check_aliases(card: Card) -> None:
    """Raise ValueError for other names of what is no class."""
    for label in card.aliases.keys() - set(card.labels):
        raise ValueError(f"aliases of {label!r}, which is not a class")


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata of a safetensors file, texts by name; empty where there is none. No tensor is read.

    Raises MissingError where the file cannot be read, DataError where it is no such file.
    """
    source = Source.open(path)
    try:
        metadata = read_header(source)[0].get(METADATA)
    except DataError:
        raise DataError(f"{path}: not a safetensors file (give a checkpoint saved by inceptory)") from None
    finally:
        source.close()
    return metadata if isinstance(metadata, dict) else {}


def read_card(path: Path | str) -> Card:
    """The card of a checkpoint, without torch and without its tensors."""
    return Card.from_json(card_text(path), str(path))


def card_text(path: Path | str) -> str:
    """The card as it is written, with the digest of `seal`; raises DataError for a file without one."""
    text = read_metadata(path).get(KEY)
    if not isinstance(text, str):
        raise DataError(f"{path}: a safetensors file without inceptory's card (give one saved by inceptory)")
    return text
