"""Grey pictures of more than 8 bits: where white lies, by the file or by its values."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from inceptory.cli import main
from inceptory.data.picture.decode import examine, open_picture
from inceptory.data.sources.opening import open_source
from inceptory.errors import DataError
from tests.data.pictures import encoded, noise, png

SHORT, LONG = 3, 4


def tiff(data, width, height, channels, bits, kind):
    """A plain TIFF of these samples; `kind` is 1 for whole numbers, 2 for signed ones, 3 for fractions."""
    start = 8 + 2 + 10 * 12 + 4
    bits_of, kinds = (struct.pack(f"<{channels}H", *[value] * channels) for value in (bits, kind))
    inline = channels <= 2

    def field(tag, form, count, value):
        packed = (
            value
            if isinstance(value, bytes)
            else struct.pack("<HH" if form == SHORT else "<I", value, *[0] * (form == SHORT))
        )
        return struct.pack("<HHI", tag, form, count) + packed.ljust(4, b"\0")

    where = [bits_of, kinds] if inline else [start, start + len(bits_of)]
    fields = [
        field(256, LONG, 1, width),
        field(257, LONG, 1, height),
        field(258, SHORT, channels, where[0] if inline else struct.pack("<I", where[0])),
        field(259, SHORT, 1, 1),
        field(262, SHORT, 1, 2 if channels == 3 else 1),
        field(273, LONG, 1, start + len(bits_of) + len(kinds)),
        field(277, SHORT, 1, channels),
        field(278, LONG, 1, height),
        field(279, LONG, 1, len(data)),
        field(339, SHORT, channels, where[1] if inline else struct.pack("<I", where[1])),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(fields) + bytes(4)
    return head + bits_of + kinds + data


def grey(values):
    """A TIFF of an array of numbers."""
    kind = {"f": 3, "i": 2, "u": 1}[values.dtype.kind]
    return tiff(values.tobytes(), values.shape[1], values.shape[0], 1, 8 * values.dtype.itemsize, kind)


def opened(data):
    found = open_picture(data, "a")
    assert found.mode == "L"
    return np.asarray(found)


EIGHT = noise(7, 9, 1)


@pytest.mark.parametrize(
    "make", [grey, lambda values: encoded(Image.fromarray(values), "TIFF")], ids=["own", "Pillow's"]
)
def test_fractions_from_0_to_1_are_stretched_to_eight_bits(make):
    assert np.array_equal(opened(make((EIGHT / 255).astype(np.float32))), EIGHT)


def test_fractions_from_0_to_255_are_taken_as_they_are():
    assert np.array_equal(opened(grey(EIGHT.astype(np.float32))), EIGHT)
    assert opened(grey(np.array([[0.4, 1.6, 254.7]], np.float32))).tolist() == [[0, 2, 255]]


@pytest.mark.parametrize("high", [1 + 1e-6, 1.003, 1 + 1 / 255])
def test_fractions_that_overshoot_1_by_a_level_at_most_are_white_there(high):
    assert opened(grey(np.array([[0, 0.5, high]], np.float32))).tolist() == [[0, 128, 255]]


def test_a_largest_fraction_of_2_is_a_dark_picture():
    assert opened(grey(np.array([[0, 1.2, 2]], np.float32))).tolist() == [[0, 1, 2]]


def test_a_white_picture_of_fractions_is_white():
    assert (opened(grey(np.ones((4, 4), np.float32))) == 255).all()


@pytest.mark.parametrize("kind", [np.uint32, np.int32])
def test_whole_numbers_of_32_bits_are_told_by_their_largest(kind):
    assert np.array_equal(opened(grey(EIGHT.astype(kind))), EIGHT)
    wide = np.arange(0, 65536, 1024).reshape(8, 8) + 257
    assert np.array_equal(opened(grey(wide.clip(0, 65535).astype(kind))), wide.clip(0, 65535) >> 8)


OUTSIDE = {
    "a little above 1": (np.array([[0, 1.01]], np.float32), "from 0 to 1.01 (scale them to 0 to 1 or 0 to 255)"),
    "a little below 2": (np.array([[0, 1.99]], np.float32), "from 0 to 1.99 (scale them to 0 to 1 or 0 to 255)"),
    "below 0": (np.array([[-0.1, 0.5]], np.float32), "from -0.1 to 0.5 (scale them to 0 to 1 or 0 to 255)"),
    "above 255": (np.array([[0, 255.5]], np.float32), "from 0 to 255.5 (scale them to 0 to 1 or 0 to 255)"),
    "no numbers": (np.array([[0, np.nan]], np.float32), "from nan to nan"),
    "infinite": (np.array([[0, np.inf]], np.float32), "from 0 to inf"),
    "whole and below 0": (np.array([[-1, 5]], np.int32), "from -1 to 5 (scale them to 0 to 255 or 0 to 65535)"),
    "whole and above 16 bits": (np.array([[0, 65536]], np.uint32), "from 0 to 65536 (scale them"),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_values_of_no_known_scale_are_refused_in_one_line(kind):
    values, told = OUTSIDE[kind]
    with pytest.raises(DataError) as caught:
        open_picture(grey(values), "photos/a.tif")
    assert str(caught.value).startswith("photos/a.tif: grey values ")
    assert told in str(caught.value)


def test_sixteen_bits_are_divided_by_256_also_where_they_are_dark_or_signed():
    dark = np.array([[0, 255, 256, 4095]], np.uint16)
    assert opened(grey(dark)).tolist() == [[0, 0, 1, 15]]
    assert opened(grey(np.array([[-5, 300, 32767]], np.int16))).tolist() == [[0, 1, 127]]
    row = b"\0" + dark.astype(">u2").tobytes()
    assert opened(png(4, 1, 16, 0, row)).tolist() == [[0, 0, 1, 15]]


def test_twelve_bits_are_divided_by_16():
    data = tiff(bytes([0x12, 0x3F, 0xFF]) * 2, 2, 2, 1, 12, 1)
    assert opened(data).tolist() == [[0x12, 0xFF]] * 2


@pytest.mark.parametrize(
    ("values", "traits"),
    [
        (np.ones((3, 3), np.float32), {"grey", "float"}),
        (np.ones((3, 3), np.int32), {"grey", "32-bit"}),
        (np.ones((3, 3), np.uint16), {"grey", "16-bit"}),
    ],
)
def test_what_a_file_holds_is_told(values, traits):
    assert examine(grey(values), "a").traits == traits


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            tiff(bytes(48), 2, 2, 3, 32, 3),
            "a TIFF of 32-bit fractions in 3 channels, which is not read (save it with 8",
        ),
        (grey(np.ones((2, 2))), "a TIFF of 64-bit fractions, which is not read"),
        (tiff(bytes(48), 2, 2, 3, 32, 3)[:60], "truncated or damaged"),
    ],
    ids=["colour", "doubles", "cut short"],
)
def test_an_honest_tiff_that_is_not_read_is_not_called_damaged(data, told):
    with pytest.raises(DataError) as caught:
        open_picture(data, "a")
    assert str(caught.value).startswith(f"a: {told}")


def test_check_reads_fractions_and_says_what_becomes_of_them(tmp_path, capsys):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for row in range(3):
            values = (noise(16, 16, 1, seed=row + 3 * (label == "dog")) / 255).astype(np.float32)
            (tmp_path / label / f"{row}.tif").write_bytes(grey(values))
    assert np.asarray(open_picture(open_source(tmp_path).split("train").pictures[0], "a")).max() > 250
    assert main(["check", str(tmp_path), "--strict"]) == 0
    assert "6 hold fractions (0 to 1 becomes 0 to 255; from 2 on, 0 to 255 as they are)" in capsys.readouterr().out
