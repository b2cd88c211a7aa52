"""One picture out of a file or bytes, safely: allow-listed formats, a cap on pixels, upright, 8 bit.

Conversions: palette, alpha, CMYK and Lab become RGB as Pillow has it (alpha is dropped); 16-bit grey
is divided by 256; of an animation the first frame counts; EXIF's orientation is applied. HEIC is
accepted where pillow-heif is installed, and its decoder loaded only when such a file comes.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from inceptory.errors import DataError
from inceptory.files import read

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""First bytes of those formats: a file with them that cannot be read is a damaged one."""
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
"""ISO/IEC 23008-12: what a file of HEVC-coded pictures calls itself or says it is compatible with."""
LARGEST = 50_000_000
"""Pixels: a picture above is refused before it is decoded."""

ORIENTATION, NEW_SUBFILE_TYPE, DNG_VERSION = 0x0112, 254, 50706
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
    """Of: grey, alpha, cmyk, 16-bit, animated (several pictures in one file), rotated (by its EXIF)."""


def open_picture(picture: Picture, name: str) -> Image.Image:
    """Decode to an upright picture of mode RGB or L.

    Raises MissingError where the file cannot be read, DataError where it is no picture that we
    accept; both name it by `name`.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    data = _content(picture, name)
    with _told(data, name):
        return _eight_bit(_upright(_decode(data, name)))


def pixels_of(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """The pixels, (H, W) or (H, W, 3), of a picture that somebody else has opened; raises DataError naming it."""
    with _told(b"", name):
        return np.asarray(_eight_bit(_upright(picture)))


def examine(picture: Picture, name: str) -> Examined:
    """`open_picture`, and what is special about the file; raises what that raises."""
    if isinstance(picture, np.ndarray):
        return Examined(Image.fromarray(picture), "", frozenset({"grey"} if picture.ndim == 2 else ()))
    data = _content(picture, name)
    with _told(data, name):
        header = _opened(data, name)
        wide, turned = ";16" in str(header.tile), _turned_tiff(header)  # neither can be told after loading
        raw = _loaded(header)
        traits = _traits(raw) | ({"16-bit"} if wide else set()) | ({"rotated"} if turned else set())
        return Examined(_eight_bit(_upright(raw)), MPO.get(str(header.format), str(header.format)), traits)


def _content(picture: Path | bytes, name: str) -> bytes:
    data = read(picture) if isinstance(picture, Path) else picture
    if not data:
        raise DataError(f"{name}: an empty file (replace or remove it)")
    return data


@contextlib.contextmanager
def _told(data: bytes, name: str) -> Iterator[None]:
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
    if data.startswith(BEGINNINGS) or is_heic(data):
        return "truncated or damaged (replace or remove it)"
    return f"not a picture in an accepted format (use {', '.join(FORMATS)})"


def is_heic(data: bytes) -> bool:
    """Whether these are the first bytes of a HEIC file, as telephones write it."""
    size = int.from_bytes(data[:4], "big")
    brands = data[8 : min(size, 256)]
    return data[4:8] == b"ftyp" and any(brands[at : at + 4] in HEIC_BRANDS for at in range(0, len(brands), 4))


def _formats(data: bytes, name: str) -> tuple[str, ...]:
    """What this content may be opened as; HEIC asks for its decoder, which is an extra."""
    if not is_heic(data):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise DataError(f"{name}: a HEIC photo (pip install 'inceptory[heic]' reads them)") from None
    register_heif_opener()
    return ("HEIF",)


def _decode(data: bytes, name: str) -> Image.Image:
    return _loaded(_opened(data, name))


def _opened(data: bytes, name: str) -> ImageFile.ImageFile:
    """The header read and found acceptable; the pixels wait for `load`."""
    formats = _formats(data, name)
    with _quietly():
        picture = Image.open(io.BytesIO(data), formats=formats)
    width, height = picture.size
    if width * height > LARGEST:
        raise DataError(f"{name}: {width}x{height} pixels (at most {LARGEST:,} are accepted; make it smaller)")
    if _is_camera_raw(picture, data):
        raise DataError(f"{name}: a camera's raw picture is not accepted (export it as JPEG, PNG or TIFF)")
    return picture


def _loaded(picture: ImageFile.ImageFile) -> Image.Image:
    picture.load()
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
    found = {
        "grey": mode in ("1", "L", "LA", "La") or mode.startswith("I"),
        "alpha": mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info,
        "cmyk": mode == "CMYK",
        "16-bit": mode.startswith("I"),
        "animated": getattr(picture, "is_animated", False),
        "rotated": {_orientation(picture), picture.info.get("original_orientation")} & UPRIGHT.keys(),
    }
    return frozenset(name for name, is_so in found.items() if is_so)


def _eight_bit(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGB", "L"):
        return picture
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode in ("1", "LA", "La"):
        return picture.convert("L")
    if picture.mode == "P":
        # Through RGBA, because a palette with transparency has no direct way.
        return picture.convert("RGBA").convert("RGB")
    return picture.convert("RGB")
