"""Which class of a checkpoint each class of a data set is: by name, WordNet synset, or one of its other names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptory.data import imagenet
from inceptory.errors import ConfigError, printable
from inceptory.weights.card import Card

SYNSET = re.compile(r"n\d{8}")
"""WordNet's number of a noun, by which ImageNet's folders are named."""
WAYS = {"name": "by name", "synset": "by synset", "alias": "by alias", "word": "by another word of WordNet's"}
SHOWN = 5


@dataclass(frozen=True)
class Matching:
    """The class of a checkpoint that each class of a data set is, and how that was found."""

    order: NDArray[np.int64]
    """(K,) the number of each of the data's classes in the checkpoint."""
    ways: tuple[str, ...]
    """(K,) keys of WAYS."""
    known: int
    """Classes of the checkpoint."""

    def __str__(self) -> str:
        counts = Counter(self.ways)
        told = [f"{counts[way]:,} {WAYS[way]}" for way in WAYS if counts[way]]
        count, _, way = told[0].partition(" ")
        told[0] = f"{count} {'class' if count == '1' else 'classes'} {way}"
        rest = f", of {self.known:,} that the checkpoint answers" if len(set(self.order.tolist())) < self.known else ""
        return f"matched {', '.join(told)}{rest}"


def matched(name: str, classes: Sequence[str], card: Card) -> Matching:
    """The checkpoint's class for each of these; `name` is the data's.

    A class is known by its own name, in any case and with _ or blanks, and by its aliases; where all
    classes are ImageNet's also by their synsets and words in WordNet. A name that several classes
    share (crane, maillot, cardigan) counts only where all others that share it are named otherwise in
    the data. Raises ConfigError for a class that is unknown or could be several.
    """
    names = _Names(card)
    found = {label: names.certain(label) for label in classes}
    while True:
        taken = {place for place, _ in filter(None, found.values())}
        open_ones = [label for label, one in found.items() if one is None]
        left = {label: [one for one in names.candidates(label) if one[0] not in taken] for label in open_ones}
        settled = {label: ones[0] for label, ones in left.items() if len(ones) == 1}
        if not settled:
            break
        found.update(settled)
    _refuse(name, left, card)
    pairs = [one for one in found.values() if one is not None]
    _refuse_twice(name, classes, pairs, card)
    return Matching(
        np.asarray([place for place, _ in pairs], dtype=np.int64), tuple(way for _, way in pairs), len(card.labels)
    )


class _Names:
    """Everything that the classes of a checkpoint are called."""

    def __init__(self, card: Card) -> None:
        self._label = {label: place for place, label in enumerate(card.labels)}
        self._own = bool(card.recipe)
        self._written = _bearers((place, (label,)) for place, label in enumerate(card.labels))
        self._alias = _bearers((place, card.aliases.get(label, ())) for place, label in enumerate(card.labels))
        rows = _imagenet_rows(card.labels)
        synsets, words = imagenet.synsets(), imagenet.words()
        self._synset = {synsets[row]: place for place, row in enumerate(rows)}
        self._first = _bearers((place, words[row][:1]) for place, row in enumerate(rows))
        labels = imagenet.labels()
        every = ((place, (labels[row], *words[row], ", ".join(words[row]))) for place, row in enumerate(rows))
        self._word = _bearers(every)

    def certain(self, name: str) -> tuple[int, str] | None:
        """The class that is surely meant, and the way."""
        if name in self._label and self._is_own(_plain(name)):
            return self._label[name], "name"
        if SYNSET.fullmatch(name) and name in self._synset:
            return self._synset[name], "synset"
        if name in self._label:
            return None
        ones = self._others(name)
        return ones[0] if len(ones) == 1 else None

    def candidates(self, name: str) -> list[tuple[int, str]]:
        """Every class that may be meant where none surely is; of several that share a name its own comes first."""
        own = self._written.get(_plain(name), ())
        return [(place, "name" if place in own else way) for place, way in self._others(name)]

    def _is_own(self, plain: str) -> bool:
        """Whether a name that a class has in the checkpoint means no other: not where two share a word of WordNet's."""
        return self._own or len(self._first.get(plain, ())) < 2

    def _others(self, name: str) -> list[tuple[int, str]]:
        plain = _plain(name)
        if plain in self._written and self._is_own(plain):
            return [(place, "name") for place in self._written[plain]]
        if plain in self._alias:
            return [(place, "alias") for place in self._alias[plain]]
        # The word that a synset puts first is its usual one: "missile" is not the class projectile.
        return [(place, "word") for place in self._first.get(plain) or self._word.get(plain, [])]


def _imagenet_rows(labels: Sequence[str]) -> list[int]:
    """ImageNet's number of each class, where every one is ImageNet's; else none, for a mouse may be an animal."""
    known = {name: row for names in (imagenet.labels(), imagenet.synsets()) for row, name in enumerate(names)}
    return [known[label] for label in labels] if all(label in known for label in labels) else []


def _bearers(names: Iterable[tuple[int, Sequence[str]]]) -> dict[str, list[int]]:
    """The classes that bear each name."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, every in names:
        for plain in dict.fromkeys(map(_plain, every)):
            found[plain].append(place)
    return dict(found)


def _plain(name: str) -> str:
    """A name without what is a matter of taste: great_white_shark, Great white shark."""
    return " ".join(name.replace("_", " ").split()).casefold()


def _refuse(name: str, left: dict[str, list[tuple[int, str]]], card: Card) -> None:
    """Raise ConfigError for classes that are unknown, then for those that could be several."""
    if strange := [label for label, ones in left.items() if not ones]:
        told = ", ".join(repr(label) for label in strange[:SHOWN])
        remedy = "rename them as the checkpoint does, or add aliases to its card"
        raise ConfigError(f"{name}: {len(strange)} of its classes are unknown to the checkpoint: {told} ({remedy})")
    for label, ones in left.items():
        rows = _imagenet_rows([card.labels[place] for place, _ in ones])
        better = [imagenet.synsets()[row] for row in rows] or [card.labels[place] for place, _ in ones]
        told = " or ".join(repr(card.labels[place]) for place, _ in ones)
        raise ConfigError(f"{name}: its class {label!r} may be {told} (name it {' or '.join(map(printable, better))})")


def _refuse_twice(name: str, classes: Sequence[str], pairs: Sequence[tuple[int, str]], card: Card) -> None:
    """Raise ConfigError where two classes are one of the checkpoint's and its own aliases do not say so."""
    met: dict[int, str] = {}
    for label, (place, way) in zip(classes, pairs, strict=True):
        if place in met and way != "alias":
            told = f"its classes {met[place]!r} and {label!r} are both the checkpoint's {card.labels[place]!r}"
            raise ConfigError(f"{name}: {told} (rename one of them, or put their pictures together)")
        if way != "alias":
            met[place] = label
