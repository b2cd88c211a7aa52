"""The table of mutants: lines of the package, what each becomes when it is broken, and the test that must notice.

One TOML file a room lies beside this one. An entry has `file`, `line` (as it stands, without its
margin), `broken` (what takes its place), `breaks` (what goes wrong) and `test` (path::name), or,
where nothing notices it, the `reason` why that is so.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Mutant:
    """One line of the package, broken."""

    file: str
    """From the root of the checkout."""
    line: str
    broken: str
    breaks: str
    test: str = ""
    """path::name, with [parameters] where one case is enough; empty for a known survivor."""
    reason: str = ""
    """Why no test notices it."""

    def __str__(self) -> str:
        return f"{self.file}: {self.breaks}"

    def applied(self, text: str) -> str:
        """The file's text with the line broken; raises ValueError where the line is not there exactly once."""
        lines = text.split("\n")
        found = [number for number, line in enumerate(lines) if line.strip() == self.line]
        if len(found) != 1:
            raise ValueError(f"{self.file}: {len(found)} lines read {self.line!r} (move the entry along)")
        whole = lines[found[0]]
        lines[found[0]] = whole[: len(whole) - len(whole.lstrip())] + self.broken
        return "\n".join(lines)


def mutants() -> list[Mutant]:
    """Every entry, room by room."""
    tables = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.toml"))]
    return [Mutant(**entry) for table in tables for entry in table["mutant"]]


def faults(mutant: Mutant, root: Path) -> Iterator[str]:
    """What is wrong with an entry, without running anything: where the house was rebuilt, it must move along."""
    path = root / mutant.file
    if not path.is_file():
        yield f"{mutant.file}: no such file (move the entry along)"
        return
    try:
        mutant.applied(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        yield str(fault)
    if mutant.line == mutant.broken:
        yield f"{mutant}: nothing is broken"
    if bool(mutant.test) == bool(mutant.reason):
        yield f"{mutant}: give a test, or the reason why there is none"
    if mutant.test and mutant.test.partition("::")[2].partition("[")[0] not in _tests(root, mutant.test):
        yield f"{mutant}: no test {mutant.test}"


def _tests(root: Path, test: str) -> frozenset[str]:
    path = root / test.partition("::")[0]
    return _functions(path) if path.is_file() else frozenset()


@cache
def _functions(path: Path) -> frozenset[str]:
    """The names of all functions of a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))
