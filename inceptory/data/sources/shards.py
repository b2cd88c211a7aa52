"""The shards of a data set, parquet files or tars: where they lie below a folder, and the split of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path, PurePath

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.folders.listing import Listing, natural
from inceptory.data.sources.layout import ORDER, Spelling, words
from inceptory.errors import DataError
from inceptory.system.files import is_folder

DEEP = 3
"""Levels of folders that are searched below the given one: data/CONFIG/SPLIT/0000.parquet."""
PLAIN = "data"
"""A folder of this name says nothing."""


def below(listing: Listing, is_shard: Callable[[str], bool], *, firm: bool = True) -> list[Path]:
    """Shards in a folder, and in its folders of splits or its one folder of a configuration, in natural order.

    None where they are strays among class folders: two or more folders hold pictures, and the shards lie
    in these alone, or are not `firm`. Raises DataError where that leaves a doubt, or where there are
    several sets, as for a data set with configurations.
    """
    root, tree = listing.root, _Shards(listing, is_shard)
    if tree.sets and len(tree.pictured) > 1:
        classes = {PurePath(folder).parts[0] for folder in tree.pictured}
        if not firm or all(name.partition("/")[0] in classes for name in tree.sets):
            return []
        shard = PurePath(next(iter(tree.sets.values()))[0]).as_posix()
        names = " and ".join(repr(PurePath(folder).as_posix()) for folder in tree.pictured[:2])
        doubt = f"may be {shard!r}, or class folders, for pictures lie in {names}"
        raise DataError(f"{root}: {doubt} (give that file's path, or move it away)")
    if len(tree.sets) > 1:
        names = ", ".join(repr(name or ".") for name in tree.sets)
        inner = root / next(tree.places[name] for name in tree.sets if name)
        raise DataError(f"{root}: holds several sets, {names} (give the folder of one, such as {inner})")
    shards = next(iter(tree.sets.values()), [])
    return [root / shard for shard in sorted(shards, key=_by_name)]


def _by_name(shard: str) -> tuple[tuple[str, str], ...]:
    return natural(os.path.basename(shard)), natural(shard)


class _Shards:
    """Shards by the folder of their configuration; those of split folders belong to the set around them."""

    def __init__(self, listing: Listing, is_shard: Callable[[str], bool]) -> None:
        self._listing, self._is_shard = listing, is_shard
        self.sets: dict[str, list[str]] = {}
        """By the names of their folders, without those that say nothing."""
        self.places: dict[str, str] = {}
        """Where each of them lies."""
        self.pictured: list[str] = []
        """Folders that hold pictures themselves, which are classes."""
        self._enter("", "", "", DEEP)

    def _enter(self, folder: str, name: str, place: str, deep: int) -> None:
        own, inside = list[str](), self._listing.folder(folder)
        for file in chain(inside.files, inside.others):
            if deep < DEEP and os.path.splitext(file)[1].lower() in ENDINGS:
                self.pictured.append(folder)
                return  # a folder of pictures is a class, whatever else it holds
            if self._is_shard(file):
                own.append(os.path.join(folder, file))
        if own:
            self.sets.setdefault(name, []).extend(own)
            self.places.setdefault(name, place)
        for inner in self._listing.folders(folder) if deep else ():
            path = os.path.join(folder, inner)
            if inner.lower() == PLAIN or words(inner):
                self._enter(path, name, place, deep - 1)
            else:
                self._enter(path, f"{name}/{inner}".lstrip("/"), path, deep - 1)


def by_split(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The shards of each split, by the words in their names and in those of the folders below `path`.

    Without any such word all are training; raises DataError where a name is missing beside named
    ones, or means two splits.
    """
    root = path if is_folder(path) else path.parent
    parts, unnamed, spelling = dict[str, list[Path]](), list[Path](), Spelling()
    for file in files:
        split = spelling.split(root, file.relative_to(root).as_posix())
        (unnamed if split is None else parts.setdefault(split, [])).append(file)
    if not parts:
        return {"train": list(files)}
    if unnamed:
        name, named = (group[0].relative_to(root).as_posix() for group in (unnamed, next(iter(parts.values()))))
        problem = f"{name!r} names no split, beside {named!r}"
        raise DataError(f"{root}: {problem} (put train, val or test into its name, or move it away)")
    return {split: parts[split] for split in ORDER if split in parts}
