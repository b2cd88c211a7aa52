"""How HDF5 finds things: trees of addresses and heaps of names, each read only as far as needed.

Source: the HDF5 File Format Specification 3.0, sections III.A to III.G; the checksum is Bob
Jenkins' lookup3. Every structure is visited at most once, so nothing can lead in circles.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

from inceptory.weights.files.source import Source, quoted

LARGEST_METADATA = 32 * 2**20
"""Bytes of structure that we read; a large Keras file holds a sixth of it."""
CHECKSUM_COST = 7
"""A byte under a checksum costs as much time as that many others."""
LINK_COST = 500
"""A link or a text costs as much time and memory as that many bytes."""
LARGEST_HEAP = 4 * 2**20
LARGEST_BLOCK = 2**16
LONGEST_NAME = 1_000
DEEPEST_TREE = 8
NOWHERE = 2**64 - 1

Chunk = tuple[tuple[int, ...], int, int, int]
"""(first element in each dimension, stored bytes, mask of skipped filters, address)."""
_Shape = tuple[int, int, list[tuple[int, int, int]]]
"""Kind of a version 2 tree, bytes of its records, and `_widths` of its levels."""


class Meter:
    """A source with a budget for the bytes read of it: the structure of an honest file is small."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._left = LARGEST_METADATA
        self._visited: set[int] = set()
        self._heaps: dict[int, dict[int, bytes]] = {}
        self._claims: list[tuple[int, int, str]] = []

    def at(self, address: int, count: int) -> bytes:
        """Bytes from an address on; raises DataError beyond the end or the budget."""
        self.charge(count)
        return self.source.at(address, count)

    def charge(self, count: int) -> None:
        """Charge the budget for work whose amount the file decides."""
        self._left -= count
        self.require(self._left >= 0, "has too much structure for a file of weights")

    def unpack(self, form: str, address: int) -> tuple[int, ...]:
        """Little-endian numbers from an address on, as `struct` names their form."""
        return struct.unpack(f"<{form}", self.at(address, struct.calcsize(f"<{form}")))

    def signed(self, signature: bytes, address: int, count: int) -> bytes:
        """`count` bytes that begin with a signature and end with their checksum, without the latter."""
        data = self.at(address, count)
        self.charge(CHECKSUM_COST * count)
        what = f"its {signature.decode() if signature.isalpha() else 'first'} block"
        self.require(data[: len(signature)] == signature, f"{what} is not where it should be")
        body, stored = data[:-4], int.from_bytes(data[-4:], "little")
        self.require(checksum(body) == stored, f"{what} is damaged, its checksum does not fit")
        return body

    def visit(self, address: int) -> None:
        """Raise DataError where a structure is reached a second time."""
        self.require(address not in self._visited, "its structure leads in circles")
        self._visited.add(address)

    def claim(self, address: int, count: int, what: str) -> None:
        """Note where the numbers of a dataset lie."""
        if count:
            self._claims.append((address, address + count, what))

    def require_apart(self) -> None:
        """Raise DataError where two datasets, or two chunks of one, share bytes, as no writer makes them."""
        for (_, end, what), (start, _, other) in pairwise(sorted(self._claims)):
            self.require(end <= start, f"{what} and {other} overlap")

    def require(self, holds: bool, what: str) -> None:
        """Raise DataError unless `holds`."""
        self.source.require(holds, what)

    def global_object(self, address: int, index: int) -> bytes:
        """An object of a global heap: the text of a variable-length string."""
        if address not in self._heaps:
            self._heaps[address] = dict(_global_heap(self, address))
        text = self._heaps[address].get(index)
        if text is None:
            raise self.source.fault("a text is missing")
        self.charge(len(text))
        return text


