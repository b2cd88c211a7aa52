"""The names in a folder and in those below it: each folder is read once, and everybody is answered from that.

A listing belongs to one opening of a data set; the next opening makes its own and sees what has changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from inceptory.system.files import is_file, is_folder

IGNORED = {"thumbs.db", "desktop.ini"}
DIGITS = re.compile("[0-9]+")


class Names:
    """Names in one folder, kept as one text: a million of them take their letters and not an object each."""

    __slots__ = ("_text",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._text = "/".join(names)  # no system has it within a name

    def __iter__(self) -> Iterator[str]:
        return iter(self._text.split("/") if self._text else ())


NONE = Names()
"""Shared, since most folders lack most kinds of names."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The names in one folder by what they are, each kind in natural order."""

    folders: Names
    """Visible folders that are no links."""
    linked: Names
    """Visible links to folders."""
    files: Names
    """Visible regular files, and links to such."""
    others: Names
    """Whatever else is visible: links to nothing, pipes, devices."""
    links: Names
    """All links, also hidden ones."""
    hidden: Names
    leftovers: Names
    """What systems leave behind, such as Thumbs.db."""


class Listing:
    """A folder and those below it, each read when it is first asked for. Folders are named by their path from the root.

    Raises OSError where a folder cannot be read, MissingError where the system does not tell what a link points to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[str, Folder] = {}

    def folder(self, name: str = "") -> Folder:
        """The names in a folder; without a name in the root."""
        if name not in self._read:
            self._read[name] = _folder(self.root / name)
        return self._read[name]

    def folders(self, name: str = "") -> list[str]:
        """Names of the visible folders in a folder, links to folders included, in natural order."""
        inside = self.folder(name)
        return sorted((*inside.folders, *inside.linked), key=natural)

    def files(self, name: str = "") -> Iterator[str]:
        """Paths from a folder of every visible file below it, in natural order; links to folders are not followed."""
        inside = self.folder(name)
        folders = set(inside.folders)
        for entry in sorted((*inside.files, *folders), key=natural) if folders else inside.files:
            if entry in folders:
                yield from (os.path.join(entry, file) for file in self.files(os.path.join(name, entry)))
            else:
                yield entry


def _folder(path: Path) -> Folder:
    kinds: dict[str, list[str]] = {}
    with os.scandir(path) as entries:
        for entry in entries:
            kinds.setdefault(_kind(entry), []).append(entry.name)
            if entry.is_symlink():
                kinds.setdefault("links", []).append(entry.name)
    names = {kind: Names(sorted(names, key=natural)) for kind, names in kinds.items()}
    return Folder(**{kind: names.get(kind, NONE) for kind in Folder.__slots__})


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith((".", "__MACOSX")):
        return "hidden"
    if entry.name.lower() in IGNORED:
        return "leftovers"
    if entry.is_dir(follow_symlinks=False):
        return "folders"
    if entry.is_file(follow_symlinks=False):
        return "files"
    # Only of a link must the system be asked; one that leads to itself is an OSError in a DirEntry.
    if entry.is_symlink() and is_folder(entry.path):
        return "linked"
    return "files" if entry.is_symlink() and is_file(entry.path) else "others"


def natural(text: str) -> tuple[str, str]:
    """Sort key that puts class2 before class10; the text itself decides between 1 and 01.

    A number stands in it after how many digits it has, behind what sorts before every letter: a key of numbers
    takes four times the memory.
    """
    return DIGITS.sub(_number, text), text


def _number(digits: re.Match[str]) -> str:
    number = digits[0].lstrip("0")
    return f"\0{chr(len(number))}{number}"
