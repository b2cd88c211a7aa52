"""Class folders, with or without train, val and test above them.

A folder with such a word in its name may be a split or a class, and what lies in it tells: a split
holds class folders that hold pictures, a class holds pictures itself. Where that leaves a doubt,
`Layout.split_folders` decides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.layout import AUTO, ORDER, Layout, Spelling, words
from inceptory.data.sources.sequences import Texts, paths
from inceptory.data.sources.source import Source, Split, natural, seen, visible, visible_files
from inceptory.errors import DataError
from inceptory.system.files import is_folder


def open_folders(path: Path, layout: Layout = AUTO) -> Source:
    """Each folder is a class, or each holds the class folders of a split; raises DataError."""
    parts, notes = split_folders(path, layout)
    found = {split: [folder.name for folder in class_folders(part)] for split, part in parts.items()}
    classes = sorted({name for names in found.values() for name in names}, key=natural)
    if not classes:
        raise DataError(f"{path}: holds no class folders (put each class's pictures in a folder of its own)")
    notes += [f"left out, for it holds no class folders: {parts[split].name!r}" for split in parts if not found[split]]
    splits = {split: _split(part, found[split], classes) for split, part in parts.items() if found[split]}
    return Source(str(path), tuple(classes), splits, tuple(notes))


def class_folders(part: Path) -> list[Path]:
    """The folders in a split, or in the data set where it has no splits."""
    return [folder for folder in visible(part) if is_folder(folder)]


def empty_classes(path: Path, layout: Layout = AUTO) -> list[str]:
    """Class folders without a file, sorted; raises what `split_folders` raises."""
    parts, _ = split_folders(path, layout)
    return sorted(str(folder) for part in parts.values() for folder in class_folders(part) if not any(_files(folder)))


def split_folders(path: Path, layout: Layout = AUTO) -> tuple[dict[str, Path], list[str]]:
    """(the folder of each split, what is worth saying); {"train": path} where the folders are classes.

    Raises DataError where that cannot be told, or where two folders mean one split.
    """
    folders = class_folders(path)
    named = [folder for folder in folders if words(folder.name)]
    others = [folder for folder in folders if folder not in named]
    told = _names(named)
    if layout.split_folders == "on" and not named:
        raise DataError(f"{path}: no folder is named train, val or test (leave --split-folders on out)")
    if not named or layout.split_folders == "off":
        return {"train": path}, []
    if layout.split_folders == "auto":
        kinds = {_kind(folder) for folder in named} - {"empty"}
        beside = [folder for folder in others if _may_show(folder)]
        if not kinds:
            return {"train": path}, []
        if kinds == {"class"} and beside:
            return {"train": path}, [f"taken for classes, not for splits, since pictures lie in them: {told}"]
        if kinds != {"split"} or beside:
            why = _doubt(named, beside)
            raise DataError(f"{path}: {told} may be splits or classes: {why} (--split-folders on or off says which)")
    left = [folder for folder in others if _may_show(folder)]
    notes = [f"left out beside the folders of splits: {_names(left)}"] if left else []
    return _parts(path, named), notes


def _parts(path: Path, named: Sequence[Path]) -> dict[str, Path]:
    found, spelling = dict[str, Path](), Spelling()
    for folder in named:
        split = spelling.split(path, folder.name)
        if split in found:
            names = f"{found[split].name!r} and {folder.name!r}"
            raise DataError(f"{path}: {names} both mean the {split} split (keep one of them)")
        if split is not None:
            found[split] = folder
    return {split: found[split] for split in ORDER if split in found}


def _doubt(named: Sequence[Path], beside: Sequence[Path]) -> str:
    nested = [folder for folder in named if _kind(folder) == "split"]
    flat = [folder for folder in named if _kind(folder) == "class"]
    if not nested:
        return "pictures lie in them, and no class folder beside them"
    other = f"pictures lie in {_names(flat)}" if flat else f"{_names(beside)} lies beside them"
    return f"class folders lie in {_names(nested)}, and {other}"


def _names(folders: Sequence[Path]) -> str:
    more = f" and {len(folders) - 3:,} more" if len(folders) > 3 else ""
    return ", ".join(repr(folder.name) for folder in folders[:3]) + more


def _kind(folder: Path) -> Literal["split", "class", "empty"]:
    """What a folder is by what it holds: pictures, or class folders."""
    files, inner = list[str](), list[Path]()
    for entry in visible(folder):
        if is_folder(entry):
            inner.append(entry)
        else:
            files.append(entry.name)
    if any(_ending(name) in ENDINGS for name in files) or (files and not any(any(_files(one)) for one in inner)):
        return "class"
    return "split" if inner else "empty"


def _may_show(folder: Path) -> bool:
    """Whether a folder holds what may be pictures; notes and boxes beside the splits are none."""
    endings = set()
    for name in _files(folder):
        if _ending(name) in ENDINGS:
            return True
        endings.add(_ending(name))
    return endings == {""}


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _files(folder: Path) -> Iterator[str]:
    """Names of the visible files below a folder, as they come."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not seen(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif os.path.isfile(entry.path):
                    yield entry.name


def _split(part: Path, found: list[str], classes: list[str]) -> Split:
    counts = np.zeros(len(classes), dtype=np.int64)
    prefix = str(part / "x")[:-1]

    def rests() -> Iterator[str]:
        for label, name in enumerate(classes):
            # One class at a time: the paths of a million files would take a gigabyte.
            files = visible_files(part / name) if name in present else []
            if name in present and not files:
                raise DataError(f"{part / name}: class folder {name!r} is empty (add pictures or remove it)")
            counts[label] = len(files)
            yield from (str(file)[len(prefix) :] for file in files)

    present = set(found)
    names = Texts(prefix, rests())
    return Split(paths(names), np.repeat(np.arange(len(classes)), counts), names)
