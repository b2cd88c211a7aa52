"""Pictures as the bytes of files, some of them in forms that Pillow reads and does not write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, C) of even noise, or (H, W) with one channel."""
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of this kind."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, interlaced: bool = False, *extra: bytes
) -> bytes:
    """A PNG of rows that already have their filter bytes; `colour` is PNG's number, 0 grey, 2 RGB.

    `extra` chunks come before the pixels.
    """
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    first, *rest = (chunk(name, content) for name, content in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join([first, *extra, *rest])


def png_of(width: int, height: int, *extra: bytes, depth: int = 8, colour: int = 0, rows: bytes | None = None) -> bytes:
    """A black PNG with more chunks, or with rows of its own."""
    black = (b"\0" + bytes(width)) * height
    return png(width, height, depth, colour, black if rows is None else rows, False, *extra)


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Each pass of an interlaced PNG: first row, first column, step down, step right."""


def interlaced(pixels: NDArray[np.uint8]) -> bytes:
    """An interlaced PNG of (H, W, 3)."""
    rows = b""
    for top, left, down, right in ADAM7:
        part = pixels[top::down, left::right]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    return png(pixels.shape[1], pixels.shape[0], 8, 2, rows, interlaced=True)


Entry = tuple[int, int, int, bytes]
"""Tag, type, count and value (or where it lies) of one EXIF field."""


def orientation(number: int) -> Entry:
    return 0x0112, 3, 1, struct.pack("<H", number)


def exif(*entries: Entry) -> bytes:
    """An EXIF block of these fields; eight zero bytes follow at offset 8 + 2 + 12 n + 4."""
    fields = b"".join(
        struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0") for tag, kind, count, value in entries
    )
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4) + bytes(8)
