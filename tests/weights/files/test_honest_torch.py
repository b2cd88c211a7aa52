"""What torch.save wrote comes out bit for bit, from either layout."""

from __future__ import annotations

import argparse
import datetime
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptory.weights.files.formats import Entry, open_weights
from tests.imports import loaded_by
from tests.weights.files.makers import (
    KERNEL,
    MAGIC,
    fault_of,
    legacy,
    mapping,
    number,
    opened,
    saved,
    small,
    state,
    storage,
    tensor,
    text,
    torch_zip,
    views,
)

KINDS = {False: "torch zip", True: "torch legacy"}


def plain(value: torch.Tensor) -> np.ndarray:
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def assert_same(weights, wanted) -> None:
    assert list(weights.entries) == list(wanted)
    for name, value in wanted.items():
        assert weights.entries[name] == Entry(tuple(value.shape), str(value.dtype)[6:])
        found, right = weights.read(name, dtype=None), plain(value)
        assert found.dtype == right.dtype
        assert np.array_equal(found, right)
        assert found.flags.c_contiguous
        assert found.flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
def test_every_type_comes_out_as_it_was_saved(tmp_path, old, protocol):
    with opened(tmp_path, saved(state(), old, protocol)) as weights:
        assert weights.kind == KINDS[old]
        assert_same(weights, state())


@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
def test_views_of_one_storage_come_out_as_they_were_seen(tmp_path, old):
    assert_same(opened(tmp_path, saved(views(), old)), views())


