"""Mixing pictures that must be read block by block: an epoch goes through windows that fit in memory.

The rows of every block are cut into parts at random, and the parts are dealt to windows so that each
window has its share of every class, wherever the classes lie on disk. Rows are shuffled within their
window. A block is read once for each window that holds a part of it: more parts mix better and cost
more reading, so a plan takes the fewest that bring the classes of a batch near those of a full shuffle.

Memory: the encoded pictures of at most two windows, 1 GiB, held once whatever the number of workers; of
several processes by torchrun each holds its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels, combinations
from inceptory.data.sources.sequences import Blocked, Blocks, Frozen, View, blocks_of
from inceptory.errors import DataError

WINDOW = 512 * 2**20
"""Bytes of encoded pictures that are mixed with each other."""
WINDOWS_HELD = 2
"""The one that ends and the one that begins."""
PIECE = 32 * 2**20
"""Bytes of a block that are held at a time where rows are read in their own order; two of them, or as many more
as stay under twice so many bytes."""
READS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Parts into which blocks may be cut: as often each is read in an epoch. Unpacking a GiB of photographs takes
less than a second of processor time; it is the disk that must keep up."""
NEAR, ENOUGH, FEW = 0.97, 0.9, 6
"""Share of a full shuffle's classes that a batch must show: NEAR with fewer than FEW readings, ENOUGH with more;
a mixture below that is refused."""
LOOKED_AT = 64
"""Windows by which a plan is judged."""
SEED = 0


@dataclass(frozen=True)
class Mixture:
    """How the pictures of some blocks are mixed; a function of the data and the size of a batch alone."""

    blocks: Blocks
    labels: Labels
    windows: int
    reads: int
    """Parts of a block at most."""
    classes: float
    """Different classes that a batch is expected to show."""
    wanted: float
    """The same of a full shuffle."""

    def dealt(self, random: np.random.Generator) -> NDArray[np.int64]:
        """(N,) the window of each row in one epoch."""
        return deal(self.blocks, self.labels, self.windows, self.reads, random)


def mixture(blocks: Blocks, labels: Labels, batch: int, name: str) -> Mixture:
    """The mixture with the least reading whose batches show nearly as many classes as a full shuffle's.

    `name` is the data's for the message of a DataError, where classes lie one after another in
    blocks too large for that.
    """
    full = float(expected(_histogram(labels, np.zeros(len(labels), dtype=np.int64), 1), batch)[0])
    best: Mixture | None = None
    for reads in READS:
        candidate = _tried(blocks, labels, reads, batch, full)
        if candidate is not None and (best is None or candidate.classes > best.classes):
            best = candidate
        if best is not None and best.classes >= (NEAR if reads < FEW else ENOUGH) * full:
            return best
    raise DataError(_refusal(blocks, labels, batch, full, best, name))


def _refusal(blocks: Blocks, labels: Labels, batch: int, full: float, best: Mixture | None, name: str) -> str:
    """What cannot be mixed, and how the file must be written: found by trying smaller blocks."""
    rows = int(np.bincount(blocks.of_row).max())
    while rows > 1:
        rows //= 2
        candidate = _tried(_smaller(blocks, rows), labels, READS[-1], batch, full)
        if candidate is not None and candidate.classes >= ENOUGH * full:
            break
    smaller = f"row groups of at most {rows:,} rows"
    if best is None:
        return f"{name}: its row groups are too large to be mixed in {WINDOW // 2**20:,} MiB (write it in {smaller})"
    problem = f"a batch of {batch} would show {best.classes:.0f} of the {full:.0f} classes of a full shuffle"
    remedy = f"write its rows in random order, or in {smaller}" if rows > 1 else "write its rows in random order"
    return f"{name}: its classes lie one after another in row groups too large to be mixed, {problem} ({remedy})"


