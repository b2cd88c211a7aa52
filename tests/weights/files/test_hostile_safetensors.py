"""Headers of safetensors that lie, are bombs, or are not quite JSON."""

from __future__ import annotations

import json
import struct
import time

import pytest

from tests.weights.files.makers import fault_of, opened

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file(header: bytes | dict, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changed) -> bytes:
    return file({"a": ONE | changed})


def test_the_honest_file_that_the_others_are_made_of_is_read(tmp_path):
    assert opened(tmp_path, one()).read("a").tolist() == [0, 0]
    assert opened(tmp_path, file(json.dumps({"a": ONE}).encode() + b"   ")).read("a").shape == (2,)


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
MANY = json.dumps({f"t{i}": 0 for i in range(60_000)}).encode()
TENSOR = b'"t%d": {"dtype": "F32", "shape": [2], "data_offsets": [%d, %d]}'
MANY_TENSORS = b"{" + b", ".join(TENSOR % (i, 8 * i, 8 * i + 8) for i in range(6000)) + b"}"
HUNDRED_THOUSAND = b"{" + b", ".join(TENSOR % (i, 8 * i, 8 * i + 8) for i in range(100_000)) + b"}"
TWICE = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
LIES = {
    "a header longer than the file": (file({"a": ONE}, length=10**6), "cut short"),
    "a header beyond all files": (file({"a": ONE}, length=2**47), "longer than 2 MiB"),
    "a header beyond the cap": (file(b'{"a":"' + b"x" * 2**21 + b'"}'), "longer than 2 MiB"),
    "a header of nothing": (file({}, b""), "holds no tensors"),
    "a header of metadata": (file({"__metadata__": {"a": "b"}}, b""), "holds no tensors"),
    "no UTF-8": (file(b'{"\xff\xfe":0}'), "header is damaged"),
    "no JSON": (file(b'{"a":}'), "header is damaged"),
    "more than one JSON": (file(b"{}{}"), "header is damaged"),
    "infinity for a number": (
        file(b'{"a":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}'),
        "header is damaged",
    ),
    "a number of 5,000 digits": (file(b'{"a":' + b"9" * 5000 + b"}"), "header is damaged"),
    "a name twice": (file(TWICE), "a name comes twice"),
    "a key twice": (
        file(b'{"a":{"dtype":"F32","dtype":"F64","shape":[2],"data_offsets":[0,8]}}'),
        "a name comes twice",
    ),
    "a depth of 100,000": (file(DEEP), "nested too deeply"),
    "60,000 names": (file(MANY), "more than 5,000"),
    "100,000 tensors": (file(HUNDRED_THOUSAND, bytes(800_000)), "longer than 2 MiB"),
    "6,000 tensors": (file(MANY_TENSORS, bytes(48_000)), "more than 5,000"),
    "a hole at the start": (
        file({"a": {**ONE, "data_offsets": [4, 12]}}, bytes(12)),
        "overlaps another or leaves a hole",
    ),
    "a hole between": (file({"a": ONE, "b": {**ONE, "data_offsets": [12, 20]}}, bytes(20)), "leaves a hole"),
    "an overlap": (file({"a": ONE, "b": {**ONE, "data_offsets": [4, 12]}}, bytes(12)), "overlaps another"),
    "the same bytes twice": (file({"a": ONE, "b": ONE}), "overlaps another"),
    "bytes after": (file({"a": ONE}, bytes(9)), "bytes after its tensors"),
    "bytes missing": (file({"a": ONE}, bytes(7)), "cut short"),
    "offsets that go back": (one(data_offsets=[8, 0]), "another size"),
    "offsets below zero": (one(data_offsets=[-8, 0]), "described wrongly"),
    "three offsets": (one(data_offsets=[0, 8, 8]), "described wrongly"),
    "offsets beyond the file": (one(shape=[2**40], data_offsets=[0, 2**42]), "more than 2 GiB"),
    "a shape of 2^64": (one(shape=[2**64]), "another size"),
    "a shape whose size wraps around": (one(shape=[2**62, 4, 2]), "another size"),
    "a shape below zero": (one(shape=[-2]), "described wrongly"),
    "a shape of fractions": (one(shape=[2.0]), "described wrongly"),
    "a shape of truths": (one(shape=[True, 2]), "described wrongly"),
    "a shape that is a number": (one(shape=2), "described wrongly"),
    "a shape of 100,000 numbers": (one(shape=[2] * 100_000), "more than 32 dimensions"),
    "a shape of nothing": (file({"a": {**ONE, "shape": [0, 2], "data_offsets": [0, 0]}}, b""), "has no elements"),
    "nothing reused": (file({"a": ONE, "b": {**ONE, "shape": [0], "data_offsets": [4, 4]}}), "has no elements"),
    "a type of another size": (one(dtype="F64"), "another size"),
    "an unknown type": (one(dtype="F8_E4M3"), "type that is not read, F8_E4M3"),
    "a type that is a list": (one(dtype=["F32"]), "type that is not read"),
    "a tensor that is a list": (file({"a": [1]}), "described wrongly"),
    "a tensor without a shape": (file({"a": {"dtype": "F32", "data_offsets": [0, 8]}}), "described wrongly"),
    "a tensor with a surplus key": (one(code="import os"), "described wrongly"),
    "metadata that is no text": (file({"__metadata__": {"a": 1}, "a": ONE}), "not a table of texts"),
    "metadata that is a list": (file({"__metadata__": [], "a": ONE}), "not a table of texts"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_within_a_second(tmp_path, lie):
    content, what = LIES[lie]
    start = time.process_time()
    assert what in str(fault_of(tmp_path, content))
    assert time.process_time() - start < 1


def test_names_that_would_draw_on_a_terminal_are_escaped_in_faults(tmp_path):
    told = str(fault_of(tmp_path, file({"\x1b[2J\nerror: all is well" + "x" * 500: {**ONE, "shape": [3]}})))
    assert "\\x1b[2J\\nerror: all is well" in told
