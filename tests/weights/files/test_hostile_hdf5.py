"""HDF5 files that point out of themselves, lead in circles, or promise more than they hold."""

from __future__ import annotations

import io
import struct
import time
import zlib

import h5py
import numpy as np
import pytest

from tests.weights.files.makers import KERNEL, fault_of, hdf5, keras_3, keras_2016, keras_archive, opened

FORMATS = ["earliest", ("v108", "v108"), "latest"]


def external_link(root, outside):
    root["layers/a/vars/0"] = h5py.ExternalLink(str(outside), "/layers/conv2d/vars/0")


def soft_link(root, _):
    root["layers/a/vars/0"] = KERNEL
    root["layers/b"] = h5py.SoftLink("/layers/a")


def external_storage(root, outside):
    root.create_dataset("layers/a/vars/0", (2,), "f4", external=[(str(outside), 0, 8)])


def virtual(root, outside):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(outside), "layers/conv2d/vars/1", (2,))
    root.create_virtual_dataset("layers/a/vars/0", layout)


def circle(root, _):
    root["layers/a/vars/0"] = KERNEL
    root["layers/a/vars/again"] = root["layers"]


def circle_of_one(root, _):
    root["layers/a/vars/0"] = KERNEL
    root["self"] = root["/"]


def twice(root, _):
    root["layers/a/vars/0"] = KERNEL
    root["layers/b/vars/0"] = root["layers/a/vars/0"]


def nested(root, _):
    group = root
    for _ in range(10_000):
        group = group.create_group("g")


def compound(root, _):
    root.create_dataset("a/vars/0", (3,), [("x", "f4"), ("y", "f4")])


def texts(root, _):
    root["a/vars/0"] = np.array([b"os.system"])


def long_texts(root, _):
    root.create_dataset("a/vars/0", (2,), h5py.string_dtype())[0] = "import os"


def references(root, _):
    root.create_dataset("a/vars/0", (1,), h5py.ref_dtype)[0] = root.ref


def named_type(root, _):
    root["layers/a/vars/0"] = KERNEL
    root["layers/type"] = np.dtype("f4")


def shared_type(root, _):
    root["type"] = np.dtype("f4")
    root.create_dataset("layers/a/vars/0", (2,), root["type"])


def nowhere(root, _):
    root.create_dataset("layers/a/vars/0", (2,), "f4")


def null(root, _):
    root["layers/a/vars/0"] = h5py.Empty("f4")


HOSTILE = {
    external_link: "an external link",
    soft_link: "a soft link",
    external_storage: "keeps its numbers in another file",
    virtual: "keeps its numbers in other files",
    circle: "leads in circles",
    circle_of_one: "leads in circles",
    twice: "leads in circles",
    nested: "nested too deeply",
    compound: "holds no numbers that are read",
    texts: "holds no numbers that are read",
    long_texts: "holds no numbers that are read",
    references: "holds no numbers that are read",
    named_type: "is no group",
    shared_type: "",
    nowhere: "was never written",
    null: "holds no numbers that are read",
}


@pytest.mark.parametrize("libver", FORMATS, ids=str)
@pytest.mark.parametrize("fill", HOSTILE, ids=lambda fill: fill.__name__)
def test_what_keras_never_writes_is_refused(tmp_path, fill, libver):
    outside = tmp_path / "outside.h5"
    outside.write_bytes(hdf5(keras_3))
    if fill is virtual and libver == ("v108", "v108"):
        pytest.skip("HDF5 1.8 knew no virtual datasets")
    content = hdf5(lambda root: fill(root, outside), libver=libver)
    start = time.process_time()
    assert HOSTILE[fill] in str(fault_of(tmp_path, content))
    if len(content) < 2**20:
        assert HOSTILE[fill] in str(fault_of(tmp_path, keras_archive(weights=content)))
    assert time.process_time() - start < 5


def sized(shape, chunks=None, **options):
    def fill(root):
        dataset = root.create_dataset("layers/a/vars/0", shape, "f4", chunks=chunks, **options)
        if chunks and np.prod(shape, dtype=float) < 2**28:
            dataset[...] = 0
        elif chunks:
            dataset[tuple(slice(0, step) for step in chunks)] = 0

    return hdf5(fill)


