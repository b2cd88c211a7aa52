"""What a data set is: class names, labels, and splits of pictures.

A split is a list of pictures that are not decoded yet. Nothing here imports torch, so that a
mistake in a path is answered at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.decode import Picture
from inceptory.data.sources.folders.listing import Listing, natural
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.labels import stratified as held_out
from inceptory.data.sources.sequences import are_paths, take
from inceptory.errors import ConfigError, DataError

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
    listing: Listing | None = field(default=None, compare=False, repr=False)
    """The names in folders of classes, as the opening read them, for `data.check`."""

    @property
    def multi_label(self) -> bool:
        """Whether a picture may show several classes, or none."""
        return any(split.labels.ndim == 2 for split in self.splits.values())

    @property
    def sizes(self) -> dict[str, int]:
        """The number of pictures of each split."""
        return {name: len(split) for name, split in self.splits.items()}

    def split(self, name: str) -> Split:
        """The split of this name; raises ConfigError naming those that exist."""
        if name not in self.splits:
            names = ", ".join(self.splits)
            raise ConfigError(f"{self.name}: has no split {name!r} (it has {names})")
        return self.splits[name]

    def with_validation(self, fraction: float) -> Source:
        """The source to learn from: a stratified validation split is cut from "train" where it has none.

        The listing is left behind: a training of days does not hold it.
        """
        if "validation" in self.splits or "train" not in self.splits:
            return replace(self, listing=None)
        train = self.splits["train"]
        kept, held = stratified(train.labels, fraction)
        splits = {**self.splits, "train": train.take(kept), "validation": train.take(held)}
        return replace(self, splits=splits, listing=None)

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
