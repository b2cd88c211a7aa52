"""What lies in the folders of a data set beside pictures: hidden files, links, names that are almost the same."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from inceptory.data.sources.source import IGNORED, seen
from inceptory.errors import MissingError
from inceptory.system.files import reason


@dataclass(frozen=True)
class Tree:
    """Paths found in one walk; links to folders are not followed, nor hidden folders entered."""

    hidden: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    """What systems leave behind: Thumbs.db and its kin."""
    outside: list[str] = field(default_factory=list)
    """Links to what lies outside the data set."""
    broken: list[str] = field(default_factory=list)
    """Links to nothing, or to themselves."""
    alike: list[list[str]] = field(default_factory=list)
    """Files of one folder whose names differ only in case or Unicode form."""


def walk(root: Path) -> Tree:
    """Look at every name below a folder of class folders; raises MissingError where one cannot be listed."""
    tree, real = Tree(), os.path.realpath(root)
    waiting = [str(root)]
    while waiting:
        inside = _listed(waiting.pop())
        for entry in inside:
            if entry.is_symlink():
                _sort_link(entry.path, real, tree)
            if entry.name.startswith((".", "__MACOSX")):
                tree.hidden.append(entry.path)
            elif entry.name.lower() in IGNORED:
                tree.leftovers.append(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
        files = [entry for entry in inside if seen(entry.name) and not _is_folder(entry)]
        tree.alike.extend(alike(entry.path for entry in files))
    return tree


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as fault:
        raise MissingError(f"{folder}: cannot be read, {reason(fault)} (check its permissions)") from fault


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # Only of a link must the system be asked; one that leads to itself is an OSError in a DirEntry.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _sort_link(path: str, root: str, tree: Tree) -> None:
    target = os.path.realpath(path)
    if not os.path.exists(target):
        tree.broken.append(path)
    elif os.path.commonpath([root, target]) != root:
        tree.outside.append(path)


def alike(paths: Iterable[str]) -> list[list[str]]:
    """Groups of paths that one folder of another system would take for the same."""
    groups = defaultdict(list)
    for path in paths:
        groups[folded(path)].append(path)
    return [group for group in groups.values() if len(group) > 1]


def folded(name: str) -> str:
    """The name without what distinguishes capitals and the forms in which Unicode writes one letter."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
