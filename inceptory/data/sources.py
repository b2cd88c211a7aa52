"""Where labelled pictures come from: class folders, parquet, built-in digits. Names, labels, splits.

A split is a list of pictures that are not decoded yet. Nothing here imports torch, so that a
mistake in a path is answered at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.images import Picture
from inceptory.data.sequences import take
from inceptory.errors import ConfigError, DataError, MissingError, printable
from inceptory.files import reason

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of folders and files that mean a split."""
IGNORED = {"thumbs.db", "desktop.ini"}
SEED = 0
"""A split that we cut ourselves is the same for every run, so that evaluation finds it again."""


@dataclass(frozen=True)
class Split:
    """Pictures with labels; `names[i]` says where picture i lies."""

    pictures: Sequence[Picture]
    labels: NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The pictures of these rows, in this order."""
        return Split(take(self.pictures, rows), self.labels[rows], take(self.names, rows))


@dataclass(frozen=True)
class Source:
    """A data set: class names in order, and splits "train", "validation", "test" as far as it has them."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]

    def split(self, name: str) -> Split:
        """The split of this name; raises ConfigError naming those that exist."""
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise ConfigError(f"{self.name}: has no split {name!r} (it has {known})")
        return self.splits[name]

    def with_validation(self, fraction: float) -> Source:
        """The same source with a stratified validation split cut from "train" where it has none."""
        if "validation" in self.splits or "train" not in self.splits:
            return self
        train = self.splits["train"]
        kept, held = stratified(train.labels, fraction)
        return replace(self, splits={**self.splits, "train": train.take(kept), "validation": train.take(held)})

    def fingerprint(self) -> str:
        """sha256 over classes, splits, names and labels: the same list of pictures, the same value."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for name, split in sorted(self.splits.items()):
            digest.update(f"\n{name} {len(split)}\n".encode())
            digest.update("\n".join(split.names).encode("utf-8", "surrogatepass"))
            digest.update(np.ascontiguousarray(split.labels).tobytes())
        return digest.hexdigest()


def stratified(labels: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows kept, rows held out): `fraction` of each class is held out, at least one where it has two."""
    random = np.random.default_rng(SEED)
    held: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(len(rows) * fraction), 1), len(rows) - 1) if fraction else 0
        held += random.permutation(rows)[:count].tolist()
    mask = np.zeros(len(labels), dtype=bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def open_source(data: str | Path) -> Source:
    """The labelled pictures behind a name or path, listed but not decoded.

    Raises MissingError where there is nothing, DataError where it is no data set.
    """
    if str(data) in BUILT_IN:
        return BUILT_IN[str(data)]()
    from inceptory.data import parquet

    path = Path(data)
    try:
        if path.is_dir():
            return parquet.open_parquet(path) if parquet.files_of(path) else _folders(path)
        if path.is_file():
            if path.suffix.lower() != ".parquet":
                raise DataError(f"{path}: not a data set (give a folder of class folders or a .parquet file)")
            return parquet.open_parquet(path)
    except OSError as fault:
        raise MissingError(f"{path}: cannot be read, {reason(fault)} (check its permissions)") from fault
    names = ", ".join(BUILT_IN)
    raise MissingError(f"{printable(data)}: no such data (give a folder, a .parquet file, or a built-in set: {names})")


def natural(text: str) -> tuple[Any, ...]:
    """Sort key that puts class2 before class10; the text itself decides between 1 and 01."""
    parts = re.split(r"([0-9]+)", text)
    return tuple((i % 2 == 0, int(part) if i % 2 else part) for i, part in enumerate(parts)), text


# Class folders


def _folders(path: Path) -> Source:
    parts = _split_folders(path)
    if "train" not in parts and "test" not in parts:
        parts = {"train": path}
    listed = {split: _class_folders(folder) for split, folder in parts.items()}
    classes = sorted({name for found in listed.values() for name in found}, key=natural)
    _check_classes(path, classes)
    for split, found in listed.items():
        _check_filled(parts[split], found)
    return Source(str(path), tuple(classes), {split: _split(found, classes) for split, found in listed.items()})


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


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in natural order, without hidden ones and what systems leave behind."""
    found = (entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX")))
    return sorted(
        (entry for entry in found if entry.name.lower() not in IGNORED), key=lambda entry: natural(entry.name)
    )


def _class_folders(path: Path) -> dict[str, list[Path]]:
    return {folder.name: visible_files(folder) for folder in visible(path) if folder.is_dir()}


def visible_files(folder: Path) -> list[Path]:
    """Every visible file below a class folder, nested folders included."""
    found: list[Path] = []
    for entry in visible(folder):
        if entry.is_dir() and not entry.is_symlink():
            found += visible_files(entry)
        elif entry.is_file():
            found.append(entry)
    return found


def _check_classes(path: Path, classes: list[str]) -> None:
    if not classes:
        raise DataError(f"{path}: holds no class folders (put each class's pictures in a folder of its own)")
    if len(classes) == 1:
        raise DataError(f"{path}: holds one class only, {classes[0]!r} (a classifier needs two or more class folders)")


def _check_filled(folder: Path, found: dict[str, list[Path]]) -> None:
    for name, files in found.items():
        if not files:
            raise DataError(f"{folder / name}: class folder {name!r} is empty (add pictures or remove it)")


def _split(found: dict[str, list[Path]], classes: list[str]) -> Split:
    rows = [(file, label) for label, name in enumerate(classes) for file in found.get(name, [])]
    files = [file for file, _ in rows]
    labels = np.asarray([label for _, label in rows], dtype=np.int64)
    return Split(files, labels, [str(file) for file in files])


# Built-in sets


def _digits() -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, enlarged to 32x32; a fifth is the test split."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    small = (found.images * (255 / 16)).round().astype(np.uint8)
    pictures = [np.asarray(Image.fromarray(digit).resize((32, 32), Image.Resampling.BICUBIC)) for digit in small]
    everything = Split(pictures, found.target.astype(np.int64), [f"digits:{i}" for i in range(len(pictures))])
    train, test = stratified(everything.labels, 0.2)
    splits = {"train": everything.take(train), "test": everything.take(test)}
    return Source("digits", tuple(str(name) for name in found.target_names), splits)


BUILT_IN: dict[str, Callable[[], Source]] = {"digits": _digits}
