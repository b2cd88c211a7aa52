"""One picture out of a file or bytes, safely: allow-listed formats, a cap on pixels, upright, 8 bit.

Conversions: palette, alpha, CMYK and Lab become RGB as Pillow has it (alpha is dropped); of an animation
the first frame counts; EXIF's orientation is applied. Grey of 16 bits is divided by 256, of 12 bits by
16. A TIFF of fractions or of 32-bit whole numbers does not say where white lies, so its values tell:
fractions from 0 to 1 are multiplied by 255, and what lies above 1 by one level at most is white; fractions
that reach 2 and whole numbers are taken as they are up to 255, whole numbers up to 65535 are divided by 256;
anything else is refused. Which formats are accepted stands in `kinds`.

A JPEG above the cap, as the largest telephones write it, is decoded at half its width and height, which takes a
quarter of the memory: libjpeg then transforms blocks of 8x8 frequencies to 4x4 pixels. These are not the averages of
the pixels that a full decoding gives, but differ from them by rounding and by what the highest frequencies add. The
sizes reported for such a picture are those that it is decoded at. Every JPEG up to the cap is decoded whole.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from inceptory.data.picture.kinds import FORMATS, formats_of, is_known
from inceptory.data.picture.noise import heard
from inceptory.errors import DataError
from inceptory.system.files import LARGEST as LARGEST_FILE
from inceptory.system.files import read, too_large

LARGEST = 512 * 2**20 // 8
"""Pixels: what half a GiB holds at four bytes, as Pillow keeps colours, and four of a copy that is turned or
converted. A picture above is refused before it is decoded."""
HALVED = 4
"""How many times the cap a JPEG may have where it can be decoded row by row, at half its width and height."""
HEAVY = {"JPEG2000": 2}
"""Formats whose decoders take so many times as much memory."""

ORIENTATION, NEW_SUBFILE_TYPE, DNG_VERSION = 0x0112, 254, 50706
BITS, SAMPLE_FORMAT = 258, 339
"""TIFF 6.0."""
START_OF_SCAN = 0xDA
"""ITU-T T.81, table B.1."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, section 4.6.4: value of the orientation and the way back."""
MPO = {"MPO": "JPEG"}
"""A JPEG that holds a second one behind it is still called .jpg by every camera."""
OVER, NEXT = float(np.float32(1 + 1 / 255)), 2.0
"""A largest fraction up to the first, as a file of 32 bits holds it, belongs to white at 1, as filters overshoot; from
the second on to white at 255; between them nobody can tell."""
GREY_BITS = (12, 16)
"""Key in `Image.info` for a grey picture of 12 or 16 bits; no file can bring a key that is no text."""
QUIET = threading.Lock()

Picture = Path | bytes | NDArray[np.uint8]
"""A file, the bytes of one, or pixels (H, W) or (H, W, 3)."""


@dataclass(frozen=True)
class Examined:
    """A decoded picture and what its file was like."""

    picture: Image.Image
    """Upright, of mode RGB or L."""
    format: str
    """One of FORMATS, or HEIF; empty for pixels that come from no file."""
    traits: frozenset[str]
    """Of: grey, alpha, cmyk, 16-bit, 32-bit, float, animated (several pictures in one file), rotated (by its EXIF)."""


