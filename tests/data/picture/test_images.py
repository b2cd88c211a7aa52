"""Every kind of pixel that an accepted format can hold, and every format that is not accepted."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from inceptory.data.picture import decode as images
from inceptory.data.picture.decode import open_picture
from inceptory.data.picture.kinds import FORMATS, PLAIN
from inceptory.errors import DataError, MissingError
from tests.data.pictures import encoded, interlaced, noise, png


def opened(data: bytes) -> np.ndarray:
    return np.asarray(open_picture(data, "a"))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_a_colour_picture_keeps_its_pixels(kind):
    pixels = noise(7, 9)
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(opened(encoded(pixels, kind, **options)), pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_grey_picture_keeps_its_pixels(kind):
    pixels = noise(7, 9, 1)
    found = opened(encoded(pixels, kind))
    grey = found if found.ndim == 2 else found[:, :, 0]
    assert np.array_equal(grey, pixels)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_black_and_white_picture_becomes_0_and_255(kind):
    pixels = noise(7, 9, 1) > 127
    found = open_picture(encoded(Image.fromarray(pixels), kind), "a")
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), pixels * np.uint8(255))


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_of_few_bits_is_stretched_to_eight(depth):
    top = 2**depth - 1
    levels = np.arange(8, dtype=np.uint8) % (top + 1)
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    row = b"\0" + int(bits, 2).to_bytes(depth, "big")
    assert opened(png(8, 1, depth, 0, row)).tolist() == [[255 * int(level) // top for level in levels]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_alpha_of_a_grey_picture_is_dropped(kind):
    pixels = noise(7, 9, 2)
    found = open_picture(encoded(Image.fromarray(pixels, "LA"), kind), "a")
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), pixels[:, :, 0])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_alpha_of_a_colour_picture_is_dropped(kind):
    pixels = noise(7, 9, 4)
    assert np.array_equal(opened(encoded(pixels, kind)), pixels[:, :, :3])


def paletted(bits: int = 8) -> tuple[Image.Image, np.ndarray]:
    """A picture of mode P and the colours of its pixels."""
    rows = noise(7, 9, 1) & (2**bits - 1)
    colours = noise(2**bits, 3, 1, seed=1)
    picture = Image.fromarray(rows, "L")
    picture.putpalette(colours.tobytes())
    return picture, colours[rows]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_palette_becomes_its_colours(kind):
    picture, colours = paletted()
    assert np.array_equal(opened(encoded(picture, kind)), colours)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_of_few_bits_becomes_its_colours(bits):
    picture, colours = paletted(bits)
    assert np.array_equal(opened(encoded(picture, "PNG", bits=bits)), colours)


@pytest.mark.parametrize("transparency", [3, bytes(range(256))], ids=["one entry", "an alpha for each"])
def test_a_palette_with_transparency_becomes_its_colours(transparency):
    picture, colours = paletted()
    assert np.array_equal(opened(encoded(picture, "PNG", transparency=transparency)), colours)


def test_cmyk_becomes_the_colours_that_its_inks_give():
    inks = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 200, 100, 50], [40, 80, 120, 160]], dtype=np.uint8)
    blocks = inks.repeat(16, axis=0)[None].repeat(16, axis=0)
    found = opened(encoded(Image.fromarray(blocks, "CMYK"), "JPEG", quality=100))[8, 8::16]
    wide = inks.astype(int)
    expected = (255 - wide[:, :3]) * (255 - wide[:, 3:]) / 255
    assert np.abs(found - expected).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_grey_of_sixteen_bits_is_divided_by_256(kind, order):
    wide = np.random.default_rng(0).integers(0, 65536, (7, 9)).astype(order)
    found = open_picture(encoded(Image.fromarray(wide), kind), "a")
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), wide >> 8)


def test_colour_of_sixteen_bits_keeps_its_high_bytes():
    wide = np.random.default_rng(0).integers(0, 65536, (5, 6, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    assert np.array_equal(opened(png(6, 5, 16, 2, rows)), wide >> 8)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 16), (17, 9)])
def test_an_interlaced_picture_keeps_its_pixels(size):
    pixels = noise(*size)
    assert np.array_equal(opened(interlaced(pixels)), pixels)


def test_a_progressive_jpeg_has_the_pixels_of_a_plain_one():
    pixels = noise(33, 47)
    plain, progressive = (encoded(pixels, "JPEG", quality=90, progressive=flag) for flag in (False, True))
    assert plain != progressive
    assert np.array_equal(opened(plain), opened(progressive))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(kind):
    colours = ("red", "lime", "blue")
    frames = [Image.new("RGB", (8, 8), colour) for colour in colours]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (opened(data) == (255, 0, 0)).all()


def test_of_a_camera_s_jpeg_with_a_second_picture_the_first_counts():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("white", "black")]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert (opened(data) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1)])
def test_a_picture_may_be_one_pixel_thin(size):
    assert open_picture(encoded(noise(*size)), "a").size == (size[1], size[0])


def test_a_file_is_opened_by_its_content_and_not_by_its_ending(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(noise(7, 9), "PNG"))
    assert open_picture(tmp_path / "a.jpg", "a").size == (9, 7)


def test_pixels_are_a_picture_already():
    pixels = noise(7, 9)
    assert np.array_equal(np.asarray(open_picture(pixels, "a")), pixels)


OTHERS = {
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF",
    "ico": encoded(noise(16, 16), "ICO"),
    "psd": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\1\0\0\0\1\0\10\0\3" + bytes(20),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "text": b"This is a note about a picture.\n",
    "html": b"<!DOCTYPE html><html><title>404 Not Found</title></html>",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_format_is_refused_by_name_and_its_parser_never_runs(kind, monkeypatch):
    Image.init()
    called = []
    for name in set(Image.OPEN) - set(PLAIN):
        spy = (lambda *a, name=name: called.append(name), lambda *a, name=name: called.append(name))
        monkeypatch.setitem(Image.OPEN, name, spy)
    with pytest.raises(DataError, match=r"^photos/a: not a picture in an accepted format \(use JPEG, PNG, WEBP"):
        open_picture(OTHERS[kind], "photos/a")
    assert called == []


def test_the_accepted_formats_are_the_listed_ones():
    assert FORMATS == ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "AVIF", "JPEG2000")


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="a: an empty file"):
        open_picture(tmp_path / "a.png", "a")


def test_a_missing_file_is_a_missing_error(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        open_picture(tmp_path / "a.png", "a")


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have pipes in folders")
def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(MissingError, match="not a regular file"):
        open_picture(tmp_path / "a.png", "a")


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[2Jb.png", "a\udcffb.png"], ids=ascii)
def test_a_name_with_control_characters_is_shown_escaped(name):
    with pytest.raises(DataError) as caught:
        open_picture(b"no picture", name)
    line = caught.value.line()
    assert line.isprintable()
    assert line.startswith("error: a\\")


def test_reading_in_threads_leaves_the_warning_filters_as_they_were(monkeypatch):
    """The second thread begins after the first and before its end, and ends last."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    eight_bit = images._eight_bit

    def in_turn(*picture):
        mine, others = (first_in, second_in) if threading.current_thread().name == "first" else (second_in, first_out)
        mine.set()
        others.wait(5)
        return eight_bit(*picture)

    monkeypatch.setattr(images, "_eight_bit", in_turn)
    data = encoded(noise(7, 9))
    first, second = (threading.Thread(target=open_picture, args=(data, "a"), name=n) for n in ("first", "second"))
    with warnings.catch_warnings():
        before = list(warnings.filters)
        first.start()
        first_in.wait(5)
        second.start()
        first.join()
        first_out.set()
        second.join()
        after = list(warnings.filters)
    assert after == before