BOMBS = {
    "8 PiB in one run": (lambda: sized((2**51,)), "was never written"),
    "8 PiB in chunks": (lambda: sized((2**51,), (2**20,), compression="gzip"), "more than 100,000 chunks"),
    "40 GB in chunks": (lambda: sized((10 * 2**30,), (2**20,), compression="gzip"), "were never written"),
    "256 MB of zeros in chunks": (lambda: sized((2**26,), (2**20,), compression="gzip"), "far larger than the file"),
    "one chunk of 128 MB": (lambda: sized((2**25,), (2**25,), compression="gzip"), "chunks of more than 64 MiB"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.slow
def test_shapes_that_the_file_cannot_hold_are_refused_before_anything_is_allocated(tmp_path, bomb):
    make, what = BOMBS[bomb]
    content = make()
    start = time.process_time()
    assert what in str(fault_of(tmp_path, content))
    assert time.process_time() - start < 5


def chunk(data: bytes, **options):
    """A dataset of one chunk of 64 floats that holds these bytes."""

    def fill(root):
        dataset = root.create_dataset("a/vars/0", (64,), "f4", chunks=(64,), **options)
        dataset.id.write_direct_chunk((0,), data)

    return hdf5(fill)


def test_chunks_that_unpack_to_another_size_are_refused(tmp_path):
    right = zlib.compress(bytes(256))
    assert opened(tmp_path, chunk(right, compression="gzip")).read("a/vars/0").shape == (64,)
    for data in (zlib.compress(bytes(2**24)), zlib.compress(bytes(255)), right[:-3], b"x", b"x" * 20):
        weights = opened(tmp_path, chunk(data, compression="gzip"))
        with pytest.raises(Exception, match=r"has a chunk of another size|cannot be unpacked"):
            weights.read("a/vars/0")
    with pytest.raises(Exception, match="has a chunk of another size"):
        opened(tmp_path, chunk(bytes(255))).read("a/vars/0")


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 3}])
def test_filters_that_are_not_read_are_refused(tmp_path, options):
    content = hdf5(lambda root: root.create_dataset("a/vars/0", data=np.ones(64, np.float32), chunks=(32,), **options))
    assert "packed in a way that is not read" in str(fault_of(tmp_path, content))


def test_chunks_with_an_index_of_later_versions_are_refused_by_name(tmp_path):
    values = np.ones((64, 64), np.float32)
    content = hdf5(lambda root: root.create_dataset("a/vars/0", data=values, chunks=(8, 8)), libver="latest")
    assert "index newer than HDF5 1.8" in str(fault_of(tmp_path, content))


def listed(layers, weights=(), libver="earliest", **more):
    def fill(root):
        root.attrs["layer_names"] = layers
        group = root.create_group("a")
        group.attrs["weight_names"] = list(weights)
        group["w"] = KERNEL
        for key, value in more.items():
            root.attrs[key] = value

    return hdf5(fill, libver=libver)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (listed([b"a"], [b"../a/w"]), "is listed and not there"),
        (listed([b"a"], [b"v"]), "is listed and not there"),
        (listed([b"a"], [b"w", b"w"]), "is listed twice"),
        (listed([b"a", b"a"], [b"w"]), "is listed twice"),
        (listed([b"b"], [b"w"]), "holds no tensors"),
        (listed([b"\xff"], [b"w"]), "not UTF-8"),
        (listed([b"a"], [b"w"], model_config="{"), "model_config is damaged"),
        (listed([b"a"], [b"w"], model_config="[" * 100_000), "model_config is damaged"),
        (listed([b"a"], [b"w"], model_config="[" + "0," * 310_000 + "0]"), "model_config is too large"),
        (listed([b"a"], [b"w"], model_config="x" * (5 * 2**20)), "texts are damaged or too long"),
    ],
)
def test_lists_and_configs_that_do_not_fit_are_refused(tmp_path, content, what):
    assert what in str(fault_of(tmp_path, content))


