"""One picture out of a file or bytes, safely: allow-listed formats, a cap on pixels, upright, 8 bit.

Conversions: palette, alpha and CMYK become RGB as Pillow has it (alpha is dropped); 16-bit grey is
divided by 256; of an animation the first frame counts; EXIF's orientation is applied.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from inceptory.errors import DataError
from inceptory.files import read

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
LARGEST = 50_000_000
"""Pixels: a picture above is refused before it is decoded."""

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
    try:
        return _decode(data, name)
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise DataError(f"{name}: not a picture in an accepted format (use {kinds})") from None
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{name}: too large to decode (make it smaller)") from None
    except Exception as fault:
        # Pillow's decoders tolerate many kinds of exception from broken files (OSError,
        # SyntaxError, ValueError, struct.error ...); all of them mean the same to a reader.
        broken = "truncated" if "truncat" in str(fault).lower() else f"unreadable, {str(fault).lower()}"
        raise DataError(f"{name}: {broken} (replace or remove it)") from None


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise DataError(f"{name}: an empty file (replace or remove it)")
    with warnings.catch_warnings():
        # Pillow's bomb warning comes above our own cap; EXIF and palette warnings tell us nothing.
        warnings.simplefilter("ignore")
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > LARGEST:
            raise DataError(f"{name}: {width}x{height} pixels (at most {LARGEST:,} are accepted; make it smaller)")
        picture.load()
        return _eight_bit(_upright(picture))


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # broken EXIF says nothing about the pixels
        return picture


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
