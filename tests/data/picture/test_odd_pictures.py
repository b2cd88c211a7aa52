"""Rare forms of the accepted formats, files that look like them, bombs, and photos of telephones."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image

from inceptory.data.picture.decode import examine, open_picture
from inceptory.data.picture.kinds import is_heic
from inceptory.errors import DataError
from tests.data.pictures import chunk, encoded, exif, noise, orientation, png_of
from tests.imports import loaded_by


def opened(data: bytes) -> np.ndarray:
    return np.asarray(open_picture(data, "a"))


def four_planes(values: list[tuple[int, int, int, int]]) -> tuple[bytes, np.ndarray]:
    """(a JPEG of four components with Adobe's marker, the ink values that Pillow was given)."""
    blocks = np.array(values, dtype=np.uint8).repeat(16, axis=0)[None].repeat(16, axis=0)
    return encoded(Image.fromarray(blocks, "CMYK"), "JPEG", quality=100), np.array(values, dtype=float)


ADOBE = b"\xff\xee\x00\x0eAdobe"
INKS = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 200, 100, 50), (40, 80, 120, 160)]


def test_ycck_as_photoshop_writes_it_becomes_the_colours_of_its_inks():
    """Adobe technical note 5116: transform 2 stores YCbCr of the inverted inks, beside the inverted K.

    Pillow writes the four planes as they are under transform 0, all inverted; with the marker's last
    byte set to 2, the first three are luminance and chrominance of R, G, B = 255 - C, M, Y.
    """
    data, planes = four_planes([(100, 128, 128, 255), (30, 110, 140, 200), (128, 128, 128, 255)])
    at = data.index(ADOBE)
    data = data[: at + 15] + b"\2" + data[at + 16 :]
    stored = 255 - planes
    y, blue, red, k = stored.T
    colours = np.stack(
        [y + 1.402 * (red - 128), y - 0.344136 * (blue - 128) - 0.714136 * (red - 128), y + 1.772 * (blue - 128)], 1
    )
    inverted = 255 - np.clip(colours, 0, 255)  # what libjpeg hands out as C, M, Y; Adobe means its complement
    expected = inverted * k[:, None] / 255
    assert np.abs(opened(data)[8, 8::16] - expected).max() <= 3


def test_cmyk_without_adobe_s_marker_is_not_inverted():
    data, planes = four_planes(INKS)
    at = data.index(ADOBE)
    plain = data[:at] + data[at + 16 :]
    stored = 255 - planes  # what the file holds, now taken at its word
    expected = (255 - stored[:, :3]) * (255 - stored[:, 3:]) / 255
    assert np.abs(opened(plain)[8, 8::16] - expected).max() <= 3


def srgb(lab: np.ndarray) -> np.ndarray:
    """CIE 15 from L*a*b* under D50 to XYZ, Bradford to D65, IEC 61966-2-1 to sRGB."""
    f = (lab[:, :1] + 16) / 116 + np.stack([lab[:, 1] / 500, 0 * lab[:, 1], -lab[:, 2] / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.96422, 1.0, 0.82521]
    linear = (
        xyz
        @ np.array(
            [
                [3.1338561, -1.6168667, -0.4906146],
                [-0.9787684, 1.9161415, 0.0334540],
                [0.0719453, -0.2289914, 1.4052427],
            ]
        ).T
    )
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_lab_becomes_srgb():
    stored = np.array([[128, 10, 246], [200, 236, 40], [60, 0, 0], [255, 0, 0]], dtype=np.uint8)  # a and b are signed
    data = encoded(Image.fromarray(np.ascontiguousarray(stored[None]), "LAB"), "TIFF")
    lab = np.stack([stored[:, 0] / 2.55, *stored[:, 1:].astype(np.int8).T.astype(float)], axis=1)
    assert np.abs(opened(data)[0] - srgb(lab)).max() <= 3


def test_premultiplied_alpha_is_divided_out():
    """TIFF 6.0, ExtraSamples: 2 is plain alpha, which Pillow writes, 1 is premultiplied."""
    data = bytearray(encoded(np.full((4, 4, 4), (60, 40, 20, 128), np.uint8), "TIFF"))
    field = data.index(b"\x52\x01\x03\x00\x01\x00\x00\x00\x02\x00")
    data[field + 8] = 1
    assert np.abs(opened(bytes(data)).astype(int) - (120, 80, 40)).max() <= 1


ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1x"
    "eXBkeFxlZ2P/2wBDARESEhgVGC8aGi9jQjhCY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2P/yQAR"
    "CAAQABADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AGYIOabr4brNX7SdXcuvGzb9yzq6Od3/2Q=="
)
"""`jpegtran -arithmetic` of the JPEG in the test."""


