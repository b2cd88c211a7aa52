"""What a finished network's wrong answers rest on: Grad-CAM, the nearest training pictures, and all in a plane.

It is no part of the training: it takes a bounded time, and where it fails the run is told without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.feed import Batch, Feed
from inceptory.engines.explain.attribution import heat_of
from inceptory.engines.explain.branches import located
from inceptory.engines.torch import TorchEngine
from inceptory.errors import printable
from inceptory.measure.evaluate import Scored, by_place
from inceptory.measure.vectors import NOTHING, Gallery, Insight, Plane, Reason, Rows, flattened, sampled
from inceptory.system import clock
from inceptory.system.ranks import Ranks

EXPLAINED = 12
"""Mistakes that are explained."""
AT_ONCE = 4
"""Mistakes that pass through the network together."""
GROUP = 64
"""Training pictures that do."""
SHARE, LEAST, MOST = 0.02, 2.0, 60.0
"""Of a run's length what explaining may take; seconds that it may always take, where no time was asked for; and at
most."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Time:
    """How long explaining may take."""

    end: float
    """A moment of `clock.now`."""
    stopped: Callable[[], bool] = lambda: False
    """Whether a signal asks for an end."""

    @classmethod
    def of(cls, used: float, left: float = MOST, stopped: Callable[[], bool] = lambda: False) -> Time:
        """Of a run that took `used` seconds; there are `left` seconds in which it must end."""
        return cls(clock.now() + min(max(SHARE * used, LEAST), MOST, left), stopped)

    def half(self) -> Time:
        """The first half of what is left."""
        return replace(self, end=(clock.now() + self.end) / 2)

    def enough_for(self, items: Iterable[Item]) -> Iterator[Item]:
        """Items to work on, one by one, as long as the next will probably be done in time."""
        longest, start = 0.0, clock.now()
        for item in items:
            if self.stopped() or clock.now() + longest >= self.end:
                return
            yield item
            longest, start = max(longest, clock.now() - start), clock.now()


def reserved(length: float) -> float:
    """Seconds that a run of this length keeps for it."""
    return min(SHARE * length, MOST)


@dataclass(frozen=True)
class Kept:
    """Vectors of some pictures of a feed, kept while the network answers to all of them."""

    engine: TorchEngine
    chosen: Tensor
    """Rows of the feed."""
    _rows: list[Tensor] = field(default_factory=list)
    _vectors: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, engine: TorchEngine, rows: Tensor, seed: int) -> Kept:
        """To keep those of as many pictures as a plane shows, of these rows (n,) of a feed."""
        return cls(engine, rows[torch.from_numpy(sampled(len(rows), seed))])

    def logits(self, batch: Batch) -> Tensor:
        """The engine's logits of a batch, as `logits_of` asks for them."""
        answers = self.engine.answers(batch.pixels.numpy())
        here = torch.isin(batch.rows, self.chosen)
        self._rows.append(batch.rows[here])
        self._vectors.append(torch.from_numpy(answers.vectors)[here])
        return torch.from_numpy(answers.logits)

    def all(self, ranks: Ranks) -> tuple[NDArray[np.float32], Rows]:
        """(vectors (n, length), their rows (n,) in the feed) of all processes, which must call this together."""
        with torch.inference_mode():
            net = self.engine.net
            # A process may have had no picture at all.
            none = net.head.bottleneck(torch.zeros(1, net.num_features, 1, 1, device=self.engine.device.name))[:0].cpu()
        vectors, rows = torch.cat([none, *self._vectors]), torch.cat([self.chosen[:0], *self._rows])
        return ranks.gathered(vectors).numpy(), ranks.gathered(rows).numpy()


def plane_of(test: Scored, vectors: NDArray[np.float32], places: Rows) -> Plane | None:
    """Vectors (n, length) of the pictures at these places of `test` as points; None where they say nothing."""
    flat = flattened(vectors)
    if flat is None:
        return None
    labels = test.labels[places].astype(np.int64)
    return Plane(*flat, labels, test.logits[places].argmax(1) != labels, len(test.labels))


def explained(
    engine: TorchEngine,
    test: Scored,
    classes: Sequence[str],
    plane: Callable[[], Plane | None],
    near: Callable[[], Gallery],
    time: Time,
) -> Insight:
    """What the most confident mistakes of `test` rest on, as far as one comes in this time.

    `plane` shows the measured pictures, `near` gives training pictures. Whatever goes wrong here is said in one line,
    and the run is told without it.
    """
    if not test.task.one_answer:
        return NOTHING
    try:
        shape = plane()
        heated = _heated(engine, test, time.half())
        if not heated:
            return Insight(plane=shape)
        rows, heat, vectors = zip(*heated, strict=True)
        gallery = near()
        neighbours = gallery.neighbours(np.stack(vectors), np.array(rows), classes)
        reasons = tuple(map(Reason, heat, neighbours))
        return Insight(reasons, located(engine.net.plan), len(gallery.vectors), gallery.of, shape)
    except Exception as fault:  # such as memory that is full: the trained network is worth more
        print(printable(f"mistakes are not explained: {type(fault).__name__} {fault}"), file=sys.stderr)
        return NOTHING


def _heated(
    engine: TorchEngine, test: Scored, time: Time
) -> list[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """(row of `test`, heat (H, W) of the answer, vector (length,)) of the most confident mistakes."""
    wrong = test.task.wrong(test.logits, test.labels, EXPLAINED)
    every: list[tuple[int, NDArray[np.float32], NDArray[np.float32]]] = []
    for group in time.enough_for(wrong[start : start + AT_ONCE] for start in range(0, len(wrong), AT_ONCE)):
        rows = [each.row for each in group]
        pixels = np.ascontiguousarray(test.pixels(rows).transpose(0, 3, 1, 2))
        every += zip(
            rows,
            *heat_of(engine, pixels, np.array([each.answer for each in group]), located(engine.net.plan)),
            strict=True,
        )
    return every


def looked_over(engine: TorchEngine, pictures: Feed, seed: int, time: Time) -> Gallery:
    """Pictures of a feed that the seed chooses, as many as the network looks at in time."""
    rows = sampled(len(pictures.labels), seed)
    # Each group is a sample of all classes, however few of the groups are reached.
    mixed = torch.from_numpy(np.random.default_rng(seed).permutation(rows))
    seen, vectors = [mixed[:0]], []
    groups = (group.sort().values for group in mixed.split(GROUP))  # type: ignore[no-untyped-call]
    for batch in time.enough_for(pictures.batches(groups)):
        if len(batch.rows):
            seen.append(batch.rows)
            vectors.append(engine.vectors(batch.pixels.numpy()))
    known = torch.cat(seen)
    names = [pictures.names[row] for row in known.tolist()]
    shown = by_place(pictures, known)
    whole = np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32)
    return Gallery(whole, pictures.labels[known].numpy(), names, shown, len(pictures))
