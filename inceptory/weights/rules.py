"""The engine that turns our names of tensors into another package's, by a table of rules.

A table is read from our side: the first rule whose pattern matches one of our names says what that
tensor is called there. Our names are known from the architecture alone, so one table serves both
ways, and reading is a bijection or an error that lists both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

NAMES_SHOWN = 5

TOKEN = re.compile(r"\{(\d+)(?:(?:\*(\d+))?([+-]\d+)?|\|([a-z])([+-]\d+)?|(<))\}")
"""{1} a group; {1-1}, {1*3+1} a number changed; {1|b+6} a letter as a number, b being 6; {1<} the letter before."""


@dataclass(frozen=True)
class Rule:
    """Our name, as a pattern that matches the whole of it, and the name there."""

    ours: str
    theirs: str


@dataclass(frozen=True)
class Numbered:
    """Layers that have only a number there, in the order of their creation; group 1 is our layer."""

    ours: str
    theirs: str
    """{#} is the number, counted from 0 over the layers that no rule names."""


@dataclass(frozen=True)
class Fill:
    """A tensor of ours that the origin does not have: every value is this one."""

    ours: str
    value: float
    why: str


@dataclass(frozen=True)
class Drop:
    """Tensors of theirs that carry nothing that we need, by a pattern that matches the whole name."""

    theirs: str
    why: str


@dataclass(frozen=True)
class Alias:
    """Another name that a tensor of theirs has in some files: they are read as if it had the present one."""

    theirs: str
    """A pattern that matches the whole of the other name."""
    present: str
    """The present name, with \\1 for a group."""
    why: str


@dataclass(frozen=True)
class Table:
    """All rules of one origin for one architecture, in order: the first that matches counts."""

    rules: tuple[Rule, ...]
    numbered: tuple[Numbered, ...] = ()
    fills: tuple[Fill, ...] = ()
    drops: tuple[Drop, ...] = ()
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True)
class Match:
    """How a file fits a network."""

    pairs: dict[str, str]
    """Our name to theirs."""
    filled: dict[str, float]
    dropped: tuple[str, ...]
    missing: tuple[str, ...]
    """Our names for which the file has nothing."""
    surplus: tuple[str, ...]
    """Their names that we have no use for."""

    @property
    def complete(self) -> bool:
        """Whether every tensor of both sides has found its place."""
        return not self.missing and not self.surplus


def both_sides(missing: Sequence[str], surplus: Sequence[str]) -> str:
    """Counts and up to five names of what a file lacks and what it has too much of."""
    parts = ((missing, "missing"), (surplus, "surplus"))
    return "; ".join(f"{len(names)} {what}: {', '.join(names[:NAMES_SHOWN])}" for names, what in parts if names)


def expand(template: str, groups: re.Match[str]) -> str:
    """The template with its tokens replaced by the groups of the match."""

    def token(match: re.Match[str]) -> str:
        group, times, shift, letter, offset, before = match.groups()
        value = groups[int(group)]
        if times or shift:
            return str(int(value) * int(times or 1) + int(shift or 0))
        if letter:
            return str(ord(value) - ord(letter) + int(offset or 0))
        return chr(ord(value) - 1) if before else value

    return TOKEN.sub(token, template)


def rename(name: str, rules: Iterable[Rule]) -> str | None:
    """What one of our tensors is called there; None where no rule matches."""
    for rule in rules:
        match = re.fullmatch(rule.ours, name)
        if match is not None:
            return expand(rule.theirs, match)
    return None


def names_there(table: Table, ours: Iterable[str]) -> dict[str, str | None]:
    """What each of our tensors is called there, in the order of the network; None where no rule matches."""
    numbers: dict[Numbered, dict[str, int]] = {numbered: {} for numbered in table.numbered}
    theirs: dict[str, str | None] = {}
    for name in ours:
        theirs[name] = rename(name, table.rules)
        if theirs[name] is None:
            theirs[name] = _by_number(name, numbers)
    return theirs


def _by_number(name: str, numbers: Mapping[Numbered, dict[str, int]]) -> str | None:
    for numbered, ranks in numbers.items():
        match = re.fullmatch(numbered.ours, name)
        if match is not None:
            rank = ranks.setdefault(match[1], len(ranks))
            return expand(numbered.theirs, match).replace("{#}", str(rank))
    return None


def fit(table: Table, ours: Iterable[str], theirs: Iterable[str], prefix: str = "") -> Match:
    """Pair our names with the names in a file, where `prefix` may stand before those of the network."""
    present = present_names(table, theirs, prefix)
    pairs: dict[str, str] = {}
    filled: dict[str, float] = {}
    missing: list[str] = []
    for name, there in names_there(table, ours).items():
        fill = next((fill for fill in table.fills if re.fullmatch(fill.ours, name)), None)
        if there is not None and there in present:
            pairs[name] = present[there]
        elif fill is not None:
            filled[name] = fill.value
        else:
            missing.append(name)
    used = set(pairs.values())
    rest = {name: there for there, name in present.items() if name not in used}
    dropped = tuple(name for name in rest if any(re.fullmatch(drop.theirs, rest[name]) for drop in table.drops))
    surplus = tuple(name for name in rest if name not in dropped)
    return Match(pairs, filled, dropped, tuple(missing), surplus)


def present_names(table: Table, theirs: Iterable[str], prefix: str = "") -> Mapping[str, str]:
    """Present name to the name in the file; a name that is there in both forms counts as itself."""
    present = {name: name for name in theirs}
    for name in list(present) if prefix else ():
        short = name.removeprefix(prefix)
        if short not in present:
            present[short] = present.pop(name)
    for alias in table.aliases:
        for name in list(present):
            match = re.fullmatch(alias.theirs, name)
            if match is not None and match.expand(alias.present) not in present:
                present[match.expand(alias.present)] = present.pop(name)
    return present
