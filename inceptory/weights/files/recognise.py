"""What a file is, by its content: one of the kinds that hold weights, or what it is instead.

A file that readers of two kinds would accept is refused, whatever it holds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from inceptory.errors import DataError
from inceptory.weights.files.hdf5.file import SIGNATURE
from inceptory.weights.files.safetensors_file import looks_like_safetensors
from inceptory.weights.files.sorted_table import is_table
from inceptory.weights.files.source import Source
from inceptory.weights.files.torch.file import refuse_named_program
from inceptory.weights.files.zip_file import AMBIGUOUS, END, FULL_16, end_record

ZIP, HDF5, SAFETENSORS, PICKLE, TAR = "a zip archive", "an HDF5 file", "a safetensors file", "a pickle", "a tar archive"
TABLE, CAFFE, ONNX = "a table of TensorFlow", "a Caffe model", "an ONNX model"
HEAD = 4_096
LARGEST_FILE = 2**32
"""Bytes of a file that we look into; the largest network of the family with a trainer's state needs a sixth of it."""
ACCEPTED = "give .safetensors, .pth/.pt, .h5, .keras, .ckpt or .caffemodel"
UNPACK = "unpack it and give the weight file inside"

STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run git lfs pull, or download it again"),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"\x93NUMPY", "a NumPy array", ACCEPTED),
    (b"\x12\x01\0\0\0\0\0\0", "an MXNet file of parameters", ACCEPTED),
    (b"\x08\x01\x12", "a TensorFlow SavedModel, which is a program", ACCEPTED),
    (b"GGUF", "a GGUF file", ACCEPTED),
    (b"%PDF", "a PDF document", ACCEPTED),
    (b"\x89PNG", "a picture", ACCEPTED),
    (b"\xff\xd8\xff", "a picture", ACCEPTED),
)
"""What files that are often taken for weights begin with."""

NAMED_CALL = re.compile(rb"[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
ONNX_START = re.compile(rb"\x08[\x03-\x20](?:[\x12\x1a\x22\x3a\x42]|\x12)")
CAFFE_START = re.compile(rb"\x0a[\x01-\x7f][\x20-\x7e]+(?:\xa2\x06|\x12|\x1a)")
GRAPH = re.compile(rb"\x0a.{1,5}?\x0a[\x01-\x7f][\x20-\x7e]", re.DOTALL)


def recognise(source: Source) -> str:
    """ZIP, HDF5, SAFETENSORS, PICKLE, TABLE, CAFFE or ONNX; raises DataError with the name of anything else."""
    source.require(source.size > 0, "an empty file")
    source.require(source.size <= LARGEST_FILE, "larger than 4 GiB", "give a file of weights")
    head = source.at(0, min(HEAD, source.size))
    claims = [kind for kind, claim in CLAIMS.items() if claim(source, head)]
    source.require(len(claims) <= 1, f"{AMBIGUOUS}, {' and '.join(claims)} at once", "get it from its publisher again")
    if claims and claims != [TAR]:
        return claims[0]
    fault = _other(source, head)
    if fault is None:
        return ONNX if ONNX_START.match(head) else CAFFE
    raise fault


def _is_zip(source: Source, head: bytes) -> bool:
    length = min(source.size, END.size + FULL_16)
    return head.startswith((b"PK\3\4", b"PK\5\6")) or end_record(source.at(source.size - length, length)) >= 0


def _is_hdf5(source: Source, head: bytes) -> bool:
    """HDF5 may begin behind a block of other bytes, at 512 or a doubling of it."""
    places = [0] + [512 << i for i in range(64) if (512 << i) + len(SIGNATURE) <= source.size]
    return any(source.size >= 8 + place and source.at(place, 8) == SIGNATURE for place in places)


def _is_pickle(_: Source, head: bytes) -> bool:
    # The third byte tells it from a safetensors file, which begins with the length of its header.
    return len(head) > 2 and head[0] == 0x80 and head[1] <= 5 and head[2] > 0x0F


CLAIMS: dict[str, Callable[[Source, bytes], bool]] = {
    ZIP: _is_zip,
    HDF5: _is_hdf5,
    SAFETENSORS: lambda _, head: looks_like_safetensors(head),
    PICKLE: _is_pickle,
    TABLE: lambda source, _: is_table(source),
    TAR: lambda _, head: head[257:262] == b"ustar",
}


def _other(source: Source, head: bytes) -> DataError | None:
    """The fault that names a file which is no kind of weights that we read; None for a model without a mark."""
    if head[257:262] == b"ustar":
        return source.fault(TAR, UNPACK)
    for start, what, remedy in STARTS:
        if head.startswith(start):
            return source.fault(what, remedy)
    if NAMED_CALL.search(head):
        # Pickles of the oldest protocols are text and have no mark of their own.
        refuse_named_program(source)
    if (page := _page(head)) is not None:
        return source.fault(f"{page}: the download went wrong")
    if _is_text(head):
        note = head.startswith(b"model_checkpoint_path:")
        return source.fault("the note beside a TensorFlow 1 checkpoint" if note else "a plain text", ACCEPTED)
    what = _binary(source, head)
    return source.fault(what, ACCEPTED) if what else None


def _page(head: bytes) -> str | None:
    """Which kind of web page a file is, in any encoding; None for other files."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) or (start.startswith(b"<") and b"<html" in start):
        return "an HTML page"
    return "an XML page" if start.startswith(b"<?xml") else None


def _is_text(head: bytes) -> bool:
    try:
        # Decoded as a piece of a text, not the last one: its last character may be cut in the middle.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n\f" for c in text)


def _binary(source: Source, head: bytes) -> str:
    """What a binary file is; empty for a Caffe or an ONNX model, which begin with no mark of their own."""
    if re.search(r"\.data-\d+-of-\d+$", source.path.name):
        return "a part of a TensorFlow checkpoint, whose index is not beside it"
    if b"stripped_op_list" in head or b"VariableV2" in head or GRAPH.match(head):
        return "a TensorFlow graph, which is a program"
    if ONNX_START.match(head) or CAFFE_START.match(head):
        return ""
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model, which is a program"
    return "no weight file of a kind that we know"