def test_arithmetic_coding_holds_the_same_pixels_as_huffman_s():
    down, across = np.mgrid[:16, :16]
    pixels = np.stack([across * 16, down * 16, (across + down) * 8], axis=2).astype(np.uint8)
    assert np.array_equal(opened(ARITHMETIC), opened(encoded(pixels, "JPEG", quality=50)))


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("shape", [(48, 32), (32, 48)], ids=["portrait", "landscape"])
def test_the_eighteen_ways_to_hold_a_camera(shape, number):
    """0 is no orientation of the standard's, and found in files; the other eight turn and mirror."""
    upright = noise(shape[0] // 16, shape[1] // 16).repeat(16, axis=0).repeat(16, axis=1)
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(number, 1)
    turn = dict(zip(range(2, 9), [0, 3, 1, 5, 4, 6, 2], strict=True))  # EXIF's number to Pillow's transpose
    stored = Image.fromarray(upright)
    stored = stored if back == 1 else stored.transpose(Image.Transpose(turn[back]))
    found = opened(encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif(orientation(number)))).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("side", ["width", "height"])
def test_a_picture_without_a_row_or_column_is_refused(kind, side):
    data = bytearray(encoded(noise(5, 7, 1), kind))
    if kind == "PNG":
        data = bytearray(png_of(0 if side == "width" else 7, 5 if side == "width" else 0))
    elif kind == "GIF":
        frame = data.index(b",", 13)
        at = frame + 5 if side == "width" else frame + 7
        data[at : at + 2] = bytes(2)
    elif kind == "BMP":
        at = 18 if side == "width" else 22
        data[at : at + 4] = bytes(4)
    else:
        tag = b"\x00\x01" if side == "width" else b"\x01\x01"
        field = next(f for f in (data.find(tag + kind) for kind in (b"\x03\x00", b"\x04\x00")) if f > 0)
        data[field + 8 : field + 12] = bytes(4)
    with pytest.raises(DataError):
        open_picture(bytes(data), "a")


def test_a_picture_may_be_twenty_thousand_pixels_long():
    assert open_picture(encoded(noise(20_000, 1)), "a").size == (1, 20_000)


BOMB = (
    "import resource, sys, io\n"
    "from inceptory.data.picture.decode import open_picture\n"
    "from inceptory.errors import DataError\n"
    "open_picture(open(sys.argv[1], 'rb').read(), 'warm')\n"
    "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "try: open_picture(open(sys.argv[2], 'rb').read(), 'a'); print('read')\n"
    "except DataError: print('refused')\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
)


@cache
def zeros() -> bytes:
    """300 MiB of them, compressed."""
    return zlib.compress(bytes(300 * 2**20))