def open_picture(picture: Picture, name: str) -> Image.Image:
    """Decode to an upright picture of mode RGB or L.

    Raises MissingError where the file cannot be read, DataError where it is no picture that we
    accept; both name it by `name`.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    data = content_of(picture, name)
    with _as_data_errors(data, name):
        return _eight_bit(_upright(_decode(data, name)), name)


def size_of(picture: Picture, name: str) -> tuple[int, int]:
    """(width, height) as they stand in the file, before it is turned upright; raises what `open_picture` raises."""
    if isinstance(picture, np.ndarray):
        return picture.shape[1], picture.shape[0]
    data = content_of(picture, name)
    with _as_data_errors(data, name):
        return _opened(data, name).size


def pixels_of(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """The pixels, (H, W) or (H, W, 3), of a picture that somebody else has opened; raises DataError naming it."""
    with _as_data_errors(b"", name):
        return np.asarray(_eight_bit(_upright(picture), name))


def examine(picture: Picture, name: str) -> Examined:
    """`open_picture`, and what is special about the file; raises what that raises."""
    if isinstance(picture, np.ndarray):
        return Examined(Image.fromarray(picture), "", frozenset({"grey"} if picture.ndim == 2 else ()))
    data = content_of(picture, name)
    with _as_data_errors(data, name):
        header = _opened(data, name)
        wide = ";16" in str(header.tile) or _bits(header) == 16
        turned = _turned_tiff(header)  # neither is known after loading
        raw = _loaded(header, name)
        traits = _traits(raw) | ({"16-bit"} if wide else set()) | ({"rotated"} if turned else set())
        return Examined(_eight_bit(_upright(raw), name), MPO.get(str(header.format), str(header.format)), traits)


def content_of(picture: Path | bytes, name: str) -> bytes:
    """The encoded picture, of at most `files.LARGEST` bytes; raises MissingError or DataError."""
    data = read(picture) if isinstance(picture, Path) else picture
    if len(data) > LARGEST_FILE:
        raise DataError(too_large(name, len(data)))
    if not data:
        raise DataError(f"{name}: an empty file (replace or remove it)")
    return data


@contextlib.contextmanager
def _as_data_errors(data: bytes, name: str) -> Iterator[None]:
    """Whatever a decoder raises, as a DataError in one line."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_unidentified(data)}") from None
    except MemoryError:
        raise DataError(f"{name}: too large to decode (make it smaller)") from None
    except Exception as fault:
        # Pillow's decoders tolerate many kinds of exception from broken files (OSError,
        # SyntaxError, ValueError, struct.error ...); all of them mean the same to a reader.
        broken = "truncated" if "truncat" in str(fault).lower() else f"unreadable, {str(fault).lower()}"
        raise DataError(f"{name}: {broken} (replace or remove it)") from None


def _unidentified(data: bytes) -> str:
    kind = _tiff_kind(data)
    if kind:
        return f"a TIFF of {kind}, which is not read (save it with 8 bits a channel)"
    if is_known(data):
        return "truncated or damaged (replace or remove it)"
    return f"not a picture in an accepted format (use {', '.join(FORMATS)})"


def _tiff_kind(data: bytes) -> str:
    """What a TIFF holds that is honest and that Pillow has no mode for; empty for any other file."""
    if not data.startswith((b"II*\0", b"MM\0*")):
        return ""
    try:
        tags, stream = ImageFileDirectory_v2(data[:8]), io.BytesIO(data)
        stream.seek(tags.next)
        with _quietly():
            tags.load(stream)
        bits, kinds = tags[BITS], tags.get(SAMPLE_FORMAT, (1,))
    except Exception:  # a directory in pieces says that the file is damaged
        return ""
    across = f" in {len(bits)} channels" if len(bits) > 1 else ""
    numbers = {1: "whole numbers", 2: "whole numbers with a sign", 3: "fractions"}.get(kinds[0], "numbers")
    return f"{bits[0]}-bit {numbers}{across}" if bits[0] in (16, 32, 64) else ""


def _decode(data: bytes, name: str) -> Image.Image:
    return _loaded(_opened(data, name), name)


