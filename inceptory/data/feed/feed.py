"""Batches of a split for the training loop: out of memory where the pictures fit, else streamed from their files.

    pictures = feed(source.split("train"), source.classes, preprocess)
    for batch in pictures.batches(pictures.order(generator).split(64)):
        ...

What a batch of a feed holds is a function of the rows and draws asked for and of nothing else: neither the
number of workers nor the death of one changes it. A feed in memory and a stream of the same files may
differ: in crops, where memory holds pictures smaller than they are, and in the order of a file read in blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.check.survey import corrupt_classes
from inceptory.data.feed.ahead import in_order
from inceptory.data.feed.batches import (
    Progress,
    bytes_of,
    check_classes,
    decode_all,
    histogram,
    keep_all,
    machine_memory,
    statistics_of,
)
from inceptory.data.feed.decoding import Decoded, Decoder
from inceptory.data.feed.windows import Mixture, held, mixture
from inceptory.data.feed.workers import Pool, Processes, Threads
from inceptory.data.picture.crops import Crops
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.labels import showing, shown
from inceptory.data.sources.sequences import is_local
from inceptory.data.sources.source import Split
from inceptory.errors import DataError

IN_MEMORY = 2 * 2**30
"""Bytes of decoded pictures up to which a split is held in memory: a million small pictures are above."""
SHARE_OF_MEMORY = 0.5
"""Share of the machine's memory that decoded pictures may take at most."""
AHEAD = 2
"""Groups of rows that each worker has in hand or waiting."""
MOST_WORKERS = 8
SAMPLE = 20_000
"""Pictures of a stream that its channel statistics look at."""
GROUP = 256
USUAL_BATCH = 64
"""Pictures for which a stream's order is mixed where nobody says how many a batch has."""


@dataclass(frozen=True)
class Batch:
    """Pictures of one group of rows, without those that could not be read: it may be shorter, or empty.

    Of the network's size, and not yet augmented but for the random crop, which is taken where the
    picture is decoded; what else is done to them is decided in `learn/pictures.py`.
    """

    pixels: Tensor
    """(n, C, H, W) uint8."""
    labels: Tensor
    """(n,) int64, or (n, K) uint8 where a picture may show several classes."""
    rows: Tensor
    """(n,) int64, row numbers in the split."""


class Feed(Protocol):
    """Pictures of one split, in any order and as often as wanted.

    The feed decides how pictures are kept and who decodes them, and proposes an order; the caller
    decides which rows come together, and draws every random number, also those of the crops. Only
    the feed knows how large a picture is, so it makes the boxes.
    """

    labels: Tensor
    """(N,) int64 of the whole split, or (N, K) uint8."""
    names: Sequence[str]
    """Where picture i lies."""
    skipped: list[str]
    """One line for each picture that could not be read; grows while streaming."""
    notes: Sequence[str]
    """What a person should know of how the pictures are read."""

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """(N,) which rows those are."""
        ...

    def __len__(self) -> int:
        """Pictures in one epoch's order."""
        ...

    def order(self, generator: torch.Generator, balanced: bool = False) -> Tensor:
        """One epoch's permutation of the rows: each picture once, those known to be unreadable left out.

        With `balanced` as many draws, in which every class has the same chance.
        """
        ...

    def batches(self, rows: Iterable[Tensor], draws: Iterable[Tensor] | None = None) -> Iterator[Batch]:
        """The pictures of these groups of rows, in this order; groups may be taken ahead of the batches.

        As `preprocess` sees them, or, of a feed opened with crops, the parts that `draws` choose:
        (n, DRAWS) float64 from [0, 1) for each group.
        """
        ...

    def close(self) -> None:
        """End what runs in the background."""
        ...


def feed(
    split: Split,
    classes: Sequence[str],
    preprocess: Preprocess,
    *,
    crops: Crops | None = None,
    workers: int | None = None,
    memory: int | None = None,
    need: int | None = None,
    progress: Progress | None = None,
    batch: int | None = None,
) -> Feed:
    """A feed of a split's pictures, each made by the geometric part of `preprocess`, or cut out of it by `crops`.

    Decoded once into memory where that takes at most `memory` bytes (2 GiB and half of the machine's by
    default; `need` is what `bytes_of` has found, where that was asked before), else streamed by `workers`
    processes (default: one for each core, at most 8; 0: threads of this process). Raises DataError where no
    picture of a class can be read; a stream does so when it has found out. `batch` is given where `order`
    will be asked for, in batches of so many: then DataError is also raised for files in which classes lie
    so that a stream cannot mix them.
    """
    need = bytes_of(split, preprocess, crops) if need is None else need
    if need > (room_for([need]) if memory is None else memory):
        stream = Stream(split, classes, preprocess, workers, crops, batch or USUAL_BATCH)
        if batch is not None:
            stream.prepare()
        return stream
    if crops is not None:
        return Whole(split, classes, preprocess, crops, progress)
    return InMemory(split, classes, preprocess, progress)


