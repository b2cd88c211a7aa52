"""The tree of an HDF5 file as plain records: groups, datasets by path, and the few attributes asked for.

Only what Keras ever wrote is read: hard links, numbers, texts. Soft and external links, external
storage and virtual datasets point out of a file and are refused, as is everything that is reached twice.
Source: the HDF5 File Format Specification 3.0, sections II and IV.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from inceptory.weights.files.hdf5.data import Dataset, Dataspace, Type, dataset, dataspace, datatype
from inceptory.weights.files.hdf5.index import (
    LINK_COST,
    LONGEST_NAME,
    NOWHERE,
    FractalHeap,
    Meter,
    name_of,
    symbol_links,
    tree_records,
)
from inceptory.weights.files.source import Source, quoted

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_OBJECTS = 20_000
DEEPEST = 32
LONGEST_PATH = 1_000
LARGEST_HEADER = 2**20
MOST_BLOCKS = 64
MESSAGE_COST = 32

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
GROUP_INFO, FILTERS, ATTRIBUTE, CONTINUATION, SYMBOLS, ATTRIBUTES = 0x0A, 0x0B, 0x0C, 0x10, 0x11, 0x15
KEPT = {DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, GROUP_INFO, FILTERS, ATTRIBUTE, SYMBOLS, ATTRIBUTES}
SHARED = 0x02

Value = str | list[str]
Wanted = Callable[[str], bool]


class Message(NamedTuple):
    """One fact in an object's header."""

    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True)
class Tree:
    """What a file holds: datasets and attributes of objects, both by path; the root's path is empty."""

    datasets: dict[str, Dataset]
    attributes: dict[str, dict[str, Value]]


def read_tree(source: Source, wanted: Wanted) -> Tree:
    """Walk the whole file without reading numbers; of the attributes, those with a wanted name.

    Raises DataError for whatever Keras does not write.
    """
    meter = Meter(source)
    tree, waiting, count = Tree({}, {}), [("", _root(meter))], 0
    while waiting:
        path, address = waiting.pop()
        count += 1
        meter.require(count + len(waiting) <= MOST_OBJECTS, f"holds more than {MOST_OBJECTS:,} objects")
        meter.require(path.count("/") < DEEPEST and len(path) <= LONGEST_PATH, "its groups are nested too deeply")
        meter.visit(address)
        messages = list(_messages(meter, address))
        if attributes := dict(_attributes(meter, messages, wanted)):
            tree.attributes[path] = attributes
        if any(message.kind == LAYOUT for message in messages):
            tree.datasets[path] = _dataset(meter, path, messages)
        else:
            links = [(f"{path}/{name}" if path else name, child) for name, child in _links(meter, path, messages)]
            waiting += reversed(links)
    meter.require_apart()
    return tree


def _root(meter: Meter) -> int:
    """Address of the root group, from the superblock."""
    meter.require(meter.at(0, 8) == SIGNATURE, "no HDF5 file")
    version = meter.at(8, 1)[0]
    if version < 2:
        offset, length = meter.unpack("2B", 13)
        base, _, end, driver, _, root = meter.unpack("6Q", 28 if version else 24)
    else:
        offset, length = meter.unpack("2B", 9)
        base, _, end, root = struct.unpack("<4Q", meter.signed(SIGNATURE, 0, 48)[12:])
        driver = NOWHERE
    plain = version <= 3 and offset == length == 8 and base == 0 and driver == NOWHERE
    meter.require(plain, "an HDF5 file of a kind that Keras does not write")
    meter.require(end <= meter.source.size, "cut short")
    return root


