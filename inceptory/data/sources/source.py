"""What a data set is: class names, labels, and splits of pictures; and the names of files that count.

A split is a list of pictures that are not decoded yet. Nothing here imports torch, so that a
mistake in a path is answered at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.decode import Picture
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.labels import stratified as held_out
from inceptory.data.sources.sequences import are_paths, take
from inceptory.errors import ConfigError, DataError
from inceptory.system.files import is_file, is_folder

IGNORED = {"thumbs.db", "desktop.ini"}
CHUNK = 10_000
SEED = 0
"""A split that we cut ourselves is the same for every run, so that evaluation finds it again."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of the whole file, 0 where that is unknown."""


@dataclass(frozen=True)
class Split:
    """Pictures with labels; `names[i]` says where picture i lies."""

    pictures: Sequence[Picture]
    labels: Labels
    """(N,) int64; (N, K) uint8 where a picture may show several of the K classes."""
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def of_files(self) -> bool:
        """Whether pictures are files of their own; none is opened to tell."""
        return len(self) > 0 and are_paths(self.pictures)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The pictures of these rows, in this order."""
        return Split(take(self.pictures, rows), self.labels[rows], take(self.names, rows))


@dataclass(frozen=True)
class Source:
    """A data set: class names in order, and splits "train", "validation", "test" as far as it has them."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    """What its own reader noticed; `data.check.cheap` says the rest."""
    content: str = ""
    """sha256 of the pictures themselves, where neither names nor sizes of files tell them apart."""

    @property
    def multi_label(self) -> bool:
        """Whether a picture may show several classes, or none."""
        return any(split.labels.ndim == 2 for split in self.splits.values())

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
        splits = {**self.splits, "train": train.take(kept), "validation": train.take(held)}
        return replace(self, splits=splits)

    def fingerprint(self) -> str:
        """sha256 over classes, splits, names, labels and the sizes of files: the same pictures, the same value."""
        digest = hashlib.sha256(json.dumps(self.classes).encode() + self.content.encode())
        anywhere = _anywhere(self.name)
        for name, split in sorted(self.splits.items()):
            digest.update(f"\n{name} {len(split)}\n".encode())
            for start in range(0, len(split), CHUNK):
                names = "\n".join(map(anywhere, split.names[start : start + CHUNK]))
                digest.update(("\n" * (start > 0) + names).encode("utf-8", "surrogatepass"))
            digest.update(np.ascontiguousarray(split.labels).tobytes())
            if split.of_files:
                sizes = (_size(picture) for picture in split.pictures)
                digest.update(np.fromiter(sizes, np.int64, len(split)).tobytes())
        return digest.hexdigest()


def stratified(labels: Labels, fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows kept, rows held out): `fraction` of each class is held out, at least one where it has two."""
    held = held_out(labels, fraction, SEED)
    return np.flatnonzero(~held), np.flatnonzero(held)


def _anywhere(data: str) -> Callable[[str], str]:
    """What is left of a picture's name wherever its data lies and however its path is written.

    Pictures lie below the data's own path, or below the folder of a table or of a pattern of tars.
    """
    beside = os.path.join(os.path.dirname(data), "")
    starts = [start for start in (beside, os.path.join(os.path.abspath(beside or "."), "")) if start]

    def rest(name: str) -> str:
        if name.startswith(data):
            return name[len(data) :]
        start = next((start for start in starts if name.startswith(start)), "")
        return os.sep + name[len(start) :]

    return rest


def _size(picture: Picture) -> int:
    """Bytes of a file; -1 where it is gone, which is another list of pictures."""
    try:
        return picture.stat().st_size if isinstance(picture, Path) else -1
    except OSError:
        return -1


def numbered(path: Path, labels: Iterable[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """(class names in natural order, the number of each); raises DataError for none."""
    classes = tuple(sorted(set(labels), key=natural))
    check_classes(path, classes)
    return classes, {name: number for number, name in enumerate(classes)}


def check_classes(path: Path, classes: Sequence[str]) -> None:
    """Raise DataError where there is no class; whether one is enough decides who asks (`check.cheap` for training)."""
    if not classes:
        raise DataError(f"{path}: holds no class (give pictures with labels)")


def natural(text: str) -> tuple[Any, ...]:
    """Sort key that puts class2 before class10; the text itself decides between 1 and 01."""
    parts = re.split(r"([0-9]+)", text)
    return tuple((i % 2 == 0, int(part) if i % 2 else part) for i, part in enumerate(parts)), text


def seen(name: str) -> bool:
    """Whether a name counts: not hidden, and nothing that systems leave behind."""
    return not name.startswith((".", "__MACOSX")) and name.lower() not in IGNORED


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in natural order, without hidden ones and what systems leave behind."""
    return sorted((entry for entry in folder.iterdir() if seen(entry.name)), key=lambda entry: natural(entry.name))


def visible_files(folder: Path) -> list[Path]:
    """Every visible file below a class folder, nested folders included."""
    found: list[Path] = []
    for entry in visible(folder):
        if is_folder(entry) and not entry.is_symlink():
            found += visible_files(entry)
        elif is_file(entry):
            found.append(entry)
    return found
