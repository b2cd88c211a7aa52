"""Batches that are decoded while those before them are computed. No torch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.decoding import Decoded, Decoder
from inceptory.data.feed.workers import Draws, Pool, Processes, Threads
from inceptory.data.sources.sequences import is_local

FEW = 2048
"""Pictures up to which threads decode: processes of their own take half a second to start."""
MOST_WORKERS = 8
AHEAD = 4
"""Batches that are being decoded while one is computed."""

T = TypeVar("T")


def ahead(
    decoder: Decoder, names: Sequence[str], requests: Iterable[tuple[T, NDArray[np.int64], Draws | None]], count: int
) -> Iterator[tuple[T, Decoded]]:
    """(tag, pictures) of each request (tag, rows, draws), in order, by a pool of its own: AHEAD + 1 are held at most.

    `count` is how many pictures there are in all. Raises what decoding raises.
    """
    threads = count <= FEW or is_local(decoder.pictures)
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    pool: Pool = Threads(decoder, names) if threads else Processes(decoder, names, workers)
    try:
        yield from in_order(pool, requests, AHEAD)
    finally:
        pool.close()


def in_order(
    pool: Pool, requests: Iterable[tuple[T, NDArray[np.int64], Draws | None]], most: int
) -> Iterator[tuple[T, Decoded]]:
    """(tag, pictures) of each request (tag, rows, draws), in order; a pool has `most` in hand or done meanwhile."""
    waiting = deque[tuple[T, Future[Decoded]]]()
    try:
        for tag, rows, draws in requests:
            waiting.append((tag, pool.submit(rows, draws)))
            if len(waiting) > most:
                yield _taken(waiting)
        while waiting:
            yield _taken(waiting)
    finally:
        for _, future in waiting:
            future.cancel()


def _taken(waiting: deque[tuple[T, Future[Decoded]]]) -> tuple[T, Decoded]:
    tag, future = waiting.popleft()
    return tag, future.result()
