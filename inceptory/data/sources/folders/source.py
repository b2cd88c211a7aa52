"""Class folders, with or without train, val and test above them.

A folder with such a word in its name may be a split or a class, and what lies in it tells: a split
holds class folders that hold pictures, a class holds pictures itself. Where that leaves a doubt,
`Layout.split_folders` decides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.folders.listing import Listing, natural
from inceptory.data.sources.layout import AUTO, ORDER, Layout, Spelling, words
from inceptory.data.sources.sequences import Texts, paths
from inceptory.data.sources.source import Source, Split
from inceptory.errors import DataError


class EmptyClassError(DataError):
    """Class folders without a picture; the message names the first."""

    def __init__(self, message: str, folders: Sequence[Path]) -> None:
        super().__init__(message)
        self.folders = tuple(sorted(map(str, folders)))
        """All of them."""


def open_folders(listing: Listing, layout: Layout = AUTO) -> Source:
    """Each folder is a class, or each holds the class folders of a split; raises DataError."""
    parts, notes = split_folders(listing, layout)
    present = {split: listing.folders(part) for split, part in parts.items()}
    classes = sorted({name for names in present.values() for name in names}, key=natural)
    if not classes:
        raise DataError(f"{listing.root}: holds no class folders (put each class's pictures in a folder of its own)")
    _check_filled(listing, [os.path.join(parts[split], name) for split in parts for name in present[split]])
    notes += [f"left out, for it holds no class folders: {parts[split]!r}" for split in parts if not present[split]]
    splits = {split: _split(listing, part, present[split], classes) for split, part in parts.items() if present[split]}
    return Source(str(listing.root), tuple(classes), splits, tuple(notes), listing=listing)


def _check_filled(listing: Listing, folders: Sequence[str]) -> None:
    empty = [listing.root / folder for folder in folders if not any(listing.files(folder))]
    if empty:
        first = f"{empty[0]}: class folder {empty[0].name!r} is empty (add pictures or remove it)"
        raise EmptyClassError(first, empty)


def split_folders(listing: Listing, layout: Layout = AUTO) -> tuple[dict[str, str], list[str]]:
    """(the folder of each split, what is worth saying); {"train": ""}, the root, where the folders are classes.

    Raises DataError where that cannot be told, or where two folders mean one split.
    """
    root, folders = listing.root, listing.folders()
    named = [folder for folder in folders if words(folder)]
    others = [folder for folder in folders if not words(folder)]
    if layout.split_folders == "on" and not named:
        raise DataError(f"{root}: no folder is named train, val or test (leave --split-folders on out)")
    if not named or layout.split_folders == "off":
        return {"train": ""}, []
    beside = [folder for folder in others if _may_show(listing, folder)]
    if layout.split_folders == "auto":
        kinds = {folder: _kind(listing, folder) for folder in named}
        distinct = set(kinds.values()) - {"empty"}
        if not distinct:
            return {"train": ""}, []
        if distinct == {"class"} and beside:
            return {"train": ""}, [f"taken for classes, not for splits, since pictures lie in them: {_names(named)}"]
        if distinct != {"split"} or beside:
            why = f"{_names(named)} may be splits or classes: {_doubt(kinds, beside)}"
            raise DataError(f"{root}: {why} (--split-folders on or off says which)")
    notes = [f"left out beside the folders of splits: {_names(beside)}"] if beside else []
    return _parts(root, named), notes


def _parts(root: Path, named: Sequence[str]) -> dict[str, str]:
    parts, spelling = dict[str, str](), Spelling()
    for folder in named:
        split = spelling.split(root, folder)
        if split in parts:
            raise DataError(f"{root}: {parts[split]!r} and {folder!r} both mean the {split} split (keep one of them)")
        if split is not None:
            parts[split] = folder
    return {split: parts[split] for split in ORDER if split in parts}


def _doubt(kinds: Mapping[str, str], beside: Sequence[str]) -> str:
    nested = [folder for folder, kind in kinds.items() if kind == "split"]
    flat = [folder for folder, kind in kinds.items() if kind == "class"]
    if not nested:
        return "pictures lie in them, and no class folder beside them"
    other = f"pictures lie in {_names(flat)}" if flat else f"{_names(beside)} lies beside them"
    return f"class folders lie in {_names(nested)}, and {other}"


def _names(folders: Sequence[str]) -> str:
    more = f" and {len(folders) - 3:,} more" if len(folders) > 3 else ""
    return ", ".join(map(repr, folders[:3])) + more


def _kind(listing: Listing, folder: str) -> Literal["split", "class", "empty"]:
    """What a folder is by what it holds: pictures, or class folders."""
    inner, inside = listing.folders(folder), listing.folder(folder)
    files = [*inside.files, *inside.others]
    if any(_ending(name) in ENDINGS for name in files):
        return "class"
    if files and not any(any(listing.files(os.path.join(folder, name))) for name in inner):
        return "class"
    return "split" if inner else "empty"


def _may_show(listing: Listing, folder: str) -> bool:
    """Whether a folder holds what may be pictures; notes and boxes beside the splits are none."""
    endings = set()
    for name in listing.files(folder):
        if _ending(name) in ENDINGS:
            return True
        endings.add(_ending(name))
    return endings == {""}


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _split(listing: Listing, part: str, present: Sequence[str], classes: Sequence[str]) -> Split:
    counts = [0] * len(classes)
    numbers = {name: label for label, name in enumerate(classes)}

    def rests() -> Iterator[str]:
        for name in present:
            for file in listing.files(os.path.join(part, name)):
                counts[numbers[name]] += 1
                yield os.path.join(name, file)

    names = Texts(str(listing.root / part / "x")[:-1], rests())
    return Split(paths(names), np.repeat(np.arange(len(classes)), counts), names)
