"""Pictures that lie on their side, are cut short, or are larger than they should be."""

from __future__ import annotations

import struct

import numpy as np
import PIL
import pytest
from PIL import Image

from inceptory.data.picture import decode as images
from inceptory.data.picture.decode import LARGEST, open_picture
from inceptory.errors import DataError
from tests.data.pictures import encoded, exif, noise, orientation, png

LYING = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.swapaxes(0, 1),
    6: lambda up: np.rot90(up, 1),
    7: lambda up: up[::-1, ::-1].swapaxes(0, 1),
    8: lambda up: np.rot90(up, -1),
}
"""How a camera stores an upright picture under each EXIF orientation."""


@pytest.mark.parametrize("number", LYING)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_orientation_gives_the_same_upright_pixels(kind, number):
    upright = noise(6, 10)
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(np.ascontiguousarray(LYING[number](upright)), kind, exif=exif(orientation(number)), **options)
    assert np.array_equal(np.asarray(open_picture(data, "a")), upright)


@pytest.mark.parametrize("number", LYING)
def test_every_orientation_of_a_jpeg_gives_the_same_upright_pixels(number):
    upright = noise(2, 3).repeat(16, axis=0).repeat(16, axis=1)
    stored = np.ascontiguousarray(LYING[number](upright))
    data = encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif(orientation(number)))
    found = np.asarray(open_picture(data, "a")).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= 3


def test_orientation_holds_for_sixteen_bits_too():
    wide = np.random.default_rng(0).integers(0, 65536, (6, 10)).astype(np.uint16)
    data = encoded(Image.fromarray(np.rot90(wide, 1).copy()), "PNG", exif=exif(orientation(6)))
    assert np.array_equal(np.asarray(open_picture(data, "a")), wide >> 8)


BROKEN = {
    "noise": b"Exif\0\0" + noise(1, 60, 1).tobytes(),
    "cut short": exif(orientation(6))[:20],
    "an orientation that does not exist": exif(orientation(9)),
    "an orientation in words": exif((0x0112, 2, 3, b"up\0")),
    "a length beyond the end": exif((0x010F, 2, 2**31, struct.pack("<I", 8))),
    "a folder that begins beyond the end": b"Exif\0\0II*\0" + struct.pack("<I", 10**6),
}


@pytest.mark.parametrize("block", BROKEN)
def test_broken_exif_is_ignored(block):
    pixels = noise(16, 24)
    data = encoded(pixels, "JPEG", exif=BROKEN[block])
    assert np.array_equal(np.asarray(open_picture(data, "a")), np.asarray(open_picture(encoded(pixels, "JPEG"), "a")))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(
            (0x010F, 2, 2**31, struct.pack("<I", 8)),
            id="a length beyond the end",
            marks=pytest.mark.skipif(
                PIL.__version__ < "13", reason="Pillow before 13 reads no field behind such a one"
            ),
        ),
        pytest.param((0x8769, 4, 1, struct.pack("<I", 10**6)), id="a folder that is not there"),
        pytest.param((0x0132, 12, 1, struct.pack("<I", 8)), id="a date that is a number"),
    ],
)
def test_a_broken_field_beside_it_does_not_hide_the_orientation(other):
    fields = sorted([orientation(6), other])
    data = encoded(noise(16, 24), "JPEG", exif=exif(*fields))
    assert open_picture(data, "a").size == (16, 24)


CUT = {
    "png": encoded(noise(40, 50)),
    "palette png": encoded(Image.fromarray(noise(40, 50)).quantize(16)),
    "jpeg": encoded(noise(40, 50), "JPEG"),
    "progressive jpeg": encoded(noise(60, 80), "JPEG", progressive=True),
    "smooth jpeg": encoded(Image.linear_gradient("L"), "JPEG"),
}


@pytest.mark.parametrize("part", range(1, 16))
@pytest.mark.parametrize("kind", CUT)
def test_a_picture_cut_short_is_an_error_that_says_so(kind, part):
    data = CUT[kind]
    with pytest.raises(DataError, match=r"^a: (truncated|unreadable)"):
        open_picture(data[: len(data) * part // 16], "a")


@pytest.mark.parametrize("kind", CUT)
def test_a_picture_whose_last_pixels_are_missing_is_an_error(kind):
    data = CUT[kind]
    with pytest.raises(DataError, match=r"^a: (truncated|unreadable)"):
        open_picture(data[:-40], "a")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_a_cut_of_any_other_format_is_never_a_picture(kind):
    data = encoded(noise(40, 50), kind)
    for part in range(1, 16):
        with pytest.raises(DataError):
            open_picture(data[: len(data) * part // 16], "a")


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_cut_in_its_header_is_not_called_one_of_another_format(kind):
    for end in range(16, 300):
        with pytest.raises(DataError, match=r"^a: (truncated|unreadable)"):
            open_picture(CUT[kind][:end], "a")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_flipped_bits_give_a_picture_or_a_data_error_and_nothing_else(kind):
    data, random = encoded(noise(12, 16), kind), np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] ^= 1 << random.integers(8)
        try:
            outcomes.add(open_picture(bytes(damaged), "a").mode)
        except DataError:
            outcomes.add("refused")
    assert outcomes <= {"RGB", "L", "refused"}


@pytest.mark.parametrize("size", [(8200, 8200), (12_000, 12_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)], ids=str)
def test_a_picture_over_the_cap_is_refused_before_it_is_decoded(size):
    """The file holds no pixels: decoding it would say that it is truncated."""
    with pytest.raises(DataError, match="at most 67,108,864") as caught:
        open_picture(png(*size, 8, 2, b""), "a")
    assert f"{size[0]}x{size[1]}" in str(caught.value)


def test_the_cap_counts_pixels_and_allows_just_as_many(monkeypatch):
    assert LARGEST == 2**26
    monkeypatch.setattr(images, "LARGEST", 100)
    assert open_picture(encoded(noise(10, 10)), "a").size == (10, 10)
    with pytest.raises(DataError, match="10x11 pixels"):
        open_picture(encoded(noise(11, 10)), "a")


def test_a_decoder_out_of_memory_is_a_data_error(monkeypatch):
    def exhausted(*args):
        raise MemoryError

    monkeypatch.setattr(images, "_eight_bit", exhausted)
    with pytest.raises(DataError, match="a: too large to decode"):
        open_picture(encoded(noise(7, 9)), "a")