def _messages(meter: Meter, address: int) -> Iterator[Message]:
    """The facts in the header of an object."""
    newer = meter.at(address, 4) == b"OHDR"
    start = _newer_header if newer else _older_header
    split = _newer_messages if newer else _older_messages
    flags, first = start(meter, address)
    blocks = [first]
    for block in blocks:
        for message in split(meter, block, flags):
            meter.charge(MESSAGE_COST)
            if message.kind == CONTINUATION:
                meter.require(len(blocks) < MOST_BLOCKS and len(message.body) >= 16, "an object's header is damaged")
                blocks.append(_continuation(meter, newer, *struct.unpack_from("<2Q", message.body)))
            elif message.kind in KEPT:
                yield message


def _older_header(meter: Meter, address: int) -> tuple[int, bytes]:
    version, size = meter.unpack("B7xI4x", address)
    meter.require(version == 1 and size <= LARGEST_HEADER, "an object's header is damaged")
    return 0, meter.at(address + 16, size)


def _newer_header(meter: Meter, address: int) -> tuple[int, bytes]:
    version, flags = meter.unpack("2B", address + 4)
    start = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(meter.at(address + start, width), "little")
    meter.require(version == 2 and size <= LARGEST_HEADER, "an object's header is damaged")
    whole = meter.signed(b"OHDR", address, start + width + size + 4)
    return flags, whole[start + width :]


def _continuation(meter: Meter, newer: bool, address: int, size: int) -> bytes:
    meter.require(8 <= size <= LARGEST_HEADER, "an object's header is damaged")
    return meter.signed(b"OCHK", address, size)[4:] if newer else meter.at(address, size)


def _older_messages(meter: Meter, block: bytes, _: int) -> Iterator[Message]:
    position = 0
    while position + 8 <= len(block):
        kind, size, flags = struct.unpack_from("<2HB3x", block, position)
        meter.require(position + 8 + size <= len(block), "an object's header is damaged")
        yield Message(kind, flags, block[position + 8 : position + 8 + size])
        position += 8 + size


def _newer_messages(meter: Meter, block: bytes, header: int) -> Iterator[Message]:
    prefix, position = 6 if header & 4 else 4, 0
    # Fewer bytes than a prefix may be left over as a gap.
    while position + prefix <= len(block):
        kind, size, flags = struct.unpack_from("<BHB", block, position)
        meter.require(position + prefix + size <= len(block), "an object's header is damaged")
        yield Message(kind, flags, block[position + prefix : position + prefix + size])
        position += prefix + size


def _dataset(meter: Meter, path: str, messages: list[Message]) -> Dataset:
    """Shape, type and place of the numbers of a dataset."""
    what = f"dataset {quoted(path)}"
    by_kind = {message.kind: message for message in messages}
    meter.require(EXTERNAL not in by_kind, f"{what} keeps its numbers in another file")
    whole = DATATYPE in by_kind and DATASPACE in by_kind
    plain = not any(message.flags & SHARED for message in by_kind.values())
    meter.require(whole and plain, f"{what} is of a kind that Keras does not write")
    filters = by_kind[FILTERS].body if FILTERS in by_kind else b""
    bodies = by_kind[DATASPACE].body, by_kind[DATATYPE].body, by_kind[LAYOUT].body
    return dataset(meter, what, *bodies, filters)


def _links(meter: Meter, path: str, messages: list[Message]) -> list[tuple[str, int]]:
    """(name, address) of what a group holds, in the order of creation where that is known."""
    meter.require(any(m.kind in (SYMBOLS, LINK_INFO, GROUP_INFO) for m in messages), f"{quoted(path)} is no group")
    links: list[tuple[int, str, int]] = []
    for message in messages:
        if message.kind == SYMBOLS:
            links += ((0, *link) for link in symbol_links(meter, *struct.unpack_from("<2Q", message.body)))
        elif message.kind == LINK:
            links.append(_link(meter, message.body))
        elif message.kind == LINK_INFO:
            links += _dense_links(meter, message.body)
    names = {name for _, name, _ in links}
    meter.require(len(names) == len(links), f"{quoted(path)} holds a name twice")
    return [(name, address) for _, name, address in sorted(links)]