def _opened(data: bytes, name: str) -> ImageFile.ImageFile:
    """The header read and found acceptable; the pixels wait for `load`."""
    with _quietly():
        picture = Image.open(io.BytesIO(data), formats=formats_of(data, name))
    (width, height), most = picture.size, LARGEST // HEAVY.get(str(picture.format), 1)
    if width * height > most:
        if width * height > HALVED * most or not _in_one_scan(picture, data):
            raise DataError(f"{name}: {width}x{height} pixels (at most {most:,} are accepted; make it smaller)")
        picture.draft(picture.mode, (-(-width // 2), -(-height // 2)))
    if _is_camera_raw(picture, data):
        raise DataError(f"{name}: a camera's raw picture is not accepted (export it as JPEG, PNG or TIFF)")
    return picture


def _in_one_scan(picture: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether a JPEG is decoded row by row; of others, progressive ones too, libjpeg first holds the whole."""
    at = 2
    while isinstance(picture, JpegImageFile) and "progressive" not in picture.info and data[at : at + 1] == b"\xff":
        if data[at + 1] == START_OF_SCAN:
            return data[at + 4] == picture.layers
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _bits(picture: ImageFile.ImageFile) -> int:
    """12 or 16 for grey of so many bits, else 0; to be asked before loading, which forgets it."""
    if (picture.format, picture.mode) == ("PPM", "I") or (picture.format == "JPEG2000" and ";16" in picture.mode):
        return 16  # scaled to them, whatever the file has
    return next((bits for bits in (12, 16) if f"I;{bits}" in str(picture.tile)), 0)


def _loaded(picture: ImageFile.ImageFile, name: str) -> Image.Image:
    bits = _bits(picture)
    with heard(name) if "libtiff" in str(picture.tile) else contextlib.nullcontext():
        picture.load()
    if bits:
        picture.info[GREY_BITS] = bits
    if picture.format == "JPEG" and picture.mode == "CMYK" and "adobe" not in picture.info:
        # Only Adobe's programs store inks upside down, and they leave a mark; Pillow turns all of them.
        upside_down = ImageChops.invert(picture)
        upside_down.info = picture.info
        return upside_down
    return picture


def _is_camera_raw(picture: Image.Image, data: bytes) -> bool:
    """Whether a TIFF is a raw photo: what it shows first is a thumbnail then, and no decoder is here for the rest."""
    if not isinstance(picture, TiffImageFile):
        return False
    tags = picture.tag_v2
    thumbnail = tags.get(NEW_SUBFILE_TYPE, 0) == 1  # TIFF 6.0: bit 0, a reduced version of another picture
    return thumbnail or DNG_VERSION in tags or data[8:10] == b"CR"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Pillow's own cap, which lies above ours, and without warnings, which say nothing new here.

    Both belong to the whole process, so one thread at a time changes them, and shortly.
    """
    with QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cap, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = cap


def _upright(picture: Image.Image) -> Image.Image:
    turn = UPRIGHT.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _orientation(picture: Image.Image) -> int:
    """How the picture lies, by its EXIF; Pillow has turned a TIFF by itself, pillow-heif a HEIC."""
    try:
        with _quietly():
            return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1


def _turned_tiff(picture: Image.Image) -> bool:
    return isinstance(picture, TiffImageFile) and picture.tag_v2.get(ORIENTATION) in UPRIGHT


def _traits(picture: Image.Image) -> frozenset[str]:
    mode = picture.mode
    traits = {
        "grey": mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"),
        "alpha": mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info,
        "cmyk": mode == "CMYK",
        "16-bit": GREY_BITS in picture.info,
        "32-bit": mode == "I" and GREY_BITS not in picture.info,
        "float": mode == "F",
        "animated": _is_animated(picture),
        "rotated": {_orientation(picture), picture.info.get("original_orientation")} & UPRIGHT.keys(),
    }
    return frozenset(name for name, is_so in traits.items() if is_so)


def _is_animated(picture: Image.Image) -> bool:
    try:
        return bool(getattr(picture, "is_animated", False))
    except Exception:  # what comes behind the first picture is damaged, and not needed
        return True


def _eight_bit(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode in ("RGB", "L"):
        return picture
    if GREY_BITS in picture.info:
        return Image.fromarray((np.asarray(picture) >> picture.info[GREY_BITS] - 8).clip(0, 255).astype(np.uint8))
    if picture.mode in ("I", "F"):
        return Image.fromarray(_scaled(np.asarray(picture), name))
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    if picture.mode == "P":
        # Through RGBA, because a palette with transparency has no direct way.
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")


def _scaled(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Grey values of a picture that does not say where white lies, by the rule above."""
    low, high = values.min(), values.max()
    fractions = values.dtype.kind == "f"
    whites = {1.0: 255.0, 255.0: 1.0} if fractions else {255: 1.0, 65535: 1 / 256}
    for white, factor in whites.items():
        if low >= 0 and high <= (OVER if white == 1 else white) and not (fractions and OVER < high < NEXT):
            scaled = (np.rint if factor >= 1 else np.floor)(values * factor)
            levels: NDArray[np.uint8] = scaled.clip(0, 255).astype(np.uint8)
            return levels
    ranges = " or ".join(f"0 to {white:g}" for white in whites)
    raise DataError(f"{name}: grey values from {low:g} to {high:g} (scale them to {ranges})")
