"""What a picture is by its content: the key under which its vector is found again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
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
"""Bytes of a digest: two of 2^32 pictures are alike by chance once in 10^19."""
PART = 256


def digests(split: Split, progress: Progress | None = None) -> list[bytes | None]:
    """(N,) the digest of each picture's bytes; None for one that cannot be read at all."""

    blocks = held(split.pictures)
    pictures = split.pictures if blocks is None else blocks

    def part(first: int) -> list[bytes | None]:
        return [_digest(pictures, row) for row in range(first, min(first + PART, len(split)))]

    every: list[bytes | None] = []
    # Hashing lets go of the interpreter's lock, and reading waits for the disk. A caller's own object stays in here.
    with ThreadPoolExecutor(1 if is_local(split.pictures) else os.cpu_count()) as pool:
        for some in pool.map(part, range(0, len(split), PART)):
            every += some
            if progress is not None:
                progress(len(every), len(split))
    return every


def _digest(pictures: Sequence[Picture], row: int) -> bytes | None:
    try:
        picture = pictures[row]
        content = files.read(picture) if isinstance(picture, Path) else picture
    except InceptoryError:
        return None
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=LENGTH).digest()
    told = f"pixels {content.shape}".encode()
    return hashlib.blake2b(told + np.ascontiguousarray(content).tobytes(), digest_size=LENGTH).digest()


def view_of(digest: bytes, number: int, seed: int) -> tuple[bytes, NDArray[np.float64]]:
    """(key, DRAWS + 1 numbers from [0, 1)) of one augmented view of a picture, the same wherever the picture stands."""
    key = hashlib.blake2b(digest + f"view {number} of seed {seed}".encode(), digest_size=LENGTH).digest()
    return key, np.random.default_rng(np.frombuffer(key, dtype=np.uint64)).random(DRAWS + 1)
