"""The shards of a data set, parquet files or tars: where they lie below a folder, and the split of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.layout import ORDER, Spelling, words
from inceptory.data.sources.source import natural, seen
from inceptory.errors import DataError
from inceptory.system.files import is_folder

DEEP = 3
"""Folders below the one that was given: data/CONFIG/SPLIT/0000.parquet."""
PLAIN = "data"
"""A folder of this name says nothing."""


def below(folder: Path, is_shard: Callable[[Path], bool], *, firm: bool = True) -> list[Path]:
    """Shards in a folder, and in its folders of splits or its one folder of a configuration, in natural order.

    None where they are strays among class folders: two or more folders hold pictures, and the shards lie
    in these alone, or are not `firm`. Raises DataError where that leaves a doubt, or where there are
    several sets, as for a data set with configurations.
    """
    found = _Walk(folder, is_shard)
    if found.sets and len(found.pictured) > 1:
        classes = {path.relative_to(folder).parts[0] for path in found.pictured}
        if not firm or all(name.partition("/")[0] in classes for name in found.sets):
            return []
        shard = next(iter(found.sets.values()))[0].relative_to(folder)
        names = " and ".join(repr(path.relative_to(folder).as_posix()) for path in found.pictured[:2])
        told = f"may be {shard.as_posix()!r}, or class folders, for pictures lie in {names}"
        raise DataError(f"{folder}: {told} (give that file's path, or move it away)")
    if len(found.sets) > 1:
        names = ", ".join(repr(name or ".") for name in found.sets)
        inner = next(found.places[name] for name in found.sets if name)
        raise DataError(f"{folder}: holds several sets, {names} (give the folder of one, such as {inner})")
    return sorted(next(iter(found.sets.values()), []), key=lambda file: (natural(file.name), natural(str(file))))


class _Walk:
    """Shards by the folder of their configuration; those of split folders belong to the set around them."""

    def __init__(self, root: Path, is_shard: Callable[[Path], bool]) -> None:
        self._is_shard = is_shard
        self.sets: dict[str, list[Path]] = {}
        """By the names of their folders, without those that say nothing."""
        self.places: dict[str, Path] = {}
        """Where each of them lies."""
        self.pictured: list[Path] = []
        """Folders that hold pictures themselves, which are classes."""
        self._enter(root, "", root, DEEP)

    def _enter(self, folder: Path, name: str, place: Path, deep: int) -> None:
        own, folders = list[Path](), list[Path]()
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                if not seen(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and is_folder(path)):
                    folders.append(path)
                elif deep < DEEP and path.suffix.lower() in ENDINGS:
                    self.pictured.append(folder)
                    return  # a folder of pictures is a class, whatever else it holds
                elif self._is_shard(path):
                    own.append(path)
        if own:
            self.sets.setdefault(name, []).extend(own)
            self.places.setdefault(name, place)
        for inner in sorted(folders, key=lambda path: natural(path.name)) if deep else ():
            if inner.name.lower() == PLAIN or words(inner.name):
                self._enter(inner, name, place, deep - 1)
            else:
                self._enter(inner, f"{name}/{inner.name}".lstrip("/"), inner, deep - 1)


def by_split(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The shards of each split, by the words in their names and in those of the folders below `path`.

    Without any such word all are training; raises DataError where a name is missing beside named
    ones, or means two splits.
    """
    root = path if is_folder(path) else path.parent
    found, unnamed, spelling = dict[str, list[Path]](), list[Path](), Spelling()
    for file in files:
        split = spelling.split(root, file.relative_to(root).as_posix())
        (unnamed if split is None else found.setdefault(split, [])).append(file)
    if not found:
        return {"train": list(files)}
    if unnamed:
        name, known = (group[0].relative_to(root).as_posix() for group in (unnamed, next(iter(found.values()))))
        told = f"{name!r} names no split, beside {known!r}"
        raise DataError(f"{root}: {told} (put train, val or test into its name, or move it away)")
    return {split: found[split] for split in ORDER if split in found}
