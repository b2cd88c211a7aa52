"""How flags are shown in a command's help, and the message for a value of the wrong kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Literal, get_args, get_origin

from cyclopts import App
from cyclopts.exceptions import CoercionError, CycloptsError
from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel

from inceptory.errors import UsageError

TIMES = ("--time", "--checkpoint-every")
SHOWN = {"STR": "NAME", "STR...": "NAME...", "STR|PATH|RECIPE": "NAME|FILE.toml", "PATH|STR": "PATH"}
"""The placeholder of a value in the help, by cyclopts' own: a type may allow more than a shell can pass."""
FRACTION = re.compile(r"[-+]?[\d_]*\.[\d_]*(e[-+]?\d+)?", re.IGNORECASE)
KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}


class Page(DefaultFormatter):
    """A help page whose placeholders say what to write: a name, a path, a time."""

    def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
        """Print one box of it."""
        super().__call__(console, options, panel.copy(entries=list(map(_worded, panel.entries))))


def _worded(entry: HelpEntry) -> HelpEntry:
    if entry.metavar is None:
        return entry
    word = "TIME" if set(TIMES) & set(entry.positive_names) else SHOWN.get(entry.metavar, entry.metavar)
    return entry.copy(metavar=word)


def commas(hint: Any, tokens: Sequence[Any]) -> tuple[Any, ...]:
    """The values of "1,16" for a flag whose type is a tuple; raises UsageError for a value of another kind."""
    kind = get_args(hint)[0]
    words, token = list(get_args(kind)), tokens[0]
    values = [value.strip() for value in token.value.split(",")]
    for value in values:
        if words and value not in words:
            raise UsageError(f"{token.keyword} {value}: unknown (choose {', '.join(words)})")
        if not words and re.fullmatch(r"[-+]?\d+", value) is None:
            raise UsageError(f"{token.keyword} {value}: of the wrong kind (a whole number is wanted)")
    return tuple(values if words else map(int, values))


def refuse_fractions(app: App, words: Sequence[str]) -> None:
    """Raise UsageError for a fraction where a flag takes whole numbers, which cyclopts would round."""
    if not words or words[0].startswith("-") or words[0] not in app:
        return
    given = list[tuple[str, str]]()
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        given.append((flag, value if equals else after))
    fractions = [(flag, value) for flag, value in given if flag.startswith("-") and FRACTION.fullmatch(value)]
    if not fractions:
        return  # to ask what flags take costs a tenth of a second
    whole = set[str]()
    for argument in app[words[0]].assemble_argument_collection():
        kinds = list(_parts(argument.hint))
        if int in kinds and float not in kinds:
            whole.update(argument.names)
    for flag, value in fractions:
        if flag in whole:
            raise UsageError(f"{flag} {value}: of the wrong kind (a whole number is wanted)")


def explained(fault: CycloptsError, more: str) -> str:
    """The message for wrong words of a command, without names of Python's types; `more` says where to read on."""
    if not isinstance(fault, CoercionError) or fault.token is None:
        return f"{fault} ({more})"
    parts = list(_parts(fault.target_type))
    kinds = " or ".join(KINDS[part] for part in parts if part in KINDS)
    words = [part for part in parts if isinstance(part, str)]
    if not kinds:
        return f"{fault} ({more})"
    argument = f"{fault.token.keyword or ''} {fault.token.value}".strip()
    problem = f"unknown (choose {', '.join(words)} or {kinds})" if words else f"of the wrong kind ({kinds} is wanted)"
    return f"{argument}: {problem}"


def _parts(hint: Any) -> Iterator[Any]:
    """The types of a union, and the words of literals among them."""
    if get_origin(hint) is Literal or not get_args(hint):
        yield from get_args(hint) or (hint,)
        return
    for part in get_args(hint):
        yield from _parts(part)
