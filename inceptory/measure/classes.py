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
    """For each class of a data set: which class of the checkpoint it is, and by which kind of name it matched."""

    order: NDArray[np.int64]
    """(K,) the number of each of the data's classes in the checkpoint."""
    ways: tuple[str, ...]
    """(K,) keys of WAYS."""
    known: int
    """Classes of the checkpoint."""

    def __str__(self) -> str:
        counts = Counter(self.ways)
        parts = [f"{counts[way]:,} {WAYS[way]}" for way in WAYS if counts[way]]
        count, _, way = parts[0].partition(" ")
        parts[0] = f"{count} {'class' if count == '1' else 'classes'} {way}"
        rest = f", of {self.known:,} that the checkpoint answers" if len(set(self.order.tolist())) < self.known else ""
        return f"matched {', '.join(parts)}{rest}"


def matched(name: str, classes: Sequence[str], card: Card) -> Matching:
    """The checkpoint's class for each class of a data set; `name` is that of the data, for messages.

    A class matches its own name, in upper or lower case and with _ or blanks, and its aliases; if all
    classes of the checkpoint are ImageNet's, also their synsets and words in WordNet. If several classes share
    a name (crane, maillot, cardigan), it matches only if the data names all but one of them in another way.
    Raises ConfigError for a class that is unknown or could be several.
    """
    names = _Names(card)
    matches = {label: names.certain(label) for label in classes}
    while True:
        used = {number for number, _ in filter(None, matches.values())}
        unmatched = [label for label, match in matches.items() if match is None]
        left = {label: [each for each in names.candidates(label) if each[0] not in used] for label in unmatched}
        settled = {label: candidates[0] for label, candidates in left.items() if len(candidates) == 1}
        if not settled:
            break
        matches.update(settled)
    _refuse(name, left, card)
    pairs = [match for match in matches.values() if match is not None]
    _refuse_twice(name, classes, pairs, card)
    numbers = np.asarray([number for number, _ in pairs], dtype=np.int64)
    return Matching(numbers, tuple(way for _, way in pairs), len(card.labels))


class _Names:
    """All names of the classes of a checkpoint."""

    def __init__(self, card: Card) -> None:
        self._label = {label: number for number, label in enumerate(card.labels)}
        self._own = bool(card.recipe)
        """Whether this package trained the checkpoint, so that its class names are those of its own data."""
        self._written = _by_name((number, (label,)) for number, label in enumerate(card.labels))
        self._alias = _by_name((number, card.aliases.get(label, ())) for number, label in enumerate(card.labels))
        rows = _imagenet_rows(card.labels)
        synsets, words = imagenet.synsets(), imagenet.words()
        self._synset = {synsets[row]: number for number, row in enumerate(rows)}
        self._first = _by_name((number, words[row][:1]) for number, row in enumerate(rows))
        labels = imagenet.labels()
        self._word = _by_name(
            (number, (labels[row], *words[row], ", ".join(words[row]))) for number, row in enumerate(rows)
        )

    def certain(self, name: str) -> tuple[int, str] | None:
        """(the class that is certainly meant, a key of WAYS); None where there is doubt."""
        if name in self._label and self._is_own(_plain(name)):
            return self._label[name], "name"
        if SYNSET.fullmatch(name) and name in self._synset:
            return self._synset[name], "synset"
        if name in self._label:
            return None
        matches = self._matches(name)
        return matches[0] if len(matches) == 1 else None

    def candidates(self, name: str) -> list[tuple[int, str]]:
        """Every class that may be meant, where there is doubt; a class whose own name it is matches by name."""
        own = self._written.get(_plain(name), ())
        return [(number, "name" if number in own else way) for number, way in self._matches(name)]

    def _is_own(self, plain: str) -> bool:
        """Whether a class name of the checkpoint can mean no other class: WordNet may use the word for two of them."""
        return self._own or len(self._first.get(plain, ())) < 2

    def _matches(self, name: str) -> list[tuple[int, str]]:
        plain = _plain(name)
        if plain in self._written and self._is_own(plain):
            return [(number, "name") for number in self._written[plain]]
        if plain in self._alias:
            return [(number, "alias") for number in self._alias[plain]]
        # The first word of a synset is the usual one: "missile" does not mean the class projectile.
        return [(number, "word") for number in self._first.get(plain) or self._word.get(plain, [])]


def _imagenet_rows(labels: Sequence[str]) -> list[int]:
    """ImageNet's number of each class if all classes are ImageNet's; otherwise empty: a mouse may be an animal."""
    rows = {name: row for names in (imagenet.labels(), imagenet.synsets()) for row, name in enumerate(names)}
    return [rows[label] for label in labels] if all(label in rows for label in labels) else []


def _by_name(names: Iterable[tuple[int, Sequence[str]]]) -> dict[str, list[int]]:
    """The numbers of the classes that have each name."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, every in names:
        for plain in dict.fromkeys(map(_plain, every)):
            numbers[plain].append(number)
    return dict(numbers)


def _plain(name: str) -> str:
    """A name in one spelling for all of its variants, such as great_white_shark and Great white shark."""
    return " ".join(name.replace("_", " ").split()).casefold()


def _refuse(name: str, left: dict[str, list[tuple[int, str]]], card: Card) -> None:
    """Raise ConfigError for classes that are unknown, then for those that could be several."""
    if unknown := [label for label, candidates in left.items() if not candidates]:
        shown = ", ".join(repr(label) for label in unknown[:SHOWN])
        remedy = "rename them as the checkpoint does, or add aliases to its card"
        raise ConfigError(f"{name}: {len(unknown)} of its classes are unknown to the checkpoint: {shown} ({remedy})")
    for label, candidates in left.items():
        names = [card.labels[number] for number, _ in candidates]
        better = [imagenet.synsets()[row] for row in _imagenet_rows(names)] or names
        shown = " or ".join(map(repr, names))
        raise ConfigError(f"{name}: its class {label!r} may be {shown} (name it {' or '.join(map(printable, better))})")


def _refuse_twice(name: str, classes: Sequence[str], pairs: Sequence[tuple[int, str]], card: Card) -> None:
    """Raise ConfigError where two classes match the same class of the checkpoint, and not by its aliases."""
    labels: dict[int, str] = {}
    for label, (number, way) in zip(classes, pairs, strict=True):
        if number in labels and way != "alias":
            problem = f"its classes {labels[number]!r} and {label!r} are both the checkpoint's {card.labels[number]!r}"
            raise ConfigError(f"{name}: {problem} (rename one of them, or put their pictures together)")
        if way != "alias":
            labels[number] = label
