"""Pictures looked at in child processes: a decoder that crashes or hangs costs one picture and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from inceptory.data.check.look import Look, look, look_of, question
from inceptory.data.picture.decode import Picture
from inceptory.data.sources.source import Split
from inceptory.errors import InceptoryError
from inceptory.system.children import Children, Lost, program

DEADLINE = 30.0
"""Seconds that one picture may take; the largest that is accepted takes two."""
EACH = 100
"""Pictures for which another child is worth its start."""
BLOCK = 2000
"""Pictures of one request: as many answers wait in memory."""
CHILD = program("inceptory.data.check.look")


def lookers(count: int) -> Children:
    """Children that look at pictures, for `look_at`."""
    return Children(CHILD, "process that looks at pictures", count)


def look_at(children: Children, picture: Picture, name: str) -> Look:
    """What the picture is like; one that kills its child or exceeds the deadline has a fault."""
    if isinstance(picture, np.ndarray):  # pixels meet no decoder
        return look(picture, name)
    try:
        ((answer, _),) = children.ask(DEADLINE, *question(picture, name))
    except Lost as lost:
        how = f"took longer than {DEADLINE:.0f} s to decode" if lost.late else "crashes the decoder"
        return Look(fault=f"{name}: {how} (replace or remove it)")
    return look_of(answer)


def look_all(split: Split) -> Iterator[Look]:
    """Every picture of a split in order, looked at by as many children as there are processors."""
    count = max(1, min(os.cpu_count() or 1, len(split) // EACH))
    with lookers(count) as children, ThreadPoolExecutor(count) as threads:
        for start in range(0, len(split), BLOCK):
            rows = range(start, min(start + BLOCK, len(split)))
            yield from threads.map(lambda row: _look(children, split, row), rows)


def _look(children: Children, split: Split, row: int) -> Look:
    try:
        picture = split.pictures[row]
    except InceptoryError as fault:  # one that cannot even be fetched from its file
        return Look(fault=str(fault))
    return look_at(children, picture, split.names[row])
