"""Which pictures of a data set are the same, and which nearly are, without comparing each with each.

The perceptual hash is 64 signs of a thumbnail's cosine transform, lowest frequencies first (the
idea of pHash, Zauner 2010, with signs for a median: they are even coins, so that bands of the hash
spread well). Pairs of near hashes are then held against each other by their gradients.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""(N, S, S) thumbnails."""
Pairs = NDArray[np.int64]
"""(M, 2) rows of pictures."""

BITS = 64
ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
"""Bits set in each byte."""
NEAR = 10
"""Bits in which the hashes of two near duplicates may differ."""
TOGETHER, MANY, TOGETHER_OF_MANY = 2, 200_000, 3
"""Bands of 8 bits that two near hashes share. With 2 of 8 every pair within 6 bits is met, and most
within 10; from MANY pictures on 3, so that chance meetings stay as many as there are pictures."""
WINDOW = 16
"""Neighbours that each picture is held against in one band, where thousands look alike."""
ALIKE = 0.85
"""Correlation of gradients of near duplicates. On CIFAR-10 pairs above it are the same photo, cut,
tinted or compressed anew; below 0.8 ships on a horizon begin."""
STRIKING, CLOSEST = 5.0, 0.98
"""Deviations that a near duplicate stands out among pairs of one class, and where that ends: drawn
digits are all alike, and none is a copy."""
SAMPLE = 20_000
FLAT = 24.0
"""Length of the gradients of a picture in which there is nothing to see."""


def same(digests: Sequence[str]) -> list[list[int]]:
    """Groups of rows with one digest, in order of their first rows; empty digests belong to none."""
    rows = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest:
            rows[digest].append(row)
    return [group for group in rows.values() if len(group) > 1]


def near(grey: Grey, labels: NDArray[np.int64]) -> list[list[int]]:
    """Groups of rows that are nearly the same picture; `labels` tell what is usual within a class.

    Pictures of one tone are never near duplicates: there is nothing in them to compare.
    """
    if len(grey) < 2:
        return []
    gradients = _gradients(grey)
    detailed = np.flatnonzero(np.linalg.norm(gradients, axis=1) > FLAT)
    if len(detailed) < 2:
        return []
    directions = gradients[detailed] / np.linalg.norm(gradients[detailed], axis=1, keepdims=True)
    pairs = candidates(hashes(grey[detailed]))
    alike = _dots(directions, pairs) >= _bar(directions, labels[detailed])
    return [[int(detailed[row]) for row in group] for group in groups(len(detailed), pairs[alike])]


def hashes(grey: Grey) -> NDArray[np.uint8]:
    """(N, 8) bytes: the signs of the 64 lowest frequencies of each thumbnail, its mean left out."""
    side = grey.shape[1]
    waves = np.cos(np.pi / side * (np.arange(side) + 0.5)[None] * np.arange(side)[:, None])
    lowest = sorted(itertools.product(range(side), repeat=2), key=lambda at: (sum(at), at))[1 : BITS + 1]
    basis = np.stack([np.outer(waves[down], waves[across]).ravel() for down, across in lowest])
    flat = grey.reshape(len(grey), -1)
    blocks = [flat[at : at + 8192] @ basis.T > 0 for at in range(0, len(flat), 8192)]
    return np.packbits(np.concatenate(blocks), axis=1)


def candidates(bits: NDArray[np.uint8]) -> Pairs:
    """Pairs of rows, first below second, whose hashes share some bands and differ in at most NEAR bits."""
    together = TOGETHER if len(bits) < MANY else TOGETHER_OF_MANY
    pairs = [_in_bands(bits, list(bands)) for bands in itertools.combinations(range(BITS // 8), together)]
    return np.unique(np.concatenate(pairs), axis=0)


def _in_bands(bits: NDArray[np.uint8], bands: list[int]) -> Pairs:
    key = np.zeros(len(bits), dtype=np.int64)
    for band in bands:
        key = key << 8 | bits[:, band]
    order = np.lexsort((np.ascontiguousarray(bits).view(">u8").ravel(), key))
    key, pairs = key[order], [np.empty((0, 2), dtype=np.int64)]
    at = np.arange(len(key))
    for step in range(1, WINDOW):
        at = at[at + step < len(key)]
        at = at[key[at] == key[at + step]]
        if not len(at):
            break
        neighbours = np.stack([order[at], order[at + step]], axis=1)
        differ = ONES[bits[neighbours[:, 0]] ^ bits[neighbours[:, 1]]].sum(axis=1, dtype=np.uint8)
        pairs.append(neighbours[differ <= NEAR])
    return np.sort(np.concatenate(pairs), axis=1)


def _gradients(grey: Grey) -> NDArray[np.float32]:
    """(N, 2 S (S - 1)): steps to the right and downwards."""
    values = grey.astype(np.float32)
    parts = (np.diff(values, axis=axis).reshape(len(values), -1) for axis in (2, 1))
    return np.concatenate(list(parts), axis=1)


def _dots(directions: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    blocks = [pairs[at : at + 8192] for at in range(0, len(pairs), 8192)]
    products = [np.einsum("ij,ij->i", directions[block[:, 0]], directions[block[:, 1]]) for block in blocks]
    return np.concatenate([np.empty(0, dtype=np.float32), *products])


def _bar(directions: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The correlation from which two pictures are near duplicates in this data set."""
    drawn = np.random.default_rng(0).integers(len(labels), size=(SAMPLE, 2))
    drawn = drawn[(labels[drawn[:, 0]] == labels[drawn[:, 1]]) & (drawn[:, 0] != drawn[:, 1])]
    if not len(drawn):
        return ALIKE
    correlations = _dots(directions, drawn)
    middle = float(np.median(correlations))
    deviation = 1.4826 * float(np.median(np.abs(correlations - middle)))  # as of a normal distribution
    return min(max(ALIKE, middle + STRIKING * deviation), CLOSEST)


def groups(count: int, pairs: Pairs) -> list[list[int]]:
    """Rows 0 to count that pairs tie together, in order of their first rows."""
    head = list(range(count))
    for first, second in pairs.tolist():
        a, b = _head(head, first), _head(head, second)
        head[max(a, b)] = min(a, b)
    return _gathered((_head(head, row), row) for row in sorted(set(pairs.ravel().tolist())))


def _head(head: list[int], row: int) -> int:
    while head[row] != row:
        head[row] = head[head[row]]
        row = head[row]
    return row


def _gathered(rows: Iterable[tuple[int, int]]) -> list[list[int]]:
    members = defaultdict(list)
    for head, row in rows:
        members[head].append(row)
    return list(members.values())