@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
@pytest.mark.parametrize("key", ["state_dict", "model", "net", "anything"])
def test_the_network_is_found_inside_of_a_trainer_s_file(tmp_path, old, key):
    momentum = {"state": {0: {"momentum_buffer": torch.ones(9)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    root = {"epoch": 3, key: small(), "optimizer": momentum, "best": 71.5, "names": ["a", None, (1, 2)]}
    assert_same(opened(tmp_path, saved(root, old)), small())


def averaged() -> dict[str, torch.Tensor]:
    return {name: tensor + 1 for name, tensor in small().items()}


@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_the_average_goes_before_the_state_dict_and_both_can_be_had(tmp_path, old, key):
    content = saved({"best": torch.tensor(0.5), "state_dict": small(), key: averaged()}, old)
    weights = opened(tmp_path, content)
    assert_same(weights, averaged())
    assert weights.remarks == (f"averaged weights, from {key} (--raw takes the plain ones)",)
    weights = open_weights(weights.path, raw=True)
    assert_same(weights, small())
    assert weights.remarks == (f"plain weights, not their average in {key}",)


def test_the_state_dict_goes_before_an_average_of_a_part_and_before_loose_tensors(tmp_path):
    root = {"best": torch.tensor(0.5), "state_dict_ema": {"weight": torch.zeros(3)}, "state_dict": small()}
    weights = opened(tmp_path, saved(root))
    assert_same(weights, small())
    assert weights.remarks == ("plain weights: the average in state_dict_ema lacks some",)


def test_an_average_alone_is_the_network(tmp_path):
    assert_same(opened(tmp_path, saved({"epoch": 3, "state_dict_ema": averaged()})), averaged())


def test_two_networks_in_one_file_are_refused_by_name(tmp_path):
    assert "several sets of tensors: left, right" in str(fault_of(tmp_path, saved({"left": small(), "right": small()})))


@pytest.mark.parametrize("root", [{}, [torch.ones(3)], torch.ones(3), {"epoch": 3}, 7])
def test_a_file_without_tensors_by_name_is_refused(tmp_path, root):
    assert "holds no tensors by name" in str(fault_of(tmp_path, saved(root)))


BESIDE = {
    "args": argparse.Namespace(lr=0.1, out=Path("runs"), device=torch.device("cpu"), more=argparse.Namespace(a={1})),
    "best": np.float64(71.5),
    "step": np.int64(3),
    "history": np.arange(6.0).reshape(2, 3),
    "seen": Counter("aab"),
    "classes": {"a", "b"},
    "frozen": frozenset([1]),
    "lists": defaultdict(list, a=[1]),
    "last": deque([1, 2], maxlen=3),
    "dtype": torch.float32,
    "numpy": np.dtype("float32"),
    "device": torch.device("cuda", 1),
    "when": datetime.datetime(2026, 1, 2, 3, 4),
    "bytes": b"abc",
    "random": (torch.get_rng_state(), np.random.RandomState(0).get_state()),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
def test_what_a_trainer_keeps_beside_the_weights_is_inert(tmp_path, old, protocol):
    assert_same(opened(tmp_path, saved({"state_dict": small(), **BESIDE}, old, protocol)), small())
    assert_same(opened(tmp_path, saved({**small(), **BESIDE, "random": 0}, old, protocol)), small())


@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
def test_expanded_tensors_come_out_whole(tmp_path, old):
    wide = {"a": torch.tensor([1.0, 2.0]).expand(3, 2), "b": torch.zeros(1).expand(1000)}
    assert_same(opened(tmp_path, saved(wide, old)), wide)


def test_the_metadata_of_a_module_is_no_tensor(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    assert_same(opened(tmp_path, saved(module.state_dict(keep_vars=True))), module.state_dict())


def python_2(old: bool) -> bytes:
    """As Python 2 wrote it: byte strings, an ordered dict as a list of pairs, a rebuild without hooks."""
    where = storage(6).replace(text("storage"), b"U\x07storage")
    built = b"ctorch._utils\n_rebuild_tensor\n(" + where + b"K\x00(I2\nL3L\nt(K\x03K\x01ttR"
    body = b"\x80\x02ccollections\nOrderedDict\nq\x01]q\x02]q\x03(U\x05fc.\xe9w" + built + b"ea\x85R."
    data = np.arange(6, dtype="<f4").tobytes()
    if old:
        return legacy(body, b"](U\x010e.", struct.pack("<Q", 6) + data)
    return torch_zip(body, ("archive/data/0", data))


@pytest.mark.parametrize("old", KINDS, ids=KINDS.get)
def test_files_of_python_2_are_read(tmp_path, old):
    weights = opened(tmp_path, python_2(old))
    assert weights.entries == {"fc.\xe9w": Entry((2, 3), "float32")}
    assert np.array_equal(weights.read("fc.\xe9w"), np.arange(6).reshape(2, 3))


def test_parts_of_a_storage_as_old_torch_wrote_them_are_read(tmp_path):
    part = b"(" + text("view") + number(2) + number(3) + b"t"
    body = mapping(a=tensor(storage(6, more=part), 1, (2,), (1,)), b=tensor(storage(6, more=b"N"), 0, (6,), (1,)))
    content = legacy(body, b"](" + text("0") + b"e.", struct.pack("<Q", 6) + np.arange(6, dtype="<f4").tobytes())
    assert opened(tmp_path, content).read("a").tolist() == [3, 4]


def test_strides_of_single_cells_may_be_any_number(tmp_path):
    body = mapping(a=tensor(storage(2), 0, (1, 2), (2**60, 1)))
    weights = opened(tmp_path, torch_zip(body, ("archive/data/0", bytes(8))))
    assert weights.read("a").tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (legacy(mapping()).replace(b"little_endian\x88", b"little_endian\x89"), "big-endian"),
        (torch_zip(mapping(), ("archive/byteorder", b"big")), "big-endian"),
        (legacy(mapping()).replace(b"M\xe9\x03", b"M\xea\x03"), "version of torch"),
        (MAGIC, "cut short"),
    ],
)
def test_files_of_other_machines_and_versions_are_refused(tmp_path, content, what):
    assert what in str(fault_of(tmp_path, content))


def test_halves_and_doubles_become_floats_unless_asked_otherwise(tmp_path):
    weights = opened(tmp_path, saved(state()))
    for name in ("conv.float16", "conv.float64", "conv.bfloat16", "conv.float32"):
        assert weights.read(name).dtype == np.float32
        assert np.array_equal(weights.read(name), plain(state()[name]).astype(np.float32))
    assert weights.read("conv.float64", dtype=np.float16).dtype == np.float16
    assert weights.read("conv.int64").dtype == np.int64
    assert weights.read("mask").dtype == np.bool_


def test_a_double_that_no_float_can_hold_is_refused_by_name(tmp_path):
    weights = opened(
        tmp_path, saved({"huge": torch.tensor([1e300], dtype=torch.float64), "inf": torch.tensor([torch.inf])})
    )
    with pytest.raises(Exception, match=r"tensor huge holds numbers beyond float32 \("):
        weights.read("huge")
    assert weights.read("huge", dtype=None) == [1e300]
    assert weights.read("inf") == [np.inf]


def test_weights_close_with_their_block_and_what_was_read_stays(tmp_path):
    with opened(tmp_path, saved(small())) as weights:
        kernel = weights.read("weight")
    assert np.array_equal(kernel, KERNEL)
    with pytest.raises(ValueError, match="closed"):
        weights._source.at(0, 1)


def test_a_name_that_is_not_there_is_refused_with_a_remedy(tmp_path):
    weights = opened(tmp_path, saved(OrderedDict(small())))
    with pytest.raises(Exception, match=r"has no tensor wieght \("):
        weights.read("wieght")


def test_reading_weights_needs_no_torch():
    assert "torch" not in loaded_by("import inceptory.weights.files.formats")