def _dense_links(meter: Meter, body: bytes) -> Iterator[tuple[int, str, int]]:
    flags = body[1]
    heap, names = struct.unpack_from("<2Q", body, 10 if flags & 1 else 2)
    if heap != NOWHERE:
        objects = FractalHeap(meter, heap)
        for record in tree_records(meter, names, 5):
            yield _link(meter, objects.get(record[4:11]))


def _link(meter: Meter, body: bytes) -> tuple[int, str, int]:
    """(order of creation, name, address) of a hard link; the other kinds are refused by name."""
    meter.charge(LINK_COST)
    version, flags = body[0], body[1]
    position = 2
    kind = body[position] if flags & 8 else 0
    position += bool(flags & 8)
    order = int.from_bytes(body[position : position + 8], "little") if flags & 4 else 0
    position += (8 if flags & 4 else 0) + bool(flags & 16)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[position : position + width], "little")
    position += width
    meter.require(version == 1 and length <= LONGEST_NAME, "a link is damaged")
    name = name_of(meter, body[position : position + length])
    refused = {1: "a soft link", 64: "an external link"}.get(kind, "a link of another kind")
    meter.require(kind == 0, f"{quoted(name)} is {refused}, which weights do not need")
    return order, name, struct.unpack_from("<Q", body, position + length)[0]


def _attributes(meter: Meter, messages: list[Message], wanted: Wanted) -> Iterator[tuple[str, Value]]:
    for message in messages:
        if message.kind == ATTRIBUTE and not message.flags & SHARED:
            yield from _attribute(meter, message.body, wanted)
        elif message.kind == ATTRIBUTES:
            for body in _dense_attributes(meter, message.body):
                yield from _attribute(meter, body, wanted)


def _dense_attributes(meter: Meter, body: bytes) -> Iterator[bytes]:
    heap, names = struct.unpack_from("<2Q", body, 4 if body[1] & 1 else 2)
    if heap != NOWHERE:
        objects = FractalHeap(meter, heap)
        for record in tree_records(meter, names, 8):
            yield objects.get(record[:8])


def _attribute(meter: Meter, body: bytes, wanted: Wanted) -> Iterator[tuple[str, Value]]:
    """(name, value) where the name is wanted and the value is text."""
    version, flags, *sizes = struct.unpack_from("<2B3H", body)
    meter.require(1 <= version <= 3, "an attribute is damaged")
    step = 8 if version == 1 else 1
    ends = [9 if version == 3 else 8]
    for size in sizes:
        ends.append(ends[-1] + -(-size // step) * step)
    name = name_of(meter, body[ends[0] : ends[0] + sizes[0]].rstrip(b"\0"))
    if wanted(name) and not (version > 1 and flags & 3):
        form, space = datatype(meter, body[ends[1] : ends[2]]), dataspace(meter, body[ends[2] : ends[3]])
        if form.kind in ("text", "long text"):
            yield name, _texts(meter, form, space, body[ends[3] :])


def _texts(meter: Meter, form: Type, space: Dataspace, data: bytes) -> Value:
    """A text, or the list of them; what a cell holds is read only once it is known to be there."""
    shape = () if space is None else space
    count, width = (0 if space is None else prod(shape)), form.size
    meter.require(count * width <= len(data), "an attribute is larger than its place")
    meter.charge(LINK_COST * count)
    cells = [data[i * width : (i + 1) * width] for i in range(count)]
    texts = [_text(meter, cell if form.kind == "text" else _long_text(meter, cell)) for cell in cells]
    return texts[0] if shape == () and texts else texts


def _long_text(meter: Meter, cell: bytes) -> bytes:
    length, address, index = struct.unpack("<IQI", cell)
    return meter.global_object(address, index)[:length] if length else b""


def _text(meter: Meter, raw: bytes) -> str:
    try:
        return raw.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        raise meter.source.fault("a text in it is not UTF-8") from None
