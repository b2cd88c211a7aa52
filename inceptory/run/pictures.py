"""Which pictures a command means, and these a batch at a time; pictures that cannot be read are named and skipped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.sequences import Mapped, Texts, paths
from inceptory.errors import DataError, MissingError, UsageError
from inceptory.system import files
from inceptory.system.progress import meter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inceptory.data.feed.decoding import Decoded


def pictures_meant(images: Sequence[Path | str], command: str, results: Sequence[Path] = ()) -> Sequence[Path]:
    """Every picture meant, in little memory: files as they are, folders searched, where `results` are no pictures.

    `results` are files, or folders and all that is in them, which the command itself writes.

    Raises UsageError for what is no path or for none at all, MissingError for what is not there, DataError for an
    empty folder.
    """
    if not images:
        raise UsageError(f"{command} needs pictures (give one or more files or folders after the model)")
    for image in images:
        if not isinstance(image, str | os.PathLike):
            kind = type(image).__name__
            raise UsageError(f"{command}: a picture of the type {kind} is not a path (give files, or folders of them)")
    return paths(Texts("", _searched(map(Path, images), [os.path.realpath(result) for result in results])))


def _searched(images: Iterable[Path], results: Sequence[str]) -> Iterator[str]:
    for image in images:
        if files.is_folder(image):
            own = [os.path.relpath(result, os.path.realpath(image)) for result in results]
            within = tuple(os.path.join(result, "") for result in own)
            inside = (file for file in Listing(image).files() if file not in own and not file.startswith(within))
            first = next(inside, None)
            if first is None:
                raise DataError(f"{image}: an empty folder (give one that holds pictures)")
            yield from (str(image / file) for file in chain([first], inside))
        elif files.exists(image):
            yield str(image)
        else:
            raise MissingError(f"{image}: no such picture or folder (check the path)")


def require_outside(folder: Path, images: Sequence[Path | str], flag: str) -> None:
    """Raise UsageError where a folder for results lies in one that is searched: they would be pictures next time."""
    real = Path(os.path.realpath(folder))
    for image in map(Path, images):
        if files.is_folder(image) and Path(os.path.realpath(image)) in (real, *real.parents):
            raise UsageError(f"{flag} {folder}: lies in {image}, which is searched for pictures (choose another place)")


class Distinct:
    """Names of files and folders, no two of which are equal on any system: cat.png, cat-2.png."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._numbers: dict[tuple[str, str], int] = {}

    def __call__(self, stem: str, suffix: str = "") -> str:
        """The name itself, or with the first number under which it is free. Some systems do not tell case apart."""
        key = stem.casefold(), suffix.casefold()
        number, name = self._numbers.get(key, 0), ""
        while not name or name.casefold() in self._taken:
            number += 1
            name = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
        self._taken.add(name.casefold())
        self._numbers[key] = number
        return name


@dataclass
class Reading:
    """Pictures as a network takes them."""

    paths: Sequence[Path]
    preprocess: Preprocess
    skipped: list[str] = field(default_factory=list)
    """A line for each picture that could not be read so far."""

    def sample(self, most: int) -> NDArray[np.uint8]:
        """Pixels (N, C, H, W) of so many of the pictures, or fewer: those that can be read."""
        from inceptory.data.feed.decoding import sample

        return sample(self.paths, self.paths, self.preprocess, most)

    def batches(self, title: str, most: int, done: int = 0) -> Iterator[Decoded]:
        """Those that can be read from number `done` on, decoded ahead, `most` views or less at a time.

        A batch may be empty. At the end the others are named and counted. `title` is what the bar says. Raises
        DataError where none can be read.
        """
        import numpy as np

        from inceptory.data.feed.ahead import ahead
        from inceptory.data.feed.decoding import Decoder

        total, size = len(self.paths), self.preprocess.at_a_time(most)
        each = (np.arange(start, min(start + size, total)) for start in range(done, total, size))
        requests, decoder = ((rows, rows, None) for rows in each), Decoder(self.paths, self.preprocess)
        with meter(title, total, done) as bar:
            for rows, decoded in ahead(decoder, Mapped(self.paths, str), requests, total - done):
                self.skipped += [fault for _, fault in decoded.faults]
                yield decoded
                bar(int(rows[-1]) + 1, total)
            if len(self.skipped) == total:
                raise DataError(f"{self.skipped[0]} ({total} of {total} pictures could not be read)")
            bar.say_skipped(self.skipped, total - len(self.skipped))