def room_for(needs: Sequence[int]) -> int:
    """Bytes up to which a split is held in memory, of splits that need so many: the small ones first."""
    room = min(IN_MEMORY, machine_memory() * SHARE_OF_MEMORY)
    return max((need for need in needs if sum(other for other in needs if other <= need) <= room), default=0)


class InMemory:
    """A split decoded once to the network's size."""

    def __init__(
        self, split: Split, classes: Sequence[str], preprocess: Preprocess, progress: Progress | None = None
    ) -> None:
        pixels, faults = decode_all(split, preprocess, progress)
        self._note(split, classes, faults)
        self._pixels = torch.from_numpy(pixels)

    def _note(self, split: Split, classes: Sequence[str], faults: Sequence[str | None]) -> None:
        check_classes(split, classes, faults)
        self.labels = torch.from_numpy(split.labels)
        self.names = split.names
        self.skipped = [fault for fault in faults if fault is not None]
        self.notes: Sequence[str] = ()
        self._good = torch.tensor([fault is None for fault in faults])

    def __len__(self) -> int:
        return int(self._good.sum())

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """(N,) rows that could not be read."""
        return ~self._good.numpy()

    def order(self, generator: torch.Generator, balanced: bool = False) -> Tensor:
        """A permutation of the readable rows, all equally likely."""
        order = self._good.nonzero()[:, 0][torch.randperm(len(self), generator=generator)]
        return _balanced(self.labels, order, generator) if balanced else order

    def batches(self, rows: Iterable[Tensor], draws: Iterable[Tensor] | None = None) -> Iterator[Batch]:
        """The pictures of these groups of rows, in this order; nothing can be cut out of them."""
        assert draws is None, "this feed was not opened with crops"
        for group in rows:
            kept = group[self._good[group]]
            yield Batch(self._pixels[kept], self.labels[kept], kept)

    def close(self) -> None:
        """Nothing runs in the background."""


class Stream:
    """A split decoded again in each epoch, by workers that are at most a few batches ahead.

    Pictures that lie in blocks (row groups of a parquet file) are read by this process, which holds
    those of two windows at most (`data.windows`: 1 GiB, in each process of torchrun), and sent to the
    workers encoded.
    """

    def __init__(
        self,
        split: Split,
        classes: Sequence[str],
        preprocess: Preprocess,
        workers: int | None = None,
        crops: Crops | None = None,
        batch: int = USUAL_BATCH,
    ) -> None:
        self._held = held(split.pictures)
        decoder = Decoder(split.pictures if self._held is None else self._held, preprocess, crops)
        cores = min(os.cpu_count() or 1, MOST_WORKERS)
        count = cores if workers is None else workers
        self._ahead = AHEAD * (count or cores)
        if is_local(split.pictures):
            count = 0  # threads, whose decoders work side by side too
        pool = Processes(decoder, split.names, count) if count else None
        self._pool: Pool = pool or Threads(decoder, split.names)
        self._split, self._classes, self._group = split, classes, batch
        self._mixture: Mixture | None = None
        self._bad = np.zeros(len(split), dtype=bool)
        self._readers = 0
        self.labels = torch.from_numpy(split.labels)
        self.names = split.names
        self.skipped: list[str] = []
        self.notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self._split)

    @property
    def unreadable(self) -> NDArray[np.bool_]:
        """(N,) rows that could not be read so far."""
        return self._bad

    def prepare(self) -> None:
        """Find out how blocks are mixed; raises DataError where they cannot be."""
        if self._held is not None and self._mixture is None:
            file = self.names[0].rpartition(":")[0]
            self._mixture = mixture(self._held.blocks, self._split.labels, self._group, file)
            if self._mixture.reads > 1:
                remark = f"each row group is read up to {self._mixture.reads} times an epoch, so that its classes mix"
                self.notes = (f"{file}: {remark} (in random order once would do)",)

    def order(self, generator: torch.Generator, balanced: bool = False) -> Tensor:
        """A permutation of all rows; of pictures that lie in blocks one by windows, classes mixed in each.

        Pictures found to be unreadable stay in: the order depends on the generator alone, so that a
        resumed run, which has not yet found them, has the same batches.
        """
        order = torch.randperm(len(self), generator=generator)
        if balanced:
            order = _balanced(self.labels, order, generator)
        self.prepare()
        if self._held is None or self._mixture is None:
            return order
        seed = int(torch.randint(2**62, (), generator=generator))
        window = self._mixture.dealt(np.random.default_rng(seed))
        self._held.arrange(window)
        return order[torch.argsort(torch.from_numpy(window)[order], stable=True)]

    def batches(self, rows: Iterable[Tensor], draws: Iterable[Tensor] | None = None) -> Iterator[Batch]:
        """The pictures of these groups of rows, in this order, or the parts of them that `draws` choose.

        Raises DataError when the last picture of a class turns out to be unreadable,
        InterruptedRun where workers keep dying on the same pictures.
        """
        self._readers += 1
        try:
            for _, decoded in in_order(self._pool, self._requests(rows, draws), self._ahead):
                yield self._batch(decoded)
            if self._readers == 1:
                self._pool.rest()
                if self._held is not None:
                    self._held.forget()
        finally:
            self._readers -= 1

    def _requests(
        self, rows: Iterable[Tensor], draws: Iterable[Tensor] | None
    ) -> Iterator[tuple[None, NDArray[np.int64], NDArray[np.float64] | None]]:
        """What the pool is asked for: of each group the rows that are not known to be unreadable, and their draws."""
        for group, numbers in ((group, None) for group in rows) if draws is None else zip(rows, draws, strict=True):
            indices = group.numpy()
            readable = ~self._bad[indices]
            yield None, indices[readable], None if numbers is None else numbers.numpy()[readable]

    def _batch(self, decoded: Decoded) -> Batch:
        for row, fault in decoded.faults:
            self._skip(row, fault)
        rows = torch.from_numpy(decoded.rows)
        return Batch(torch.from_numpy(decoded.pixels), self.labels[rows], rows)

    def _skip(self, row: int, fault: str) -> None:
        if self._bad[row]:
            return
        self._bad[row] = True
        self.skipped.append(fault)
        for label in shown(self._split.labels, row):
            if self._bad[showing(self._split.labels, label)].all():
                raise DataError(f"class {self._classes[label]!r}: none of its pictures can be read, the last: {fault}")

    def close(self) -> None:
        """End the workers."""
        self._pool.close()


