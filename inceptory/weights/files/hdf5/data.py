"""The numbers of an HDF5 dataset: shape and type first, bytes later and only as many as fit.

Layouts: compact, contiguous, and chunks with a version 1 index, plain or packed by gzip and
shuffle. Source: the HDF5 File Format Specification 3.0, sections IV.A.2.b, d, i and l.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptory.weights.files.hdf5.index import LINK_COST, NOWHERE, Meter, chunks
from inceptory.weights.files.source import MOST_DIMENSIONS, Entry, numbers

LARGEST_CHUNK = 64 * 2**20
MOST_CHUNKS = 100_000
GZIP, SHUFFLE = 1, 2
COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)

Dataspace = tuple[int, ...] | None
"""Cells in each dimension; None where there is no cell at all."""


Fetch = Callable[[str], NDArray[Any]]
Chunks = dict[tuple[int, ...], tuple[int, int, int]]
"""(stored bytes, mask of skipped filters, address) of each chunk by its first element."""


class Type(NamedTuple):
    """What a cell holds: "number", "text" of fixed size, "long text" elsewhere, "bytes" or "other"."""

    kind: str
    size: int
    stored: str = ""
    """As numpy calls it, with its byte order."""
    dtype: str = ""
    """As an Entry calls it."""


@dataclass(frozen=True)
class Dataset:
    """Shape and type of a dataset, and the way to its numbers."""

    entry: Entry | None
    """None where its cells are no numbers."""
    fetch: Fetch
    """The numbers, given the type to read them as."""
    raw: tuple[int, ...] | None = None
    """Shape where its cells are two bytes that only an attribute explains."""


def dataspace(meter: Meter, body: bytes) -> Dataspace:
    """The shape that a dataspace message tells."""
    version, rank = body[0], body[1]
    meter.require(version in (1, 2) and rank <= MOST_DIMENSIONS, "a shape in it is damaged")
    if version == 2 and body[3] == 2:
        return None
    shape = struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)
    return tuple(shape)


def datatype(meter: Meter, body: bytes) -> Type:
    """The type that a datatype message tells; kinds that weights do not need are "other"."""
    head, bits, size = struct.unpack_from("<BHxI", body)
    meter.require(0 < size < 2**31, "a type in it is damaged")
    match head & 15:
        case 0:
            return _integer(bits, size, body)
        case 1:
            return _float(bits, size, body)
        case 3:
            return Type("text", size)
        case 5:
            return Type("bytes", size)
        case 9 if bits & 15 == 1:
            return Type("long text", size) if size == 16 else Type("other", size)
        case _:
            return Type("other", size)


def _integer(bits: int, size: int, body: bytes) -> Type:
    offset, precision = struct.unpack_from("<2H", body, 8)
    if size not in (1, 2, 4, 8) or offset or precision != 8 * size:
        return Type("other", size)
    sign = "int" if bits & 8 else "uint"
    return Type("number", size, f"{_order(bits)}{sign[0]}{size}", f"{sign}{8 * size}")


FLOATS = {
    (2, 10, 5, 0, 10, 15): ("f2", "float16"),
    (2, 7, 8, 0, 7, 127): ("u2", "bfloat16"),
    (4, 23, 8, 0, 23, 127): ("f4", "float32"),
    (8, 52, 11, 0, 52, 1023): ("f8", "float64"),
}
"""By size, place and bits of the exponent, place and bits of the mantissa, and bias."""


def _float(bits: int, size: int, body: bytes) -> Type:
    offset, precision, *layout = struct.unpack_from("<2H4BI", body, 8)
    names = FLOATS.get((size, *layout))
    if names is None or offset or precision != 8 * size or bits >> 8 != 8 * size - 1 or bits & 0x40:
        return Type("other", size)
    return Type("number", size, _order(bits) + names[0], names[1])


def _order(bits: int) -> str:
    return ">" if bits & 1 else "<"


def dataset(meter: Meter, what: str, space: bytes, form: bytes, layout: bytes, filters: bytes) -> Dataset:
    """The dataset that these messages tell of; nothing of its size is allocated."""
    shape, cell = dataspace(meter, space), datatype(meter, form)
    meter.require(layout[0] in (3, 4), f"{what} has a layout that is not read")
    meter.require(layout[1] != VIRTUAL, f"{what} keeps its numbers in other files")
    if shape is None or cell.kind not in ("number", "bytes"):
        return Dataset(None, _no_numbers)
    place = _Place(meter, what, shape, cell)
    if layout[1] == COMPACT:
        fetch = place.compact(layout)
    elif layout[1] == CONTIGUOUS:
        fetch = place.contiguous(*struct.unpack_from("<2Q", layout, 2))
    else:
        meter.require(layout[:2] == bytes((3, CHUNKED)), f"{what} has chunks with an index newer than HDF5 1.8")
        fetch = place.chunked(layout, _filters(meter, what, filters))
    if cell.kind == "bytes":
        return Dataset(None, fetch, shape if cell.size == 2 else None)
    return Dataset(Entry(shape, cell.dtype), fetch)


def _no_numbers(_: str) -> NDArray[Any]:
    raise AssertionError("a dataset without numbers is never read")


def _filters(meter: Meter, what: str, body: bytes) -> list[int]:
    """Ids of the filters, in the order in which they were applied."""
    if not body:
        return []
    version, count, ids = body[0], body[1], list[int]()
    meter.require(version in (1, 2) and count <= 8, f"{what} has filters that are not read")
    position = 8 if version == 1 else 2
    for _ in range(count):
        (number,) = struct.unpack_from("<H", body, position)
        ids.append(number)
        # The newer version leaves out the name of filters that everybody knows, and the padding.
        if has_name := version == 1 or number >= 256:
            position += 2
        length = int.from_bytes(body[position : position + 2], "little") if has_name else 0
        (values,) = struct.unpack_from("<H", body, position + 4)
        position += 6 + length + 4 * values
        if version == 1:
            position += -length % 8 + 4 * (values % 2)
    supported = all(number in (GZIP, SHUFFLE) for number in ids) and len(set(ids)) == len(ids)
    meter.require(supported, f"{what} is packed in a way that is not read")
    return ids


@dataclass(frozen=True)
class _Place:
    """A dataset whose shape and type are known and whose numbers are still to be located."""

    meter: Meter
    what: str
    shape: tuple[int, ...]
    cell: Type

    @property
    def size(self) -> int:
        """Bytes of all cells."""
        return prod(self.shape) * self.cell.size

    def numbers(self, data: bytes | bytearray, dtype: str) -> NDArray[Any]:
        """The array that bytes in order stand for."""
        return numbers(np.frombuffer(data, self.cell.stored or "<u2").reshape(self.shape), dtype)

    def compact(self, layout: bytes) -> Fetch:
        """Numbers that lie in the header itself."""
        (size,) = struct.unpack_from("<H", layout, 2)
        data = layout[4 : 4 + size]
        self.meter.require(len(data) == self.size, f"{self.what} is not as large as its shape")
        return lambda dtype: self.numbers(data, dtype)

    def contiguous(self, address: int, size: int) -> Fetch:
        """Numbers in one run."""
        source = self.meter.source
        self.meter.require(size == self.size, f"{self.what} is not as large as its shape")
        if size:
            self.meter.require(address != NOWHERE, f"{self.what} was never written")
            self.meter.require(address + size <= source.size, f"{self.what} reaches beyond the end")
            self.meter.claim(address, size, self.what)
        return lambda dtype: self.numbers(source.at(address, size) if size else b"", dtype)

    def chunked(self, layout: bytes, filters: list[int]) -> Fetch:
        """Numbers in equal blocks, each packed for itself."""
        rank = layout[2] - 1
        address, *sizes = struct.unpack_from(f"<Q{rank + 1}I", layout, 3)
        dims = tuple(sizes[:rank])
        fits = rank == len(self.shape) > 0 and sizes[rank] == self.cell.size and all(dims)
        self.meter.require(fits, f"{self.what} has chunks of another shape")
        size = prod(dims) * self.cell.size
        self.meter.require(size <= LARGEST_CHUNK, f"{self.what} has chunks of more than 64 MiB")
        count = prod(-(-cells // step) for cells, step in zip(self.shape, dims, strict=True))
        self.meter.require(count <= MOST_CHUNKS, f"{self.what} has more than {MOST_CHUNKS:,} chunks")
        index = self._index(address, dims, count) if count else {}
        return lambda dtype: self._gather(dims, index, filters, dtype)

    def _index(self, address: int, dims: tuple[int, ...], count: int) -> Chunks:
        self.meter.require(address != NOWHERE, f"{self.what} was never written")
        located: Chunks = {}
        for first, packed, mask, here in chunks(self.meter, address, len(dims)):
            grid = zip(first, dims, self.shape, strict=True)
            inside = all(cell % step == 0 and cell < cells for cell, step, cells in grid)
            fits = inside and first not in located and here + packed <= self.meter.source.size
            self.meter.require(fits, f"{self.what} has a chunk that lies elsewhere")
            self.meter.charge(LINK_COST)
            self.meter.claim(here, packed, self.what)
            located[first] = (packed, mask, here)
        self.meter.require(len(located) == count, f"{self.what} has chunks that were never written")
        return located

    def _gather(self, dims: tuple[int, ...], index: Chunks, filters: list[int], dtype: str) -> NDArray[Any]:
        whole = np.empty(self.shape, self.cell.stored or "<u2")
        for first, (packed, mask, address) in index.items():
            data = self._unpack(self.meter.source.at(address, packed), mask, filters, prod(dims) * self.cell.size)
            here = whole[tuple(slice(start, start + step) for start, step in zip(first, dims, strict=True))]
            # A chunk at the border reaches beyond the dataset.
            here[...] = np.frombuffer(data, whole.dtype).reshape(dims)[tuple(slice(size) for size in here.shape)]
        return numbers(whole, dtype)

    def _unpack(self, data: bytes, mask: int, filters: list[int], size: int) -> bytes:
        """Undo the filters of a chunk, last one first; never more than `size` bytes come out."""
        for index, number in reversed(list(enumerate(filters))):
            if mask >> index & 1:
                continue
            data = self._inflated(data, size) if number == GZIP else _unshuffled(data, self.cell.size)
        self.meter.require(len(data) == size, f"{self.what} has a chunk of another size")
        return data

    def _inflated(self, data: bytes, size: int) -> bytes:
        inflater = zlib.decompressobj()
        try:
            out = inflater.decompress(data, size + 1)
        except zlib.error:
            raise self.meter.source.fault(f"{self.what} is damaged, a chunk cannot be unpacked") from None
        self.meter.require(inflater.eof and len(out) <= size, f"{self.what} has a chunk of another size")
        return out


def _unshuffled(data: bytes, width: int) -> bytes:
    """Bytes of each cell together again; a rest that fills no cell stays behind."""
    whole = len(data) // width * width
    return np.frombuffer(data[:whole], np.uint8).reshape(width, -1).T.tobytes() + data[whole:]