def test_attributes_that_nobody_asked_for_are_not_read(tmp_path):
    content = listed([b"a"], [b"w"], libver="latest", other=np.zeros(2**16), more="x" * (5 * 2**20))
    assert opened(tmp_path, content).read("a/w").shape == KERNEL.shape
    huge = hdf5(lambda root: root.attrs.create("layer_names", np.zeros(2**23, "S1")), libver="latest")
    assert "too large" in str(fault_of(tmp_path, huge))


def test_more_objects_or_attributes_than_any_network_has_are_refused(tmp_path):
    def objects(root):
        for i in range(20_100):
            root.create_group(f"g{i}")

    def attributes(root):
        for i in range(300):
            root.create_group(f"g{i}").attrs["layer_names"] = np.zeros(250, "S250")

    assert "more than 20,000 objects" in str(fault_of(tmp_path, hdf5(objects)))
    assert "too much structure" in str(fault_of(tmp_path, hdf5(attributes)))


def with_bytes(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def test_a_tree_whose_child_is_itself_leads_nowhere(tmp_path):
    content = hdf5(keras_3)
    places = [place for place in range(len(content)) if content[place : place + 4] == b"TREE"]
    trees = [place for place in places if content[place + 6] > 0]
    assert len(trees) > 5
    for tree in trees:
        itself = with_bytes(content, tree + 32, struct.pack("<Q", tree))
        assert "damaged" in str(fault_of(tmp_path, itself)) or "circles" in str(fault_of(tmp_path, itself))
        higher = with_bytes(itself, tree + 5, b"\1")
        assert "damaged" in str(fault_of(tmp_path, higher)) or "circles" in str(fault_of(tmp_path, higher))


def test_a_header_that_continues_in_itself_is_refused_at_once(tmp_path):
    count = 3_500
    size = 112 + 24 * count
    messages = struct.pack("<HHB3xQQ", 0x10, 16, 0, 96, size - 96) * count
    head = struct.pack("<BxHII4x", 1, count, 1, len(messages)) + messages
    first = b"\x89HDF\r\n\x1a\n" + bytes((0, 0, 0, 0, 0, 8, 8, 0)) + struct.pack("<HHI", 4, 16, 0)
    first += struct.pack("<6Q", 0, 2**64 - 1, size, 2**64 - 1, 0, 96) + bytes(24)
    start = time.process_time()
    assert "header is damaged" in str(fault_of(tmp_path, first + head))
    assert time.process_time() - start < 1


@pytest.mark.parametrize("place", [8, 13, 14, 24, 28, 40, 48, 64])
def test_first_blocks_that_lie_are_refused(tmp_path, place):
    content = hdf5(keras_2016)
    for new in (b"\xfe", b"\x07" * 8, b"\xfe" * 8):
        assert "(download it again)" in str(fault_of(tmp_path, with_bytes(content, place, new)))


def test_hdf5_of_others_is_refused(tmp_path):
    assert "without weights of Keras" in str(fault_of(tmp_path, hdf5(lambda root: root.create_group("data"))))
    assert "without weights of Keras" in str(fault_of(tmp_path, hdf5(lambda root: None)))
    assert "no HDF5 file" in str(fault_of(tmp_path, hdf5(keras_3, userblock_size=512)))


@pytest.mark.parametrize("by", [0, 4, -4, 60])
def test_datasets_over_one_another_are_refused(tmp_path, by):
    """One changed byte of an address gives one layer the numbers of another."""
    content = hdf5(lambda root: [root.create_dataset(f"{name}/vars/0", data=np.ones(16, "f4")) for name in "ab"])
    with h5py.File(io.BytesIO(content)) as file:
        one, other = (file[f"{name}/vars/0"].id.get_offset() for name in "ab")
    old, new = struct.pack("<2Q", other, 64), struct.pack("<2Q", one + by, 64)
    assert content.count(old) == 1
    fault = str(fault_of(tmp_path, content.replace(old, new)))
    pair = ("a", "b") if by >= 0 else ("b", "a")
    assert "dataset {}/vars/0 and dataset {}/vars/0 overlap".format(*pair) in fault
