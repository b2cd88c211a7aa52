"""What lies in the folders of a data set beside pictures: hidden files, links, names that are almost the same."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from inceptory.data.sources.folders.listing import Listing
from inceptory.errors import MissingError
from inceptory.system.files import reason


@dataclass(frozen=True)
class Tree:
    """Paths found in one walk; links to folders are not followed, nor hidden folders entered."""

    hidden: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    """What systems leave behind, such as Thumbs.db."""
    outside: list[str] = field(default_factory=list)
    """Links to what lies outside the data set."""
    broken: list[str] = field(default_factory=list)
    """Links to nothing, or to themselves."""
    alike: list[list[str]] = field(default_factory=list)
    """Files of one folder whose names differ only in case or Unicode form."""


def walk(listing: Listing) -> Tree:
    """Look at every name below a folder of class folders; raises MissingError where one cannot be listed."""
    tree, real = Tree(), os.path.realpath(listing.root)
    waiting = [""]
    while waiting:
        name = waiting.pop()
        place = os.path.join(listing.root, name) if name else str(listing.root)
        try:
            inside = listing.folder(name)
        except OSError as fault:
            raise MissingError(f"{place}: cannot be read, {reason(fault)} (check its permissions)") from fault
        for link in sorted(inside.links):
            _sort_link(os.path.join(place, link), real, tree)
        tree.hidden.extend(os.path.join(place, entry) for entry in sorted(inside.hidden))
        tree.leftovers.extend(os.path.join(place, entry) for entry in sorted(inside.leftovers))
        tree.alike.extend(
            [os.path.join(place, file) for file in group] for group in alike(sorted((*inside.files, *inside.others)))
        )
        waiting += [os.path.join(name, folder) for folder in sorted(inside.folders)]
    return tree


def _sort_link(path: str, root: str, tree: Tree) -> None:
    target = os.path.realpath(path)
    if not os.path.exists(target):
        tree.broken.append(path)
    elif os.path.commonpath([root, target]) != root:
        tree.outside.append(path)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that one folder of another system would take for the same."""
    groups = defaultdict(list)
    for name in names:
        groups[folded(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def folded(name: str) -> str:
    """The name without what distinguishes capitals and the forms in which Unicode writes one letter."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