def _smaller(blocks: Blocks, rows: int) -> Blocks:
    """The same rows, were they written in blocks of so many at most."""
    of_row = blocks.of_row
    starts = np.flatnonzero(np.r_[True, of_row[1:] != of_row[:-1]])
    within = np.arange(len(of_row)) - np.repeat(starts, np.diff(np.r_[starts, len(of_row)]))
    number = np.unique(np.stack([of_row, within // rows]), axis=1, return_inverse=True)[1].reshape(-1)
    each = np.zeros(int(number.max()) + 1, dtype=np.int64)
    each[number] = blocks.each[of_row]
    return Blocks(number, each)


def _tried(blocks: Blocks, labels: Labels, reads: int, batch: int, full: float) -> Mixture | None:
    """The mixture with so many parts of a block, None where one would not fit in a window."""
    windows = _windows(blocks, reads)
    if not windows:
        return None
    window = deal(blocks, labels, windows, reads, np.random.default_rng(SEED))
    # A batch that is larger than a window shows the classes of several.
    spanned = max(-(-batch * windows // len(labels)), 1)
    counts = _histogram(labels, window // spanned, min(-(-windows // spanned), LOOKED_AT))
    rows = np.bincount(window // spanned)[: len(counts)]
    return Mixture(blocks, labels, windows, reads, float(np.average(expected(counts, batch), weights=rows)), full)


def _windows(blocks: Blocks, reads: int) -> int:
    """The fewest windows of which none can hold more than its bytes, whichever parts come together; 0 for none."""
    rows = np.bincount(blocks.of_row, minlength=len(blocks.each))
    parts = np.minimum(rows, reads)
    sizes = np.repeat(-(-rows // np.maximum(parts, 1)) * blocks.each, parts)
    largest = np.cumsum(np.sort(sizes)[::-1])
    if largest[0] > WINDOW:
        return 0
    windows = max(-(-int(largest[-1]) // WINDOW), 1)
    while windows < len(sizes) and largest[-(-len(sizes) // windows) - 1] > WINDOW:
        windows += 1
    return windows


def deal(blocks: Blocks, labels: Labels, windows: int, reads: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(N,) the window of each row: parts of blocks in the order of their classes go round the windows.

    A part's class is that of a row of it drawn at random. The parts of one block follow each other
    and so come into different windows.
    """
    if windows == 1:
        return np.zeros(len(blocks.of_row), dtype=np.int64)
    mixed = random.permutation(len(blocks.of_row))
    rows = mixed[np.argsort(blocks.of_row[mixed], kind="stable")]
    block = blocks.of_row[rows]
    starts = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
    counts = np.diff(np.r_[starts, len(rows)])
    within = np.arange(len(rows)) - np.repeat(starts, counts)
    part = within * reads // np.repeat(counts, counts)
    first = np.flatnonzero(np.r_[True, (block[1:] != block[:-1]) | (part[1:] != part[:-1])])
    of_class = np.unique(combinations(labels)[rows[first]], return_inverse=True)[1]
    of_block = np.unique(block[first], return_inverse=True)[1]
    # One class after the other in an order of this epoch, and so the blocks of each.
    place = np.lexsort(
        (
            random.permutation(of_block.max() + 1)[of_block],
            random.permutation(of_class.max() + 1)[of_class],
        )
    )
    window = np.empty(len(first), dtype=np.int64)
    window[place] = np.arange(len(first)) % windows
    of_row = np.empty(len(rows), dtype=np.int64)
    of_row[rows] = np.repeat(window, np.diff(np.r_[first, len(rows)]))
    return of_row


def expected(counts: NDArray[np.int64], batch: int) -> NDArray[np.float64]:
    """(W,) different classes in a batch drawn out of each window, (W, 1 + K): its rows and those of each class."""
    rows, shows = counts[:, :1].astype(float), counts[:, 1:]
    absent = np.ones(shows.shape)
    for drawn in range(min(batch, int(rows.max()))):
        left = np.maximum(rows - drawn, 1)
        absent *= np.where(drawn < rows, np.clip(1 - shows / left, 0, 1), 1)
    classes: NDArray[np.float64] = (1 - absent).sum(1)
    return classes


def _histogram(labels: Labels, window: NDArray[np.int64], windows: int) -> NDArray[np.int64]:
    """(windows, 1 + K): the rows of the first windows, and how many of them show each class."""
    inside = window < windows
    window, labels = window[inside], labels[inside]
    rows = np.bincount(window, minlength=windows)[:, None]
    if labels.ndim == 2:
        shows = np.zeros((windows, labels.shape[1]), dtype=np.int64)
        np.add.at(shows, window, labels)
    else:
        classes = int(labels.max()) + 1
        shows = np.bincount(window * classes + labels, minlength=windows * classes).reshape(windows, classes)
    return np.concatenate([rows, shows], axis=1)


class Held(Frozen[bytes]):
    """Pictures of a blocked sequence, or of a view of one. Of every block read, what its window needs is kept.

    Reading may come from several threads; the rows may be asked for in any order, and are cheap in
    that of `arrange`.
    """

    def __init__(self, pictures: Sequence[object], blocks: Blocks) -> None:
        base = pictures.base if isinstance(pictures, View) else pictures
        assert isinstance(base, Blocked)
        self._base, self._rows = base, pictures.rows if isinstance(pictures, View) else np.arange(len(pictures))
        self.blocks = blocks
        self._lock = threading.Lock()
        self.arrange(_in_order(blocks))

    def __len__(self) -> int:
        return len(self._rows)

    def arrange(self, window: NDArray[np.int64]) -> None:
        """Expect rows window by window: (N,) the window of each; nothing that is held is kept."""
        with self._lock:
            of_row = self.blocks.of_row
            self._window = window
            keys = window * len(self.blocks.each) + of_row
            # Rows of one window and block stand together, in their own order.
            self._sorted = np.lexsort((self._rows, keys))
            self._bounds = keys[self._sorted]
            self._kept: OrderedDict[int, dict[int, tuple[NDArray[np.int64], Sequence[bytes]]]] = OrderedDict()
            self._bytes: dict[int, int] = {}

    def forget(self) -> None:
        """Give the memory back; rows may be asked for again."""
        with self._lock:
            self._kept.clear()
            self._bytes.clear()

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises what reading it raises."""
        with self._lock:
            window = int(self._window[row])
            parts = self._kept.setdefault(window, {})
            self._kept.move_to_end(window)
            block = int(self.blocks.of_row[row])
            if block not in parts:
                parts[block] = self._read(window, block)
                size = len(parts[block][0]) * int(self.blocks.each[block])
                self._bytes[window] = self._bytes.get(window, 0) + size
                self._drop()
            rows, pictures = parts[block]
            return pictures[int(np.searchsorted(rows, self._rows[row]))]

    def _read(self, window: int, block: int) -> tuple[NDArray[np.int64], Sequence[bytes]]:
        """Base rows and pictures of the part of a block that a window needs."""
        key = window * len(self.blocks.each) + block
        first, end = np.searchsorted(self._bounds, [key, key + 1])
        rows = self._rows[self._sorted[first:end]]
        return rows, self._base.read(block, rows)

    def _drop(self) -> None:
        """Let go of the windows that were used longest ago."""
        while len(self._kept) > WINDOWS_HELD and sum(self._bytes.values()) > WINDOWS_HELD * PIECE:
            window, _ = self._kept.popitem(last=False)
            self._bytes.pop(window, None)


def _in_order(blocks: Blocks) -> NDArray[np.int64]:
    """(N,) windows for reading from the first row to the last: a piece of a block each."""
    starts = np.flatnonzero(np.r_[True, blocks.of_row[1:] != blocks.of_row[:-1]])
    within = np.arange(len(blocks.of_row)) - np.repeat(starts, np.diff(np.r_[starts, len(blocks.of_row)]))
    piece = (within * blocks.each[blocks.of_row] // PIECE).astype(np.int64)
    return np.cumsum(np.r_[0, (np.diff(blocks.of_row) != 0) | (np.diff(piece) != 0)])


def held(pictures: Sequence[object]) -> Held | None:
    """A reader of pictures that lie in blocks; None where any order costs the same."""
    blocks = blocks_of(pictures)
    return None if blocks is None else Held(pictures, blocks)
