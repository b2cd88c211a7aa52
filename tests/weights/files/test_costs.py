"""What refusing costs: at most 64 MiB over idle and 5 seconds, for the worst that each format allows."""

from __future__ import annotations

import os
import struct
import zipfile

import h5py
import numpy as np
import pytest

from tests.weights.files.makers import hdf5, keras_archive, legacy, mapping, packed, storage, tensor, text, torch_zip
from tests.weights.files.test_hostile_hdf5 import BOMBS
from tests.weights.files.test_hostile_tensors import LIES, both
from tests.weights.files.watching import watch

MIB = 2**20
MOST = 399_000
"""Instructions, a little below what is read of a pickle."""


def pickles() -> dict[str, bytes]:
    """Bodies that make as many and as large values as they can."""
    reference = storage(6) + b"q\0"
    return {
        "lists": b"]" * MOST,
        "dicts in the memo": b"}\x94" * (MOST // 2),
        "dicts of one item": text("a") + b"q\0" + b"}h\0Ns" * (MOST // 4),
        "wide texts": b"\x8c\x04\xf0\x9f\x98\x80" * MOST,
        "long texts": (b"X\0\0\1\0" + "\U0001f600".encode() + b"a" * 65_532) * 120,
        "integers": (b"\x8a\x10" + b"\1" * 16) * MOST,
        "floats": (b"G" + b"\1" * 8) * MOST,
        "bytes": (b"B\0\x10\0\0" + bytes(4096)) * 1900,
        "tuples in tuples": b"N" + b"\x85" * MOST,
        "marks": b"(" * MOST,
        "tensors": reference + tensor(b"h\0", 0, (1,), (1,)) * 20_000,
    }


def headers() -> dict[str, bytes]:
    """Headers of safetensors of a MiB."""
    values = {
        "tables": b'{"a":[' + b'{"":0},' * 149_000 + b"0]}",
        "lists": b'{"a":[' + b"[]," * 349_000 + b"0]}",
        "texts": b'{"a":[' + '"\u00e9\U0001f600",'.encode() * 104_000 + b"0]}",
        "names": b"{" + b",".join(b'"%x":0' % i for i in range(100_000)) + b"}",
        "digits": b'{"a":{"dtype":"F32","data_offsets":[0,4],"shape":[' + b",".join([b"9" * 4000] * 250) + b"]}}",
    }
    return {name: struct.pack("<Q", len(value)) + value for name, value in values.items()}


def archives() -> dict[str, bytes]:
    """Zip archives that are many, deep, or packed."""
    half = bytes(8 * MIB) + np.random.default_rng(0).bytes(8 * MIB)
    return {
        "records": packed(*((f"a/{i:0200}", b"") for i in range(9_999))),
        "tables of a config": keras_archive(config=b'{"a":[' + b'{"":0},' * 49_900 + b"0]}", weights=b""),
        "lists of a config": keras_archive(config=b'{"a":[' + b"[]," * 299_000 + b"0]}", weights=b""),
        "text of a config": keras_archive(config=b'{"a":"' + b"a" * (4 * MIB - 20) + b'"}', weights=b""),
        "weights that are none": keras_archive(zipfile.ZIP_DEFLATED, weights=half),
        "zeros": keras_archive(zipfile.ZIP_DEFLATED, weights=bytes(64 * MIB)),
    }


def trees() -> dict[str, bytes]:
    """HDF5 files of many objects, texts and chunks."""

    def groups(root):
        for i in range(19_990):
            root.create_group(f"g{i}")

    def texts(root):
        for i in range(20):
            root.create_group(f"g{i}").attrs.create("layer_names", ["x" * 60] * 3000, dtype=h5py.string_dtype())

    def chunks(root):
        for i in range(3):
            root.create_dataset(f"a{i}/vars/0", (60_000,), "f4", chunks=(1,), data=np.ones(60_000, np.float32))

    def long(root):
        root.attrs["model_config"] = "[" + "[]," * 299_000 + "0]"
        root.attrs["layer_names"] = [b"a"]

    return {
        "groups": hdf5(groups),
        "groups with checksums": hdf5(groups, libver="latest"),
        "texts": hdf5(texts),
        "chunks": hdf5(chunks),
        "a config": hdf5(long),
        "8 PiB": hdf5(lambda root: root.create_dataset("a/vars/0", (2**51,), "f4")),
    }


def shapes() -> dict[str, bytes]:
    """HDF5 files whose shapes promise far more than they hold, alone and in an archive."""
    found = {name: make() for name, (make, _) in BOMBS.items()}
    return found | {f"{name}, in an archive": keras_archive(weights=file) for name, file in found.items()}


def tensors() -> dict[str, bytes]:
    """Torch's files whose storages and tensors are not what they say."""
    found = {f"{name}, {i}": file for name, lie in LIES.items() for i, file in enumerate(both(mapping(a=lie)))}
    for count in (7, 2**30, 2**40, 2**62):
        body = mapping(a=tensor(storage(count), 0, (count,), (1,)))
        found |= {f"{count} elements, {i}": file for i, file in enumerate(both(body))}
        keys = b"](" + text("0") + b"e."
        found[f"{count} elements twice told"] = legacy(body, keys, struct.pack("<Q", count) + bytes(24))
    return found


def bodies() -> dict[str, bytes]:
    return {name: b"\x80\x04" + body + b"cos\nsystem\n." for name, body in pickles().items()}


KINDS = {
    "pickles in a stream": lambda: {name: legacy(body) for name, body in bodies().items()},
    "pickles in an archive": lambda: {name: torch_zip(body) for name, body in bodies().items()},
    "headers": headers,
    "archives": archives,
    "trees": trees,
    "shapes": shapes,
    "tensors": tensors,
}


@pytest.mark.skipif(os.name != "posix", reason="memory is measured as POSIX counts it")
@pytest.mark.parametrize(
    "kind", ["headers", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "headers")]
)
def test_the_worst_files_are_refused_within_64_mib_and_5_seconds(tmp_path, kind):
    for name, (came, seconds, _) in watch(tmp_path, KINDS[kind]()).items():
        assert came.startswith("65 "), (name, came)
        assert seconds <= 5, (name, seconds)
