"""Class folders, with or without train, val and test above them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from inceptory.data.sequences import Texts, paths
from inceptory.data.sources import SPLITS, Source, Split, natural, visible, visible_files
from inceptory.errors import DataError


def open_folders(path: Path) -> Source:
    """Each folder is a class, or each holds the class folders of a split; raises DataError."""
    parts = _split_folders(path)
    if "train" not in parts and "test" not in parts and not _alone(path, parts):
        parts = {"train": path}
    found = {split: [folder.name for folder in visible(part) if folder.is_dir()] for split, part in parts.items()}
    classes = sorted({name for names in found.values() for name in names}, key=natural)
    _check_classes(path, classes)
    splits = {split: _split(part, found[split], classes) for split, part in parts.items()}
    return Source(str(path), tuple(classes), splits)


def _split_folders(path: Path) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for folder in visible(path):
        split = SPLITS.get(folder.name.lower())
        if split in parts:
            names = f"{parts[split].name!r} and {folder.name!r}"
            raise DataError(f"{path}: {names} both mean the {split} split (keep one of them)")
        if split is not None and folder.is_dir():
            parts[split] = folder
    return parts


def _alone(path: Path, parts: dict[str, Path]) -> bool:
    """Whether a validation folder with class folders is all that there is, as where only that was fetched."""
    folders = [folder for folder in visible(path) if folder.is_dir()]
    return bool(folders) and folders == list(parts.values()) and any(entry.is_dir() for entry in visible(folders[0]))


def _check_classes(path: Path, classes: list[str]) -> None:
    if not classes:
        raise DataError(f"{path}: holds no class folders (put each class's pictures in a folder of its own)")
    if len(classes) == 1:
        raise DataError(f"{path}: holds one class only, {classes[0]!r} (a classifier needs two or more class folders)")


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
