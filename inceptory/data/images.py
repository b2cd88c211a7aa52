"""One picture out of a file or bytes, safely: allow-listed formats, a cap on pixels, upright, 8 bit.

Conversions: palette, alpha and CMYK become RGB as Pillow has it (alpha is dropped); 16-bit grey is
divided by 256; of an animation the first frame counts; EXIF's orientation is applied.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from inceptory.errors import DataError
from inceptory.files import read

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""First bytes of those formats: a file with them that cannot be read is a damaged one."""
LARGEST = 50_000_000
"""Pixels: a picture above is refused before it is decoded."""

ORIENTATION = 0x0112
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
QUIET = threading.Lock()

Picture = Path | bytes | NDArray[np.uint8]
"""A file, the bytes of one, or pixels (H, W) or (H, W, 3)."""


def open_picture(picture: Picture, name: str) -> Image.Image:
    """Decode to an upright picture of mode RGB or L.

    Raises MissingError where the file cannot be read, DataError where it is no picture that we
    accept; both name it by `name`.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    data = read(picture) if isinstance(picture, Path) else picture
    if not data:
        raise DataError(f"{name}: an empty file (replace or remove it)")
    try:
        return _eight_bit(_decode(data, name))
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
    if data.startswith(BEGINNINGS):
        return "truncated or damaged (replace or remove it)"
    return f"not a picture in an accepted format (use {', '.join(FORMATS)})"


def _decode(data: bytes, name: str) -> Image.Image:
    with _quietly():
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = picture.size
    if width * height > LARGEST:
        raise DataError(f"{name}: {width}x{height} pixels (at most {LARGEST:,} are accepted; make it smaller)")
    picture.load()
    with _quietly():
        turn = _turn(picture)
    return picture if turn is None else picture.transpose(turn)


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


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What brings the picture upright, by its EXIF orientation; Pillow has turned a TIFF by itself."""
    try:
        return UPRIGHT.get(int(picture.getexif().get(ORIENTATION, 1)))
    except Exception:  # broken EXIF says nothing about the pixels
        return None


def _eight_bit(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGB", "L"):
        return picture
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(np.int64)
        return Image.fromarray((wide >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    if picture.mode == "P":
        # Through RGBA, because a palette with transparency has no direct way.
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")