FRAME = encoded(Image.new("P", (4, 4)), "GIF")
HEAD = FRAME[: FRAME.index(b",", 13)]
BOMBS = {
    "a text": (lambda: png_of(4, 4, chunk(b"zTXt", b"a\0\0" + zeros())), "refused"),
    "a colour profile": (lambda: png_of(4, 4, chunk(b"iCCP", b"a\0\0" + zeros())), "refused"),
    "an international text": (lambda: png_of(4, 4, chunk(b"iTXt", b"a\0\1\0\0\0" + zeros())), "refused"),
    "pixels of another size": (lambda: png_of(4, 4, rows=bytes(300 * 2**20)), "read"),
    "a hundred thousand frames": (lambda: HEAD + FRAME[len(HEAD) : -1] * 100_000 + b";", "read"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in kilobytes on Linux")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_costs_no_memory(kind, tmp_path):
    (tmp_path / "warm").write_bytes(png_of(4, 4))
    made, outcome = BOMBS[kind]
    (tmp_path / "bomb").write_bytes(made())
    words = [sys.executable, "-c", BOMB, str(tmp_path / "warm"), str(tmp_path / "bomb")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    told, grown = done.stdout.split()
    assert told == outcome
    assert int(grown) <= 64 * 1024


def raw(**tags: object) -> bytes:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    entries = ImageFileDirectory_v2()
    for number, value in tags.items():
        entries[int(number[1:])] = value
    return encoded(noise(8, 8), "TIFF", tiffinfo=entries)


def canon(tiff: bytes) -> bytes:
    """Canon's mark, which follows the eight bytes of the header; Pillow writes the folder of tags there."""
    first = struct.unpack_from("<I", tiff, 4)[0]
    count = struct.unpack_from("<H", tiff, first)[0]
    folder = tiff[first : first + 2 + 12 * count + 4]
    return tiff[:4] + struct.pack("<I", len(tiff)) + b"CR\2\0" + tiff[12:] + folder


RAWS = {"dng": raw(t50706=b"\1\4\0\0"), "a thumbnail first, as nef and arw": raw(t254=1)}
RAWS["cr2"] = canon(encoded(noise(8, 8), "TIFF"))


@pytest.mark.parametrize("kind", RAWS)
def test_a_raw_photo_is_not_taken_for_its_thumbnail(kind):
    with pytest.raises(DataError, match="a camera's raw picture is not accepted"):
        open_picture(RAWS[kind], "a")


def test_a_tiff_of_pages_is_no_raw_photo():
    assert open_picture(raw(t254=2), "a").size == (8, 8)


TRAITS = {
    "grey": (encoded(noise(6, 7, 1)), {"grey"}),
    "colour": (encoded(noise(6, 7)), set()),
    "grey and alpha": (encoded(Image.fromarray(noise(6, 7, 2), "LA")), {"grey", "alpha"}),
    "alpha": (encoded(noise(6, 7, 4)), {"alpha"}),
    "a palette with transparency": (encoded(Image.fromarray(noise(6, 7)).quantize(8), transparency=1), {"alpha"}),
    "cmyk": (encoded(Image.fromarray(noise(16, 16, 4), "CMYK"), "JPEG"), {"cmyk"}),
    "16 bits": (encoded(Image.fromarray(np.arange(42, dtype=np.uint16).reshape(6, 7))), {"grey", "16-bit"}),
    "16 bits of colour": (png_of(6, 7, depth=16, colour=2, rows=(b"\0" + bytes(36)) * 7), {"16-bit"}),
    "turned": (encoded(noise(6, 7), exif=exif(orientation(6))), {"rotated"}),
    "turned tiff": (encoded(noise(6, 7), "TIFF", exif=exif(orientation(6))), {"rotated"}),
    "upright": (encoded(noise(6, 7), exif=exif(orientation(1))), set()),
    "gif": (
        encoded(Image.new("L", (4, 4)), "GIF", save_all=True, append_images=[Image.new("L", (4, 4), 9)]),
        {"animated"},
    ),
    "apng": (
        encoded(Image.new("RGB", (4, 4)), "PNG", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]),
        {"animated"},
    ),
}


@pytest.mark.parametrize("kind", TRAITS)
def test_what_is_special_about_a_file_is_told(kind):
    data, traits = TRAITS[kind]
    assert examine(data, "a").traits - {"grey"} == traits - {"grey"}
    if kind != "gif":  # a grey GIF is a palette, and Pillow may give either
        assert examine(data, "a").traits == traits


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_format_is_told_by_content(kind):
    assert examine(encoded(noise(6, 7), kind), "a").format == kind


# HEIC


def heic(pixels: np.ndarray) -> bytes:
    pillow_heif = pytest.importorskip(
        "pillow_heif", reason="pillow-heif is not installed: pip install 'inceptory[heic]'"
    )
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=100)
    return buffer.getvalue()


HEADER = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40)


@pytest.mark.parametrize("header", [HEADER, b"\0\0\0\x14ftypheic\0\0\0\0heic", b"\0\0\0\x10ftypheix\0\0\0\0"])
def test_a_heic_file_is_known_by_its_brands(header):
    assert is_heic(header)


@pytest.mark.parametrize(
    "other", [b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", b"\0\0\0\x14ftypmp42\0\0\0\0isom", b"heic", b""]
)
def test_other_files_of_that_container_are_none(other):
    assert not is_heic(other)


def test_without_its_decoder_a_heic_photo_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"^a: a HEIC photo \(pip install 'inceptory\[heic\]' reads them\)$"):
        open_picture(HEADER, "a")


def test_with_its_decoder_a_heic_photo_is_a_picture():
    down, across = np.mgrid[:64, :48]
    pixels = np.stack([across * 5, down * 3, 128 + 0 * down], axis=2).astype(np.uint8)
    found = examine(heic(pixels), "a")
    assert (found.format, found.picture.mode, found.picture.size) == ("HEIF", "RGB", (48, 64))
    assert np.abs(np.asarray(found.picture).astype(int) - pixels).mean() <= 3


def test_a_heic_photo_cut_short_is_refused():
    data = heic(noise(64, 64))
    for part in range(1, 16):
        with pytest.raises(DataError):
            open_picture(data[: len(data) * part // 16], "a")


def test_the_cap_on_pixels_holds_for_heic(monkeypatch):
    from inceptory.data.picture import decode as images

    data = heic(noise(64, 64))
    monkeypatch.setattr(images, "LARGEST", 1000)
    with pytest.raises(DataError, match="64x64 pixels"):
        open_picture(data, "a")


def test_the_decoder_is_not_loaded_for_other_pictures():
    code = (
        "import io\nfrom PIL import Image\nfrom inceptory.data.picture.decode import open_picture\n"
        "b = io.BytesIO(); Image.new('RGB', (4, 4)).save(b, 'JPEG'); open_picture(b.getvalue(), 'a')"
    )
    assert "pillow_heif" not in loaded_by(code)
