"""Every fault that a user can cause, as one tree; exit codes live here and nowhere else.

InceptoryError
├── UsageError        64  a flag, name or option that is not valid
│   └── UnknownName   64  a network, dialect or command that does not exist, with a suggestion
├── DataError         65  a file was read and is not what it must be
├── MissingError      66  a file or folder is not there or cannot be read
├── WriteError        74  something could not be written
├── InterruptedRun    75  work ended before it was done and can be taken up again
└── ConfigError       78  two things that are each right do not go together

The message is one line, says what is wrong and, in brackets, what to do about it. An exception
outside this tree is our own bug and ends with exit code 70; a person's interrupt ends with 75 too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_BUG = 70
EXIT_INTERRUPTED = 75
LONGEST_LINE = 300


class InceptoryError(Exception):
    """A fault with a remedy. `exit_code` is what the command line ends with."""

    exit_code = EXIT_BUG

    def line(self) -> str:
        """The message as one printable line of at most 300 characters."""
        return one_line(f"error: {self}")


class UsageError(InceptoryError):
    """A flag, name or option that is not valid."""

    exit_code = 64


class UnknownName(UsageError):
    """A name that does not exist; the message suggests a near one, and the list or where it is."""

    def __init__(self, kind: str, name: str, known: Iterable[str], listed: str = "") -> None:
        names = list(known)
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(f"{name!r}: no such {kind} ({hint}{listed or 'known: ' + ', '.join(names)})")
        self._given = (kind, name, names, listed)

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, list[str], str]]:
        """Made anew in another process, for scikit-learn's tools hand faults across."""
        return type(self), self._given


class DataError(InceptoryError):
    """A file was read and is not what it must be."""

    exit_code = 65


class MissingError(InceptoryError):
    """A file or folder is not there or cannot be read."""

    exit_code = 66


class WriteError(InceptoryError):
    """Something could not be written."""

    exit_code = 74


class InterruptedRun(InceptoryError):
    """Work ended before it was done; what was saved can be taken up again."""

    exit_code = EXIT_INTERRUPTED


class ConfigError(InceptoryError):
    """Two things that are each right do not go together."""

    exit_code = 78


class Doubt(UserWarning):
    """Something uncertain was decided; the message says how, and how to settle it."""


def printable(text: object) -> str:
    """The text with control characters and lone surrogates escaped, safe for any terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def one_line(text: str) -> str:
    """`printable`, cut in the middle beyond 300 characters: the remedy at the end survives."""
    line = printable(text)
    if len(line) <= LONGEST_LINE:
        return line
    keep = (LONGEST_LINE - 5) // 2
    return f"{line[:keep]} ... {line[-keep:]}"
