"""What a picture is by its content: the key under which its vector is found again."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.windows import held
from inceptory.data.picture.crops import DRAWS
from inceptory.data.picture.decode import Picture
from inceptory.data.sources.sequences import is_local
from inceptory.data.sources.source import Progress, Split
from inceptory.errors import InceptoryError
from inceptory.system import files

LENGTH = 16
"""Bytes of a key: two of 2^32 pictures are alike by chance once in 10^19."""
PART = 256

Keys = NDArray[np.uint8]
"""(n, LENGTH)."""


def digests(split: Split, progress: Progress) -> tuple[Keys, dict[int, str]]:
    """((N, LENGTH) the digest of each picture's bytes, the fault of each row whose bytes cannot be read)."""
    blocks = held(split.pictures)
    pictures = split.pictures if blocks is None else blocks
    keys, faults = np.zeros((len(split), LENGTH), dtype=np.uint8), dict[int, str]()

    def part(first: int) -> int:
        end = min(first + PART, len(split))
        for row in range(first, end):
            try:
                keys[row] = np.frombuffer(_digest(pictures[row]), dtype=np.uint8)
            except InceptoryError as fault:
                faults[row] = str(fault)
        return end

    # Hashing lets go of the interpreter's lock, and reading waits for the disk. A caller's own object stays in here.
    with ThreadPoolExecutor(1 if is_local(split.pictures) else os.cpu_count()) as pool:
        for done in pool.map(part, range(0, len(split), PART)):
            progress(done, len(split))
    return keys, faults


def _digest(picture: Picture) -> bytes:
    """Of a file's bytes; of an array's shape and pixels. Raises InceptoryError."""
    content = files.read(picture) if isinstance(picture, Path) else picture
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=LENGTH).digest()
    told = f"pixels {content.shape}".encode()
    return hashlib.blake2b(told + np.ascontiguousarray(content).tobytes(), digest_size=LENGTH).digest()


def keys_of_views(keys: Keys, views: int, seed: int) -> Keys:
    """(n * views, LENGTH) the keys of so many views of each picture, one after the other; the first is its own."""
    if views == 1:
        return keys
    every = np.repeat(keys, views, axis=0)
    for place in range(len(every)):
        if place % views:
            told = every[place].tobytes() + f"view {place % views} of seed {seed}".encode()
            every[place] = np.frombuffer(hashlib.blake2b(told, digest_size=LENGTH).digest(), dtype=np.uint8)
    return every


def draws_of(keys: Keys) -> NDArray[np.float64]:
    """(n, DRAWS + 1) from [0, 1), which choose the parts of pictures that these keys of views stand for."""
    return np.stack([np.random.default_rng(key.view(np.uint64)).random(DRAWS + 1) for key in keys])