def checksum(data: bytes) -> int:
    """The lookup3 hash of some bytes, which guards the newer structures."""
    full = 0xFFFFFFFF
    state = [(0xDEADBEEF + len(data)) & full] * 3
    words = struct.unpack(f"<{-(-len(data) // 12) * 3}I", data.ljust(-(-len(data) // 12) * 12, b"\0"))
    for i in range(0, len(words), 3):
        a, b, c = ((value + word) & full for value, word in zip(state, words[i : i + 3], strict=True))
        if i + 3 < len(words):
            for turn in (4, 6, 8, 16, 19, 4):
                a = ((a - c) & full) ^ ((c << turn | c >> 32 - turn) & full)
                a, b, c = b, (c + b) & full, a
        state = [a, b, c]
    return _last_mix(*state) if words else state[2]


def _last_mix(a: int, b: int, c: int) -> int:
    full = 0xFFFFFFFF
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - ((b << turn | b >> 32 - turn) & full)) & full
        a, b, c = b, c, a
    return b


def symbol_links(meter: Meter, tree: int, heap: int) -> Iterator[tuple[str, int]]:
    """(name, address) of the links of an old-style group, sorted by name."""
    signature, version, size, _, data = struct.unpack("<4sB3x3Q", meter.at(heap, 32))
    meter.require(signature == b"HEAP" and version == 0 and size <= LARGEST_HEAP, "the names of a group are damaged")
    names = meter.at(data, size)
    for _, node in _tree_v1(meter, tree, 0, 8):
        meter.visit(node)
        signature, version, count = struct.unpack("<4sBxH", meter.at(node, 8))
        meter.require(signature == b"SNOD" and version == 1, "a list of links is damaged")
        for offset, address, kind in struct.iter_unpack("<2QI20x", meter.at(node + 8, 40 * count)):
            name = name_of(meter, names[offset : offset + LONGEST_NAME + 1].partition(b"\0")[0])
            meter.require(kind in (0, 1), f"{quoted(name)} is a soft link, which weights do not need")
            meter.charge(LINK_COST)
            yield name, address


def name_of(meter: Meter, raw: bytes) -> str:
    """The name of a link or attribute; raises DataError where it cannot be one."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise meter.source.fault("a name in it is not UTF-8") from None
    meter.require(0 < len(name) <= LONGEST_NAME and "/" not in name, "a name in it is empty or too long")
    return name


def chunks(meter: Meter, address: int, rank: int) -> Iterator[Chunk]:
    """The chunks of a dataset, from a version 1 tree."""
    for key, child in _tree_v1(meter, address, 1, 8 * (rank + 2)):
        size, mask, *offsets = struct.unpack(f"<2I{rank + 1}Q", key)
        yield tuple(offsets[:rank]), size, mask, child


def _tree_v1(meter: Meter, address: int, kind: int, key: int, level: int | None = None) -> Iterator[tuple[bytes, int]]:
    meter.visit(address)
    signature, node_kind, height, count = struct.unpack("<4s2BH", meter.at(address, 8))
    fits = signature == b"TREE" and node_kind == kind and height <= DEEPEST_TREE and level in (None, height)
    meter.require(fits, "a tree of addresses is damaged")
    data = meter.at(address + 24, count * (key + 8))
    for i in range(count):
        here = i * (key + 8)
        child = int.from_bytes(data[here + key : here + key + 8], "little")
        if height:
            yield from _tree_v1(meter, child, kind, key, height - 1)
        else:
            yield data[here : here + key], child


def tree_records(meter: Meter, address: int, kind: int) -> Iterator[bytes]:
    """The records of a version 2 tree, in its order."""
    head = meter.signed(b"BTHD", address, 38)
    _, tree_kind, node, width, depth, _, _, root, count, _ = struct.unpack("<2BIHH2BQHQ", head[4:])
    sound = tree_kind == kind and 11 <= width <= 256 and 64 <= node <= LARGEST_BLOCK and depth <= DEEPEST_TREE
    meter.require(sound, "a tree of links is damaged")
    if root != NOWHERE:
        yield from _nodes(meter, (kind, width, _widths(node, width, depth)), root, count, depth)


def _widths(node: int, width: int, depth: int) -> list[tuple[int, int, int]]:
    """For each level: records that fit, bytes of a child's record count, bytes of its total count."""
    most = (node - 10) // width
    counter, total, below = _bytes_for(most), 0, most
    levels = [(most, 0, 0)]
    for _ in range(depth):
        pointer = 8 + counter + total
        most = (node - 10 - pointer) // (width + pointer)
        levels.append((most, counter, total))
        below = (most + 1) * below + most
        total = _bytes_for(below)
    return levels


def _bytes_for(value: int) -> int:
    return -(-value.bit_length() // 8)


def _nodes(meter: Meter, shape: _Shape, address: int, count: int, level: int) -> Iterator[bytes]:
    kind, width, levels = shape
    most, counter, total = levels[level]
    meter.visit(address)
    meter.require(count <= most, "a tree of links is damaged")
    pointer = 8 + counter + total if level else 0
    start = 6 + count * width
    body = meter.signed(b"BTIN" if level else b"BTLF", address, start + pointer * (count + 1) + 4)
    meter.require(body[4] == 0 and body[5] == kind, "a tree of links is damaged")
    records = [body[here : here + width] for here in range(6, start, width)]
    for i in range(count + 1 if level else 0):
        here = start + i * pointer
        child, below = (int.from_bytes(raw, "little") for raw in (body[here : here + 8], body[here + 8 :][:counter]))
        yield from _nodes(meter, shape, child, below, level - 1)
        yield from records[i : i + 1]
    if not level:
        yield from records


class FractalHeap:
    """Objects by heap id: in a doubling table of blocks, or by a tree where they are huge."""

    def __init__(self, meter: Meter, address: int) -> None:
        head = meter.signed(b"FRHP", address, 146)
        fields = struct.unpack("<BHHBI12QHQQHHQH", head[4:])
        (version, id_size, filters, flags, managed, _, huge) = fields[:7]
        (width, start, largest, bits, _, root, rows) = fields[-7:]
        sound = version == 0 and filters == 0 and 0 < width <= 64 and 0 < start <= largest <= LARGEST_BLOCK
        meter.require(sound and bits <= 64 and id_size <= 64 and rows <= 64, "a heap of names is damaged")
        self._meter, self._huge_tree, self._root, self._rows = meter, huge, root, rows
        self._width, self._start, self._largest, self._checked = width, start, largest, bool(flags & 2)
        self._offset_bytes = -(-bits // 8)
        self._length_bytes = _bytes_for(min(largest, managed))
        self._huge: dict[int, tuple[int, int]] | None = None
        self._blocks: dict[int, bytes] = {}

    def get(self, key: bytes) -> bytes:
        """The object that an id stands for."""
        match key[0] >> 4:
            case 0:
                offset = int.from_bytes(key[1 : 1 + self._offset_bytes], "little")
                length = int.from_bytes(key[1 + self._offset_bytes :][: self._length_bytes], "little")
                return self._managed(offset, length)
            case 1:
                return self._huge_object(int.from_bytes(key[1:], "little"))
            case 2:
                return key[1 : 2 + (key[0] & 15)]
            case _:
                raise self._meter.source.fault("a heap of names is damaged")

    def _huge_object(self, index: int) -> bytes:
        if self._huge is None:
            records = (struct.unpack("<3Q", record[:24]) for record in tree_records(self._meter, self._huge_tree, 1))
            self._huge = {number: (address, length) for address, length, number in records}
        address, length = self._huge.get(index, (NOWHERE, 0))
        self._meter.require(length <= LARGEST_HEAP, "an attribute is too large")
        return self._meter.at(address, length)

    def _managed(self, offset: int, length: int) -> bytes:
        address, size, rows, inside = self._root, self._start, self._rows, offset
        while rows:
            address, size, inside = self._child(address, rows, inside)
            rows = self._rows_of(size)
        self._meter.require(inside + length <= size, "a heap of names is damaged")
        return self._block(address, size)[inside : inside + length]

    def _rows_of(self, size: int) -> int:
        """Rows of the indirect block that covers so many bytes; 0 for a direct one."""
        return 0 if size <= self._largest else (size // (self._start * self._width)).bit_length()

    def _child(self, address: int, rows: int, inside: int) -> tuple[int, int, int]:
        """(address, bytes covered, offset in it) of the child of an indirect block that holds an offset."""
        row = (inside // (self._start * self._width)).bit_length()
        self._meter.require(row < rows, "a heap of names is damaged")
        size = self._start << max(row - 1, 0)
        before = size * self._width if row else 0
        column, inside = divmod(inside - before, size)
        return self._indirect(address, rows)[row * self._width + column], size, inside

    def _indirect(self, address: int, rows: int) -> tuple[int, ...]:
        head = 13 + self._offset_bytes
        if address not in self._blocks:
            self._blocks[address] = self._meter.signed(b"FHIB", address, head + 8 * rows * self._width + 4)
        return struct.unpack(f"<{rows * self._width}Q", self._blocks[address][head:])

    def _block(self, address: int, size: int) -> bytes:
        if address not in self._blocks:
            data = self._meter.at(address, size)
            self._meter.require(data[:5] == b"FHDB\0", "a heap of names is damaged")
            if self._checked:
                self._check(data)
            self._blocks[address] = data
        return self._blocks[address]

    def _check(self, data: bytes) -> None:
        """The checksum of a direct block lies in its head and is counted as zero."""
        self._meter.charge(CHECKSUM_COST * len(data))
        here = 13 + self._offset_bytes
        blank = data[:here] + bytes(4) + data[here + 4 :]
        fits = checksum(blank) == int.from_bytes(data[here : here + 4], "little")
        self._meter.require(fits, "its FHDB block is damaged, the checksum does not fit")


def _global_heap(meter: Meter, address: int) -> Iterator[tuple[int, bytes]]:
    signature, version, size = struct.unpack("<4sB3xQ", meter.at(address, 16))
    sound = signature == b"GCOL" and version == 1 and 16 <= size <= LARGEST_HEAP
    meter.require(sound, "its texts are damaged or too long")
    data, position = meter.at(address, size), 16
    while position + 16 <= size:
        index, length = struct.unpack_from("<H6xQ", data, position)
        if not index:
            return
        meter.require(position + 16 + length <= size, "its texts are damaged")
        meter.charge(LINK_COST)
        yield index, data[position + 16 : position + 16 + length]
        position += 16 + -(-length // 8) * 8
