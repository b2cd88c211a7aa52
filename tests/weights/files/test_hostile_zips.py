"""Archives that mean different things to different readers, grow without end, or hold a program."""

from __future__ import annotations

import struct
import time
import warnings
import zipfile
import zlib

import pytest
import torch

from inceptory.errors import DataError
from tests.weights.files.makers import (
    every_kind,
    fault_of,
    hdf5,
    keras_3,
    keras_archive,
    legacy,
    mapping,
    opened,
    packed,
    safetensors_file,
    saved,
    small,
    storage,
    tensor,
    torch_zip,
)

BODY = mapping(a=tensor(storage(2), 0, (2,), (1,)))
HONEST = torch_zip(BODY, ("archive/data/0", bytes(8)))


def assert_ambiguous(folder, content) -> None:
    assert ": ambiguous file" in str(fault_of(folder, content))


def test_the_honest_archive_that_the_others_are_made_of_is_read(tmp_path):
    assert opened(tmp_path, HONEST).read("a").tolist() == [0, 0]


@pytest.mark.parametrize("kind", every_kind())
def test_any_file_with_an_archive_behind_it_is_ambiguous(tmp_path, kind):
    assert_ambiguous(tmp_path, every_kind()[kind] + HONEST)


@pytest.mark.parametrize("head", [b"\x80\x02}.", b"#!/bin/sh\n", bytes(512), b"PK\3\4" + bytes(100)])
def test_bytes_before_an_archive_make_it_ambiguous(tmp_path, head):
    assert_ambiguous(tmp_path, head + HONEST)


@pytest.mark.parametrize("tail", [b"\0", b"x" * 100, b"PK\5\6" + bytes(17)])
def test_bytes_behind_an_archive_make_it_ambiguous(tmp_path, tail):
    assert_ambiguous(tmp_path, HONEST + tail)


def test_a_comment_behind_an_archive_makes_it_ambiguous(tmp_path):
    assert_ambiguous(tmp_path, HONEST[:-2] + struct.pack("<H", 5) + b"hello")


def test_two_directories_and_two_end_records_make_an_archive_ambiguous(tmp_path):
    start = HONEST.index(b"PK\1\2")
    other = HONEST[start:-22].replace(b"archive/data.pkl", b"archive/evil.pkl")
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(other), len(HONEST), 0)
    assert_ambiguous(tmp_path, HONEST + other + end)


def test_zip64_end_records_that_disagree_make_an_archive_ambiguous(tmp_path):
    content = saved(small())
    last = len(content) - 22
    count, size, start = struct.unpack_from("<H2L", content, last + 10)
    lying = content[:last] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, start - 1, 0)
    assert_ambiguous(tmp_path, lying)
    assert_ambiguous(tmp_path, content[: last - 20] + bytes(8) + content[last - 20 :])


def test_a_record_that_says_another_name_than_the_directory_is_ambiguous(tmp_path):
    assert_ambiguous(tmp_path, HONEST.replace(b"archive/data.pkl", b"archive/evil.pkl", 1))


def test_a_gap_between_records_is_ambiguous(tmp_path):
    second = HONEST.index(b"PK\3\4", 4)
    content = bytearray(HONEST[:second] + b"hidden" + HONEST[second:])
    position = content.index(b"PK\1\2")
    start = position
    for i in range(3):
        offset = struct.unpack_from("<L", content, position + 42)[0]
        struct.pack_into("<L", content, position + 42, offset + 6 * (i > 0))
        position += 46 + sum(struct.unpack_from("<3H", content, position + 28))
    struct.pack_into("<L", content, len(content) - 6, start)
    assert_ambiguous(tmp_path, bytes(content))


def test_a_tar_and_a_pickle_at_once_are_ambiguous(tmp_path):
    content = bytearray(legacy(mapping()).ljust(1024, b"\0"))
    content[257:262] = b"ustar"
    assert_ambiguous(tmp_path, bytes(content))


@pytest.mark.parametrize("place", [512, 1024, 4096])
def test_hdf5_behind_something_else_is_ambiguous(tmp_path, place):
    kinds = (safetensors_file(), saved(small()), saved(small(), legacy=True))
    firsts = [first for first in kinds if len(first) < place]
    assert firsts
    for first in firsts:
        assert_ambiguous(tmp_path, first.ljust(place, b"\0") + hdf5(keras_3))


def test_bytes_behind_the_tensors_of_other_kinds_are_refused(tmp_path):
    assert "bytes after its tensors" in str(fault_of(tmp_path, safetensors_file() + b"\0"))
    assert_ambiguous(tmp_path, saved(small(), legacy=True) + b"\0")
    assert_ambiguous(tmp_path, torch_zip(BODY + b"\x80\x02}.", ("archive/data/0", bytes(8))))


