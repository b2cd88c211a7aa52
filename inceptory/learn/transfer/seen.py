"""What a backbone sees in a data set: the vectors of its training and validation pictures, and of its test pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.decoding import Decoder
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.source import Source, Split
from inceptory.features.extract import Extractor
from inceptory.learn.transfer.parts import check_classes
from inceptory.measure.evaluate import Scored
from inceptory.measure.tasks import Task
from inceptory.system import clock


@dataclass(frozen=True)
class Seen:
    """Readable pictures of some splits, one after the other."""

    source: Source
    vectors: NDArray[np.float32]
    """(n, views, length); a picture with fewer views has its first one again."""
    labels: Labels
    """(n,), or (n, K) where a picture may show several classes."""
    places: tuple[tuple[str, int], ...]
    """(n,) split and row in it."""
    extractor: Extractor
    seconds: float
    """That the vectors took."""

    @classmethod
    def of(cls, extractor: Extractor, source: Source, splits: list[str], views: int, look: Callable[[], None]) -> Seen:
        """The pictures of these splits, the first in so many views; `look` is called now and then, and may raise."""
        start, parts = clock.now(), []
        for number, name in enumerate(splits):
            parts.append(extractor.split(source.splits[name], name, 1 if number else views, look))
        shape = parts[0].values.shape[1:]
        return cls(
            source,
            np.concatenate([np.broadcast_to(part.values, (len(part.values), *shape)) for part in parts]),
            np.concatenate([source.splits[name].labels[part.rows] for name, part in zip(splits, parts, strict=True)]),
            tuple((name, row) for name, part in zip(splits, parts, strict=True) for row in part.rows.tolist()),
            extractor,
            clock.now() - start,
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def warn(self) -> None:
        """Say which classes are thin; raises for those that are too thin."""
        for note in check_classes(self.source, self.labels):
            print(note, file=sys.stderr)

    def count(self, split: str) -> int:
        """Pictures of a split."""
        return sum(name == split for name, _ in self.places)

    def taken(self, rows: NDArray[np.int64]) -> Split:
        """Some of the pictures, all of one split, as a split of their own."""
        (name,) = {self.places[row][0] for row in rows.tolist()}
        return self.source.splits[name].take(np.asarray([self.places[row][1] for row in rows.tolist()]))

    def scored(self, task: Task, logits: NDArray[np.float64], rows: NDArray[np.int64]) -> Scored:
        """Answers (n, K) to some of the pictures."""
        return Scored(task, logits, self.labels[rows], *self.shown(rows), self.extractor.setting.precision)

    def shown(self, rows: NDArray[np.int64]) -> tuple[list[str], Callable[[list[int]], NDArray[np.uint8]]]:
        """(names of some pictures, a function from places among these to their pixels (m, H, W, C))."""
        places = [self.places[row] for row in rows.tolist()]
        names = [self.source.splits[split].names[row] for split, row in places]
        return names, lambda chosen: np.concatenate([self._pixels(*places[place]) for place in chosen])

    def _pixels(self, split: str, row: int) -> NDArray[np.uint8]:
        """(1, H, W, C) as the network sees a picture."""
        part = self.source.splits[split]
        decoder = Decoder(part.pictures, self.extractor.preprocess)
        return decoder(np.asarray([row]), [part.names[row]]).pixels.transpose(0, 2, 3, 1)
