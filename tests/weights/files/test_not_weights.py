"""What is no weight file is told by its name, and what cannot be read by its reason."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import socket
import struct
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from inceptory.errors import DataError, MissingError
from inceptory.weights.files.formats import open_weights
from tests.weights.files.checkpoints import table
from tests.weights.files.makers import fault_of, hdf5, packed, saved, small


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.ckpt"))
    return file.getvalue()


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22\nsize 95533\n"
OTHERS = {
    "an empty file": b"",
    "an HTML page: the download went wrong": b"\n<!DOCTYPE html><html><title>404</title></html>",
    "a Git LFS pointer, not the file itself": LFS,
    "an XML page: the download went wrong": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "a plain text": b"See the other page for the weights.",
    "the note beside a TensorFlow 1 checkpoint": b'model_checkpoint_path: "model.ckpt-157585"\n',
    "a table that is no checkpoint of TensorFlow": table({b"leveldb": b"x"}),
    "a TensorFlow graph, which is a program": b"\x0a\x8f\x02\x0a\x05input\x12\x0bPlaceholder" + bytes(9),
    "a TensorFlow SavedModel, which is a program": b"\x08\x01\x12\xff\xff\x01" + bytes(9),
    "a TensorFlow Lite model, which is a program": b"\x1c\0\0\0TFL3\x14\0\x20\0" + bytes(9),
    "holds no tensors": b"\x08\x08\x12\x07pytorch\x1a\x052.1.0",
    "an MXNet file of parameters": struct.pack("<QQQ", 0x112, 0, 3) + b"\xc9\xfa\x93\xf9" + bytes(9),
    "a tar archive": tar(),
    "a gzip archive": gzip.compress(tar()),
    "a bzip2 archive": bz2.compress(tar()),
    "a NumPy array": array(),
    "a NumPy archive without weights": packed(("conv.npy", array())),
    "a zip archive without weights": packed(("readme.txt", b"x")),
    "a picture": picture("PNG"),
    "no weight file of a kind that we know": bytes(range(128, 256)),
    "an HDF5 file without weights of Keras": hdf5(lambda root: root.create_dataset("x", data=np.ones(3))),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_weight_file_is_told_what_it_is(tmp_path, what):
    fault = fault_of(tmp_path, OTHERS[what])
    assert isinstance(fault, DataError)
    assert f": {what}" in str(fault)


def test_a_part_of_a_tensorflow_checkpoint_is_known_by_its_name(tmp_path):
    content = np.random.default_rng(0).normal(size=200).astype("<f4").tobytes()
    assert "a part of a TensorFlow checkpoint" in str(fault_of(tmp_path, content, "model.ckpt.data-00000-of-00001"))


def test_pages_in_other_encodings_are_still_pages(tmp_path):
    page = "<html><head><title>Nicht gefunden: größer</title></head></html>" + "ö" * 4000
    assert "an HTML page" in str(fault_of(tmp_path, page.encode()))
    assert "an HTML page" in str(fault_of(tmp_path, b"\xef\xbb\xbf" + page.encode()))
    assert "an HTML page" in str(fault_of(tmp_path, page.encode("latin-1")))
    assert "a plain text" in str(fault_of(tmp_path, b"x" + "ö".encode() * 4000))


@pytest.mark.parametrize("size", [1, 7, 8, 9, 21, 22, 511, 512, 520])
def test_files_of_a_few_bytes_are_refused(tmp_path, size):
    for fill in (b"\0", b"\x80", b"P", b"{", b"\xff", b"."):
        assert fault_of(tmp_path, fill * size).exit_code == 65
    for start in (b"PK\3\4", b"\x89HDF\r\n\x1a\n", b"\x80\x02", b"PK\5\6", struct.pack("<Q", size) + b"{"):
        assert fault_of(tmp_path, start.ljust(size, b"\0")[:size]).exit_code == 65


def missing(path) -> str:
    start = time.process_time()
    with pytest.raises(MissingError) as fault:
        open_weights(path)
    assert time.process_time() - start < 1
    assert str(fault.value).isprintable()
    assert str(fault.value).endswith(")")
    return str(fault.value)


def test_what_is_not_there_or_no_file_is_missing_at_once(tmp_path):
    assert "no such file" in missing(tmp_path / "nothing")
    assert "no such file" in missing(tmp_path / "nothing" / "below")
    assert "a folder, not a file" in missing(tmp_path)
    assert "x" * 200 in missing(tmp_path / ("x" * 5000))
    assert "no path at all" in missing("nul\0inside")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices as files are a matter of POSIX")
def test_pipes_sockets_devices_and_circles_are_missing_at_once(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe, not a file" in missing(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to(tmp_path / "pipe")
    assert "a pipe, not a file" in missing(tmp_path / "to pipe")
    assert "a device, not a file" in missing("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert "cannot be read" in missing(tmp_path / "circle")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    assert "a socket, not a file" in missing("socket")


def test_a_file_that_the_system_refuses_is_missing_with_its_reason(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(saved(small()))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert "cannot be read, permission denied" in missing(path)


def test_a_link_to_a_file_is_that_file(tmp_path):
    (tmp_path / "file").write_bytes(saved(small()))
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert open_weights(tmp_path / "link").kind == "torch zip"


@pytest.mark.skipif(sys.platform == "win32", reason="a file with a hole takes all its room there")
def test_a_file_of_a_terabyte_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "file"
    for start in (saved(small()), b"PK\3\4", b"\x89HDF\r\n\x1a\n", struct.pack("<Q", 2) + b"{}"):
        path.write_bytes(start)
        os.truncate(path, 2**40)
        begun = time.process_time()
        with pytest.raises(DataError, match=r"larger than 4 GiB \("):
            open_weights(path)
        assert time.process_time() - begun < 1