NAMES = [
    "../evil",
    "archive/../../evil",
    "/etc/passwd",
    "C:\\evil",
    "..\\evil",
    "archive/a\0b",
    "archive/..",
    "..",
    "a:b",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    content = torch_zip(BODY, ("archive/data/0", bytes(8)), ("x" * len(name), b""))
    told = str(fault_of(tmp_path, content.replace(b"x" * len(name), name.encode())))
    assert "leads elsewhere" in told or "ambiguous" in told


def test_a_name_that_comes_twice_is_ambiguous(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_ambiguous(tmp_path, torch_zip(BODY, ("archive/data/0", bytes(8)), ("archive/data/0", b"other!!!")))


def test_encrypted_and_split_archives_are_refused(tmp_path):
    flags = bytearray(HONEST)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        flags[HONEST.index(signature) + place] |= 1
    assert "encrypted" in str(fault_of(tmp_path, bytes(flags)))
    split = bytearray(HONEST)
    split[-18] = 1
    assert "several parts" in str(fault_of(tmp_path, bytes(split)))


def test_compressed_records_of_torch_are_refused(tmp_path):
    content = packed(("a/data.pkl", BODY), ("a/data/0", bytes(8)), method=zipfile.ZIP_DEFLATED)
    assert "is compressed" in str(fault_of(tmp_path, content))
    content = packed(("a/data.pkl", BODY), ("a/data/0", bytes(8)), method=zipfile.ZIP_LZMA)
    assert "packed in a way" in str(fault_of(tmp_path, content))


def quickly(folder, content) -> str:
    start = time.process_time()
    told = str(fault_of(folder, content))
    assert time.process_time() - start < 2
    return told


@pytest.mark.slow
def test_bombs_are_refused_before_they_go_off(tmp_path):
    bomb = keras_archive(zipfile.ZIP_DEFLATED, weights=bytes(64 * 2**20))
    assert "unpacks to far more than it is" in quickly(tmp_path, bomb)
    many = packed(*((f"archive/data/{i}", b"") for i in range(100_000)))
    assert "more than 10,000 records" in quickly(tmp_path, many)
    wide = torch_zip(BODY, *((f"archive/{'x' * 4000}{i}", b"") for i in range(1100)))
    assert "beyond 4 MiB" in quickly(tmp_path, wide)


def test_a_bomb_that_lies_about_its_size_is_refused_where_it_shows(tmp_path):
    content = bytearray(
        packed(("config.json", b"{}"), ("model.weights.h5", bytes(4 * 2**20)), method=zipfile.ZIP_DEFLATED)
    )
    for signature, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<L", content, content.rindex(signature) + place, 5000)
    assert "longer than it says" in quickly(tmp_path, bytes(content))


def test_a_config_that_is_too_large_or_no_config_is_refused(tmp_path):
    large = b'{"a": "' + b"x" * (5 * 2**20) + b'"}'
    assert "larger than 4,194,304 bytes" in quickly(tmp_path, keras_archive(config=large))
    assert "too large for a model" in quickly(tmp_path, keras_archive(config=b'{"a": [' + b"{}," * 60_000 + b"0]}"))
    for broken in (b"", b"{", b"[1]", b"[" * 100_000, b'"x"', b"\xff{}", b'{"a": ' + b"9" * 5000 + b"}"):
        assert "config.json is" in quickly(tmp_path, keras_archive(config=broken))


def test_what_a_config_asks_for_is_plain_data(tmp_path):
    config = (
        b'{"module": "os", "class_name": "system", "config": {"layers": [{"class_name": "Lambda", "config":'
        b'{"function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}}, {"class_name": "TFSMLayer"}]}}'
    )
    weights = opened(tmp_path, keras_archive(config=config))
    assert weights.config is not None
    assert weights.config["module"] == "os"
    assert len(weights.entries) == 3


@pytest.mark.parametrize(
    "names",
    [
        ["program/archive_format", "program/models/model.json", "program/data/weights/weight_0"],
        ["serialized_exported_program.json", "serialized_state_dict.pt", "version"],
        ["net/models/model.json", "net/archive_version"],
    ],
)
def test_archives_that_hold_a_program_say_so_with_a_way_out(tmp_path, names):
    told = str(fault_of(tmp_path, packed(*((name, BODY) for name in names), method=zipfile.ZIP_DEFLATED)))
    assert ": a program, not weights (" in told
    assert "save only the state dict" in told


def test_a_module_that_was_saved_whole_is_a_program(tmp_path):
    for old in (False, True):
        told = str(fault_of(tmp_path, saved(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), legacy=old)))
        assert ": a program, not weights: it names torch.nn.modules.container.Sequential (" in told
        assert "save only the state dict" in told


def test_a_checksum_of_the_pickle_itself_is_held(tmp_path):
    content = bytearray(HONEST)
    crc = struct.pack("<L", zlib.crc32(BODY))
    assert crc in HONEST
    content[HONEST.index(b"\x80\x02}(") + 4] ^= 1
    fault = fault_of(tmp_path, bytes(content))
    assert isinstance(fault, DataError)
    assert "data.pkl is damaged, its checksum does not fit" in str(fault)
