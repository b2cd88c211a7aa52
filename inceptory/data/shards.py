"""The shards of a data set, parquet files or tars: where they lie below a folder, and the split of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from inceptory.data.images import ENDINGS
from inceptory.data.layout import ORDER, Spelling, words
from inceptory.data.sources import natural, seen
from inceptory.errors import DataError

DEEP = 3
"""Folders below the one that was given: data/CONFIG/SPLIT/0000.parquet."""
PLAIN = "data"
"""A folder of this name says nothing."""


def below(folder: Path, is_shard: Callable[[Path], bool]) -> list[Path]:
    """Shards in a folder, and in its folders of splits or its one folder of a configuration, in natural order.

    Raises DataError where there are several sets, as for a data set with configurations.
    """
    sets = _sets(folder, is_shard, DEEP, inside=False)
    if len(sets) > 1:
        names = ", ".join(repr(name or ".") for name in sets)
        inner = next(name for name in sets if name)
        raise DataError(f"{folder}: holds several sets, {names} (give the folder of one, such as {folder / inner})")
    return sorted(next(iter(sets.values()), []), key=lambda file: (natural(file.name), natural(str(file))))


def _sets(folder: Path, is_shard: Callable[[Path], bool], deep: int, *, inside: bool) -> dict[str, list[Path]]:
    """Shards by the folder of their configuration; those of split folders belong to the set around them."""
    own, folders = list[Path](), list[Path]()
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if not seen(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir()):
                folders.append(path)
            elif inside and path.suffix.lower() in ENDINGS:
                return {}  # a folder of pictures is a class, whatever else it holds
            elif is_shard(path):
                own.append(path)
    sets = {"": own} if own else {}
    for inner in sorted(folders, key=lambda path: natural(path.name)) if deep else ():
        passed = inner.name.lower() == PLAIN or bool(words(inner.name))
        for name, files in _sets(inner, is_shard, deep - 1, inside=True).items():
            whole = name if passed else f"{inner.name}/{name}".rstrip("/")
            sets.setdefault(whole, []).extend(files)
    return sets


def by_split(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The shards of each split, by the words in their names and in those of the folders below `path`.

    Without any such word all are training; raises DataError where a name is missing beside named
    ones, or means two splits.
    """
    root = path if path.is_dir() else path.parent
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