class Whole(InMemory):
    """A split decoded once to the size that its crops need; threads cut them, a few batches ahead."""

    def __init__(
        self,
        split: Split,
        classes: Sequence[str],
        preprocess: Preprocess,
        crops: Crops,
        progress: Progress | None = None,
    ) -> None:
        kept, faults = keep_all(split, preprocess, crops, progress)
        self._note(split, classes, faults)
        self._views = {row: torch.from_numpy(one.view) for row, one in enumerate(kept) if one.view is not None}
        pictures = Split([one.picture for one in kept], split.labels, split.names)
        self._stream = Stream(pictures, classes, preprocess, 0, crops)
        self._stream.unreadable[:] = self.unreadable

    def batches(self, rows: Iterable[Tensor], draws: Iterable[Tensor] | None = None) -> Iterator[Batch]:
        """The pictures of these groups of rows, in this order, or the parts of them that `draws` choose."""
        for batch in self._stream.batches(rows, draws):
            for place, row in enumerate(batch.rows.tolist() if draws is None else ()):
                if row in self._views:
                    batch.pixels[place] = self._views[row]
            yield batch

    def close(self) -> None:
        """End the threads."""
        self._stream.close()


def refuse_corrupt(feeds: Sequence[Feed], classes: Sequence[str]) -> None:
    """Raise DataError where more than a tenth of a class, over all splits, is known to be unreadable.

    Over all of them, because one damaged file is half of a class in a small validation split.
    """
    labels = np.concatenate([part.labels.numpy() for part in feeds])
    bad = np.concatenate([part.unreadable for part in feeds])
    for label in corrupt_classes(labels, bad):
        faults = (fault for part in feeds for fault in part.skipped)
        inside = showing(labels, label)
        share = f"{(bad & inside).sum():,} of {inside.sum():,} pictures cannot be read"
        message = f"class {classes[label]!r}: {share} (`inceptory check` names them all)"
        raise DataError(f"{message}, the first of all: {next(faults)}")


def _balanced(labels: Tensor, order: Tensor, generator: torch.Generator) -> Tensor:
    """As many rows as an order has, drawn from it with equal chances for all classes."""
    inside = labels[order]
    chances = 1 / torch.bincount(inside).double()[inside]
    return order[torch.multinomial(chances, len(order), replacement=True, generator=generator)]


def statistics(pictures: Feed) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, deviation) of each channel on the scale 0 to 1, rounded to four digits.

    Of a stream, up to 20,000 evenly spaced pictures count.
    """
    rows = torch.arange(len(pictures.labels))
    if isinstance(pictures, Stream) and len(rows) > SAMPLE:
        rows = torch.from_numpy(np.linspace(0, len(rows) - 1, SAMPLE).round().astype(np.int64))
    histograms = [histogram(batch.pixels) for batch in pictures.batches(torch.split(rows, GROUP))]
    return statistics_of(torch.stack(histograms).sum(0))
