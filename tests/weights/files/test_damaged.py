"""Files that were cut or hit by a bit: an error in one line, or the right tensors, and nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest

from inceptory.errors import DataError
from tests.weights.files.makers import KERNEL, every_kind, fault_of, hdf5, keras_3, opened, saved, small, tensors_of

CUTS, FLIPS = 64, 1000
CHECKED = {"torch zip", "keras archive", "keras archive, deflated"}
"""Kinds in which every byte of a tensor is under a checksum."""
KINDS = every_kind()


def outcome(folder, content):
    """The tensors by name, or the fault."""
    try:
        with opened(folder, content) as weights:
            return tensors_of(weights, dtype=None)
    except DataError as fault:
        return fault


def equal(left, right) -> bool:
    same = (np.array_equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left)
    return left.keys() == right.keys() and all(same)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path, kind):
    content = KINDS[kind]
    for i in range(CUTS):
        assert isinstance(fault_of(tmp_path, content[: i * len(content) // CUTS]), DataError)
    assert isinstance(fault_of(tmp_path, content[:-1]), DataError)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_file_with_one_wrong_byte_is_refused_or_read_as_a_file(tmp_path, kind):
    whole = outcome(tmp_path, KINDS[kind])
    dice = random.Random(kind)
    for _ in range(FLIPS):
        content = bytearray(KINDS[kind])
        content[dice.randrange(len(content))] ^= dice.randrange(1, 256)
        found = outcome(tmp_path, bytes(content))
        if kind in CHECKED and not isinstance(found, DataError):
            assert equal(found, whole)


@pytest.mark.parametrize("kind", sorted(CHECKED))
def test_a_checksum_notices_every_wrong_byte_of_a_tensor(tmp_path, kind):
    content, numbers, whole = KINDS[kind], KERNEL.tobytes(), outcome(tmp_path, KINDS[kind])
    # Where the numbers are packed, any place behind the record's name will do.
    start = content.find(numbers) if numbers in content else content.index(b"model.weights.h5") + 200
    for offset in range(start, start + len(numbers)):
        broken = bytearray(content)
        broken[offset] ^= 0x10
        found = outcome(tmp_path, bytes(broken))
        # A packed byte may go wrong in a way that unpacks to the same.
        assert isinstance(found, DataError) or (kind.endswith("deflated") and equal(found, whole))


@pytest.mark.parametrize("libver", [("v108", "v108"), "latest"], ids=str)
def test_the_newer_structures_of_hdf5_notice_every_wrong_byte(tmp_path, libver):
    content = hdf5(keras_3, libver=libver)
    whole = outcome(tmp_path, content)
    values = {value.tobytes() for value in whole.values()}
    structure = [offset for offset in range(len(content)) if content[offset : offset + 4] in (b"OHDR", b"BTHD")]
    for start in structure:
        for offset in range(start, start + 12):
            broken = bytearray(content)
            broken[offset] ^= 0x10
            found = outcome(tmp_path, bytes(broken))
            assert isinstance(found, DataError) or {value.tobytes() for value in found.values()} == values


def test_a_record_that_is_damaged_is_named_when_it_is_read(tmp_path):
    content = saved(small())
    weights = opened(tmp_path, content.replace(small()["bias"].numpy().tobytes(), bytes(16)))
    assert weights.read("weight").shape == (2, 3, 4)
    with pytest.raises(DataError, match=r"record .*/data/1 is damaged, its checksum does not fit \("):
        weights.read("bias")


def test_a_file_that_becomes_shorter_while_it_is_open_is_refused(tmp_path):
    weights = opened(tmp_path, KINDS["safetensors"])
    with open(tmp_path / "file", "r+b") as file:
        file.truncate(200)
    with pytest.raises(DataError, match=r"became shorter while it was read \("):
        weights.read("weight")


def test_what_was_opened_is_what_is_read_though_another_file_takes_its_name(tmp_path):
    weights = opened(tmp_path, KINDS["safetensors"])
    (tmp_path / "other").write_bytes(KINDS["safetensors"].replace(small()["bias"].numpy().tobytes(), bytes(16)))
    (tmp_path / "other").replace(tmp_path / "file")
    assert weights.read("bias").tolist() == [0, 1, 2, 3]
