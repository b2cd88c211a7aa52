"""Long sequences in little memory: a million names or paths take megabytes, not gigabytes.

A view of rows shares the sequence that it shows.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Frozen(Sequence[T], Generic[T]):
    """A sequence made of `item(row)` and `__len__`: slices, negative rows and equality to any sequence."""

    LOCAL = False
    """Whether it holds pixels, or an object of the caller's: this process' threads prepare them where they lie."""

    @abstractmethod
    def item(self, row: int) -> T:
        """What stands at a row from 0 to len - 1."""

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[T]: ...
    def __getitem__(self, row: int | slice) -> T | Sequence[T]:
        count = len(self)
        if isinstance(row, slice):
            return take(self, np.arange(count)[row])
        if not -count <= row < count:
            raise IndexError(row)
        return self.item(int(row) % count)

    def __iter__(self) -> Iterator[T]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Texts(Frozen[str]):
    """Texts that begin alike, the rest of each kept as UTF-8 in one piece."""

    def __init__(self, prefix: str, rests: Iterable[str]) -> None:
        self._prefix = prefix
        self._bytes = bytearray()
        ends = array("q", [0])
        for rest in rests:
            self._bytes += rest.encode("utf-8", "surrogatepass")
            ends.append(len(self._bytes))
        self._ends = np.frombuffer(ends, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def item(self, row: int) -> str:
        """The whole text."""
        return self._prefix + self._bytes[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")


class Numbered(Frozen[str]):
    """Names "head:0", "head:1", ... for the rows of one file after the other."""

    def __init__(self, heads: Sequence[str], counts: Sequence[int]) -> None:
        self._heads = tuple(heads)
        self._ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def item(self, row: int) -> str:
        """File and row in it."""
        part = int(np.searchsorted(self._ends, row, side="right"))
        return f"{self._heads[part]}:{row - (int(self._ends[part - 1]) if part else 0)}"


class Mapped(Frozen[T]):
    """What a function makes of each member of a sequence."""

    def __init__(self, members: Sequence[Any], make: Callable[[Any], T]) -> None:
        self._members, self.make = members, make

    def __len__(self) -> int:
        return len(self._members)

    def item(self, row: int) -> T:
        """What is made of the member at this row."""
        return self.make(self._members[row])


def paths(texts: Sequence[str]) -> Sequence[Path]:
    """Texts as paths."""
    return Mapped(texts, Path)


class Blocks(NamedTuple):
    """How rows lie together: those of one block are read at the cost of one."""

    of_row: NDArray[np.int64]
    """(N,) the block of each row, from 0."""
    each: NDArray[np.int64]
    """Bytes that one row of each block takes in memory, on average."""


@runtime_checkable
class Blocked(Protocol):
    """A sequence that is cheaper to read block by block."""

    def blocks(self) -> Blocks:
        """How its rows lie together."""

    def read(self, block: int, rows: NDArray[np.int64]) -> Sequence[bytes]:
        """What stands at these rows, all of one block and in ascending order, at the cost of reading the block once.

        Errors of single rows are raised when they are asked for.
        """


class View(Frozen[T]):
    """Some rows of a sequence, in their own order."""

    def __init__(self, base: Sequence[T], rows: NDArray[np.int64]) -> None:
        self.base, self.rows = base, rows

    def __len__(self) -> int:
        return len(self.rows)

    def item(self, row: int) -> T:
        """What stands at this row of the view."""
        return self.base[int(self.rows[row])]


def take(sequence: Sequence[T], rows: NDArray[np.int64]) -> Sequence[T]:
    """A view of these rows; a view of a view shows the sequence behind both."""
    rows = np.asarray(rows, dtype=np.int64)
    if isinstance(sequence, View):
        return View(sequence.base, sequence.rows[rows])
    return View(sequence, rows)


def are_paths(sequence: Sequence[object]) -> bool:
    """Whether paths stand in a sequence, or in the one behind a view; nothing that must be read is looked at."""
    base = sequence.base if isinstance(sequence, View) else sequence
    if isinstance(base, Frozen):
        return isinstance(base, Mapped) and base.make is Path
    return any(isinstance(each, Path) for each in base)


def is_local(sequence: Sequence[object]) -> bool:
    """Whether the pictures of a sequence, or of the one behind a view, are prepared by this process."""
    base = sequence.base if isinstance(sequence, View) else sequence
    return isinstance(base, Frozen) and base.LOCAL


def blocks_of(sequence: Sequence[object]) -> Blocks | None:
    """How the rows of a sequence or of a view lie together; None where their order costs nothing."""
    if isinstance(sequence, View):
        whole = blocks_of(sequence.base)
        return None if whole is None else Blocks(whole.of_row[sequence.rows], whole.each)
    return sequence.blocks() if isinstance(sequence, Blocked) else None
