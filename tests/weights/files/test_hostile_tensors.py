"""Allowed names with arguments that lie: a tensor is what its storage can hold, or nothing."""

from __future__ import annotations

import struct

import pytest

from inceptory.weights.files.formats import Entry
from tests.weights.files.makers import fault_of, legacy, mapping, number, opened, storage, tensor, text, torch_zip

SIX = storage(6)
DATA = ("archive/data/0", bytes(24))


def both(body: bytes) -> list[bytes]:
    """The object in either layout, over a storage of six floats."""
    return [torch_zip(body, DATA), legacy(body, b"](" + text("0") + b"e.", struct.pack("<Q", 6) + bytes(24))]


def rebuilt(name: str, *arguments: bytes) -> bytes:
    module, _, function = name.rpartition(".")
    return mapping(a=f"c{module}\n{function}\n(".encode() + b"".join(arguments) + b"tR")


def test_the_honest_tensor_that_the_others_are_made_of_is_read(tmp_path):
    for content in both(mapping(a=tensor(SIX, 0, (2, 3), (3, 1)))):
        assert opened(tmp_path, content).entries == {"a": Entry((2, 3), "float32")}


LIES = {
    "starts behind the storage": tensor(SIX, 7, (1,), (1,)),
    "ends behind the storage": tensor(SIX, 1, (2, 3), (3, 1)),
    "strides out of the storage": tensor(SIX, 0, (2, 2), (5, 1)),
    "has more cells than there are": tensor(SIX, 0, (2, 4), (1, 1)),
    "starts before the storage": tensor(SIX, -1, (1,), (1,)),
    "has a negative size": tensor(SIX, 0, (-6,), (1,)),
    "has a negative stride": tensor(SIX, 5, (6,), (-1,)),
    "has sizes beyond all memory": tensor(SIX, 0, (2**62, 2**62, 2**62), (1, 1, 1)),
    "has more sizes than strides": tensor(SIX, 0, (2, 3), (1,)),
    "has too many dimensions": tensor(SIX, 0, (1,) * 40, (1,) * 40),
    "is conjugated": tensor(SIX, 0, (6,), (1,), more=b"}" + text("conj") + b"\x88s"),
    "has a size that is not a number": tensor(SIX, 0, (6,), (1,)).replace(number(6) + b"t", b"Nt"),
    "has a start that is true": tensor(SIX, 0, (6,), (1,)).replace(b"tQ" + number(0), b"tQ\x88"),
    "has no storage": tensor(b"N", 0, (6,), (1,)),
    "has a storage of another kind": tensor(
        SIX.replace(b"ctorch\nFloatStorage\n", text("FloatStorage")), 0, (6,), (1,)
    ),
    "has a storage that is a function": tensor(storage(6, kind="Size"), 0, (6,), (1,)),
    "has a storage of a negative size": tensor(storage(-6), 0, (0,), (1,)),
    "has a part of a storage that is not in it": tensor(
        storage(6, more=b"(" + text("v") + number(4) + number(3) + b"t"), 0, (1,), (1,)
    ),
    "has the words of a module": tensor(SIX.replace(text("storage"), text("module")), 0, (6,), (1,)),
    "is called like a storage": b"ctorch\nFloatStorage\n" + number(6) + b"\x85R",
    "is a shape of itself": b"ctorch\nSize\n" + number(6) + b"\x85R",
    "is a parameter of nothing": b"ctorch._utils\n_rebuild_parameter\nN\x88N\x87R",
    "is made of a list of no pairs": b"ccollections\nOrderedDict\n](K\x01K\x02e\x85R",
    "calls a text": text("os.system") + text("id") + b"\x85R",
    "calls with no tuple": b"ccollections\nOrderedDict\n]R",
    "sets the state of a tensor": tensor(SIX, 0, (6,), (1,)) + b"}b",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_tensor_that_cannot_be_is_refused(tmp_path, lie):
    for content in both(mapping(a=LIES[lie])):
        assert "its pickle is not that of weights" in str(fault_of(tmp_path, content))


@pytest.mark.parametrize(
    "name",
    [
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_nested_tensor",
        "torch._utils._rebuild_meta_tensor_no_storage",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_wrapper_subclass",
        "torch._tensor._rebuild_from_type_v2",
        "torch.storage.UntypedStorage",
        "torch.ComplexFloatStorage",
        "torch.sparse_coo_tensor",
        "torch.Tensor",
    ],
)
def test_tensors_that_are_not_dense_are_refused_by_the_name_of_their_maker(tmp_path, name):
    for content in both(rebuilt(name, SIX, number(2**40))):
        assert f"it names {name} (" in str(fault_of(tmp_path, content))


def test_a_cell_that_is_repeated_without_end_is_refused(tmp_path):
    for content in both(mapping(a=tensor(SIX, 0, (2**40, 2**20), (0, 0)))):
        assert "its tensors would take more than 2 GiB" in str(fault_of(tmp_path, content))


@pytest.mark.parametrize("count", [7, 2**20, 2**40, 2**62])
def test_a_storage_larger_than_its_record_is_refused(tmp_path, count):
    body = mapping(a=tensor(storage(count), 0, (1,), (1,)))
    assert "storage 0 is missing or not as long" in str(fault_of(tmp_path, torch_zip(body, DATA)))
    for told in (6, count):
        content = legacy(body, b"](" + text("0") + b"e.", struct.pack("<Q", told) + bytes(24))
        assert "storage 0 has another size" in str(fault_of(tmp_path, content))


def test_a_record_longer_than_its_storage_is_refused_and_a_rest_of_it_is_not(tmp_path):
    """Its checksum would be work without an end; a rest is left where a type was viewed as another."""
    body = mapping(a=tensor(SIX, 0, (6,), (1,)))
    for size, refused in ((24, False), (27, False), (28, True), (2**20, True)):
        content = torch_zip(body, ("archive/data/0", bytes(size)))
        if refused:
            assert "storage 0 is missing or not as long" in str(fault_of(tmp_path, content))
        else:
            assert opened(tmp_path, content).read("a").shape == (6,)


def test_a_storage_that_is_not_there_is_refused(tmp_path):
    body = mapping(a=tensor(storage(6, key="../../etc/passwd"), 0, (6,), (1,)))
    assert "storage ../../etc/passwd is missing" in str(fault_of(tmp_path, torch_zip(body, DATA)))
    assert "list of storages" in str(fault_of(tmp_path, legacy(body)))


@pytest.mark.parametrize("keys", [b"N.", b"](" + text("0") * 2 + b"e.", b"](" + text("1") + b"e.", b"](K\x00e.", b"]."])
def test_a_list_of_storages_that_does_not_fit_is_refused(tmp_path, keys):
    content = legacy(mapping(a=tensor(SIX, 0, (6,), (1,))), keys, struct.pack("<Q", 6) + bytes(24))
    assert "list of storages" in str(fault_of(tmp_path, content))


def test_a_storage_of_two_types_is_refused(tmp_path):
    body = mapping(a=tensor(SIX, 0, (6,), (1,)), b=tensor(storage(6, kind="HalfStorage"), 0, (6,), (1,)))
    for content in both(body):
        assert "described in two ways" in str(fault_of(tmp_path, content))


def test_more_tensors_than_any_network_has_are_refused(tmp_path):
    one = tensor(b"h\x00", 0, (1,), (1,))
    body = b"\x80\x02" + SIX + b"q\x000}(" + b"".join(text(str(i)) + one for i in range(5001)) + b"u."
    for content in both(body):
        assert "more than 5,000 tensors" in str(fault_of(tmp_path, content))
