"""The process that reads parquet files for this one, which a damaged file might end: its parent's side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.layout import Layout
from inceptory.data.sources.sequences import Frozen
from inceptory.errors import ConfigError, DataError, MissingError
from inceptory.system.children import Children, Frame, Lost, program
from inceptory.system.files import regular, too_large

PATIENCE = 120.0
"""Seconds that a frame may take: labels of millions of rows, or some MiB of pictures from a slow disk."""
IDLE = 60.0
"""Seconds without a question after which the process ends and frees its 80 MB."""
REMEDY = "write it again"
CHILD = program("inceptory.data.sources.parquet.child")
FAULTS = {kind.__name__: kind for kind in (DataError, MissingError, ConfigError)}
"""Errors that cross the pipe."""

Row = tuple[int | str, ...]
"""The labels of a picture."""


@dataclass(frozen=True)
class Shard:
    """One file, of which only the labels are read."""

    file: Path
    label: str
    """Name of its column of labels."""
    also: tuple[str, ...]
    """Other columns that may hold labels."""
    classes: tuple[str, ...] | None
    """Names that the file itself gives to the numbers of its labels."""
    image: str
    """Path of its column of bytes."""
    groups: tuple[int, ...]
    """Rows in each of its row groups."""
    sizes: tuple[int, ...]
    """Bytes of the pictures of each row group, unpacked."""
    known: list[Row | None]
    """The labels that its rows have; None stands for no label."""
    codes: NDArray[np.int64]
    """(n,) the place of each row's labels among them."""
    several: bool
    """Whether the column holds lists."""


class Pieces(Frozen[bytes]):
    """Pictures of some rows of a row group, as they came."""

    def __init__(
        self, file: str, rows: NDArray[np.int64], parts: Sequence[tuple[NDArray[np.int64], memoryview]]
    ) -> None:
        self._file, self._rows = file, rows
        self._bodies = [body for _, body in parts]
        self._lengths = np.concatenate([lengths for lengths, _ in parts])
        counts = [len(lengths) for lengths, _ in parts]
        self._part = np.repeat(np.arange(len(parts)), counts)
        ends = [np.cumsum(np.maximum(lengths, 0)) for lengths, _ in parts]
        self._end = np.concatenate(ends)

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises DataError."""
        length, end = int(self._lengths[row]), int(self._end[row])
        if length < -1:
            raise DataError(too_large(f"{self._file}: the picture of row {self._rows[row]}", -length))
        if length < 0:
            problem = f"row {self._rows[row]} holds no picture bytes (embed the pictures in the file)"
            raise DataError(f"{self._file}: {problem}")
        return bytes(self._bodies[self._part[row]][end - length : end])


class Reader:
    """One process, started by the first question, ended when nobody asks, and replaced when it dies."""

    def __init__(self) -> None:
        self._children = Children(CHILD, "process for parquet files", idle=IDLE)

    def open(self, file: Path, layout: Layout) -> Shard:
        """What a file holds; raises DataError, MissingError or ConfigError."""
        columns = {"path_column": layout.path_column, "label_column": layout.label_column}
        ((description, body),) = self._ask(str(regular(file)), {"open": str(file), **columns}, b"")
        return Shard(
            file=file,
            label=description["label"],
            also=tuple(description["also"]),
            classes=None if description["classes"] is None else tuple(description["classes"]),
            image=description["image"],
            groups=tuple(description["groups"]),
            sizes=tuple(description["sizes"]),
            known=[None if row is None else tuple(row) for row in description["known"]],
            codes=np.frombuffer(body, dtype="<i8"),
            several=description["several"],
        )

    def read(self, file: str, image: str, group: int, rows: NDArray[np.int64], at_once: int) -> Pieces:
        """Rows of a row group, in ascending order, unpacked so many at a time; raises DataError or MissingError."""
        question = {"read": file, "image": image, "group": group, "at_once": at_once}
        frames = self._ask(file, question, np.ascontiguousarray(rows, dtype="<i8").tobytes())
        parts = []
        for header, body in frames[:-1]:
            lengths = np.frombuffer(body, dtype="<i8", count=header["more"])
            parts.append((lengths, body[lengths.nbytes :]))
        if sum(len(lengths) for lengths, _ in parts) != len(rows):
            raise DataError(f"{file}: a row group is shorter than the file says ({REMEDY})")
        return Pieces(file, rows, parts)

    def _ask(self, file: str, question: dict[str, Any], body: bytes) -> list[Frame]:
        """The frames of an answer; raises the error that is one, or DataError where the file ends the process."""
        try:
            # Twice, for a system that is short of memory ends processes too.
            frames = self._children.ask(PATIENCE, question, body, tries=2)
        except Lost as lost:
            how = f"takes longer than {PATIENCE:.0f} s to read" if lost.late else "damaged, reading it ends a process"
            raise DataError(f"{file}: {how} ({REMEDY})") from None
        header, _ = frames[-1]
        if "fault" in header:
            raise FAULTS[header["fault"]](header["message"])
        return frames
