"""Tensors out of Caffe's models, and out of ONNX models that were made of them; neither is run.

BVLC/caffe src/caffe/proto/caffe.proto and onnx/onnx.proto: the numbers of the few fields that hold numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.weights.files.protobuf import BYTES, VARINT, Field, fields, varints
from inceptory.weights.files.source import MOST_DIMENSIONS, STORED, Contents, Entry, Source, check, numbers, quoted

KIND_CAFFE, KIND_ONNX = "caffe model", "onnx model"
LAYERS = {100: (1, 7), 2: (4, 6)}
"""Where a network keeps its layers, now and until 2015, and where a layer keeps its name and its blobs."""
LEGACY_SIZES = (1, 2, 3, 4)
"""A blob's number, channels, height and width, before it had a shape."""
ONNX_TYPES = {1: "float32", 7: "int64", 10: "float16", 11: "float64"}
ONNX_LISTS = {4: "float32", 7: "int64", 10: "float64"}
"""Fields of a tensor that hold numbers one by one, where it does not hold them as bytes."""
REMARK = "the tensors of an ONNX model, whose graph is not looked at"

Tensors = dict[str, tuple[Entry, Field]]


def read_caffe(source: Source) -> Contents:
    """Blobs by the layer's name and their number, conv1/7x7_s2:0; raises DataError."""
    tensors: Tensors = {}
    for layer in fields(source, 0, source.size):
        if layer.number in LAYERS and layer.kind == BYTES:
            named, blob = LAYERS[layer.number]
            inside = list(fields(source, layer.start, layer.size))
            name = next((_text(source, field) for field in inside if field.number == named), "")
            for i, field in enumerate(field for field in inside if field.number == blob):
                tensors[f"{name}:{i}"] = _blob(source, name, field)
    return _contents(source, KIND_CAFFE, tensors)


def _blob(source: Source, name: str, blob: Field) -> tuple[Entry, Field]:
    inside = {field.number: field for field in fields(source, blob.start, blob.size)}
    data = inside.get(5, inside.get(8))
    if data is None or data.kind != BYTES:
        raise source.fault(f"blob of {quoted(name)} holds no numbers", "save it again with Caffe")
    if 7 in inside:
        shape = _dims(source, fields(source, inside[7].start, inside[7].size))
    else:
        shape = tuple(inside[i].value if i in inside else 1 for i in LEGACY_SIZES)
    # Vectors and matrices were filled up with ones in front.
    while len(shape) > 1 and shape[0] == 1 and not (len(shape) == 4 and shape[1] > 1):
        shape = shape[1:]
    return Entry(shape, "float64" if data.number == 8 else "float32"), data


def read_onnx(source: Source) -> Contents:
    """The initial values of a graph by their names; raises DataError."""
    tensors: Tensors = {}
    for graph in fields(source, 0, source.size):
        if graph.number != 7 or graph.kind != BYTES:
            continue
        for tensor in fields(source, graph.start, graph.size):
            if tensor.number == 5 and tensor.kind == BYTES:
                name, entry, data = _initial(source, tensor)
                tensors[name] = entry, data
    return _contents(source, KIND_ONNX, tensors, REMARK)


def _initial(source: Source, tensor: Field) -> tuple[str, Entry, Field]:
    inside = list(fields(source, tensor.start, tensor.size))
    by_number = {field.number: field for field in inside}
    name = _text(source, by_number[8]) if 8 in by_number else ""
    dtype = ONNX_TYPES.get(by_number[2].value) if 2 in by_number else None
    lists = [field for field in inside if ONNX_LISTS.get(field.number) == dtype and field.kind == BYTES]
    data = by_number.get(9, lists[0] if lists else None)
    if dtype is None or data is None:
        raise source.fault(f"tensor {quoted(name)} is of a kind that is not read", "export it with its weights inside")
    return name, Entry(_dims(source, iter(inside)), dtype), data


def _dims(source: Source, inside: Iterator[Field]) -> tuple[int, ...]:
    """The sizes in field 1 of a message, one by one or packed."""
    sizes: list[int] = []
    for field in inside:
        if field.number == 1 and field.kind == VARINT:
            sizes.append(field.value)
        elif field.number == 1:
            sizes += varints(source.at(field.start, min(field.size, 10 * MOST_DIMENSIONS)))
    if len(sizes) > MOST_DIMENSIONS or max(sizes, default=0) >= 2**40:
        raise ValueError("an impossible shape")
    return tuple(sizes)


def _text(source: Source, field: Field) -> str:
    return source.at(field.start, min(field.size, 1024)).decode("utf-8")


def _contents(source: Source, kind: str, tensors: Tensors, *remarks: str) -> Contents:
    entries = {name: entry for name, (entry, _) in tensors.items()}
    check(source, entries)
    reads = {name: _reader(source, name, entry, data) for name, (entry, data) in tensors.items()}
    return Contents(kind, entries, lambda name: reads[name](), remarks=remarks)


def _reader(source: Source, name: str, entry: Entry, data: Field) -> Callable[[], NDArray[Any]]:
    # Whole numbers that are not stored as bytes take as many bytes as they need.
    packed = entry.dtype == "int64" and data.number == 7
    problem = f"tensor {quoted(name)} is not as long as it says"
    source.require(packed or data.size == entry.size, problem)

    def read() -> NDArray[Any]:
        content = source.at(data.start, data.size)
        if not packed:
            return numbers(np.frombuffer(content, STORED[entry.dtype]).reshape(entry.shape), entry.dtype)
        whole = np.array(list(varints(content)), dtype=np.uint64).astype(np.int64)
        source.require(whole.size == prod(entry.shape), problem)
        return whole.reshape(entry.shape)

    return read
