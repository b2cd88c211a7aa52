"""Formats beyond the usual ones, photographs of the largest telephones, animations that are damaged, noisy decoders."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, features

from inceptory.data.check.isolation import Children
from inceptory.data.picture import decode as images
from inceptory.data.picture import kinds
from inceptory.data.picture.decode import examine, open_picture, size_of
from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.picture.noise import heard
from inceptory.data.sources.opening import open_source
from inceptory.errors import DataError, Doubt
from tests.data.pictures import encoded, noise

PICTURE = noise(40, 50)
ROUND = np.add.outer(np.arange(320), np.arange(640)).astype(np.uint8)
NAMES = {"PPM": "a.ppm", "TGA": "a.tga", "AVIF": "a.avif", "JPEG2000": "a.jp2"}
OPTIONS = {("AVIF", 3): {"quality": 100, "subsampling": "4:4:4"}, ("AVIF", 1): {"quality": 100}}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_another_format_is_read_as_it_is(kind, channels):
    if kind in ("AVIF", "JPEG2000") and not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000"}[kind]):
        pytest.skip(f"this Pillow has no {kind}")
    pixels = noise(40, 50, channels)
    data = encoded(pixels, kind, **OPTIONS.get((kind, channels), {}))
    found = np.asarray(open_picture(data, NAMES[kind]), dtype=int)
    assert np.abs(found - pixels).max() <= (3 if kind == "AVIF" else 0)
    seen = examine(data, NAMES[kind])
    assert seen.format == kind == ENDINGS[f".{NAMES[kind].partition('.')[2]}"]
    assert ("grey" in seen.traits) == (channels == 1)


@pytest.mark.parametrize("most", [255, 1023, 65535])
def test_grey_of_a_pgm_is_scaled_by_what_the_file_calls_white(most):
    dark = np.full((4, 4), most // 5, ">u2" if most > 255 else "u1")
    found = examine(b"P5 4 4 %d\n" % most + dark.tobytes(), "a.pgm")
    assert np.abs(np.asarray(found.picture, dtype=int) - 51).max() <= 1
    assert ("16-bit" in found.traits) == (most > 255)


def test_grey_of_16_bits_in_jpeg_2000():
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    grey = Image.fromarray(np.full((8, 8), 51 * 256, np.uint16))
    found = examine(encoded(grey, "JPEG2000"), "a.jp2")
    assert np.asarray(found.picture).tolist() == [[51] * 8] * 8
    assert "16-bit" in found.traits


def test_what_pillow_cannot_decode_is_told(monkeypatch):
    monkeypatch.setattr(kinds.features, "check", lambda name: False)
    for data in (b"\0\0\0\x1cftypavif" + bytes(40), kinds.JPEG_2000[0] + bytes(40)):
        with pytest.raises(DataError, match="which the Pillow that is installed does not decode"):
            open_picture(data, "a")


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_cut_short_is_damaged(kind):
    if kind in ("AVIF", "JPEG2000") and not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000"}[kind]):
        pytest.skip(f"this Pillow has no {kind}")
    data = encoded(PICTURE, kind)
    for part in (2, 5, 7):
        with pytest.raises(DataError):
            open_picture(data[: len(data) * part // 8], NAMES[kind])


def test_only_its_name_or_its_end_make_a_tga():
    """Icons and others have headers that could be a TGA's."""
    old = encoded(PICTURE, "TGA")[:-26]
    for data in (encoded(PICTURE, "ICO"), old):
        with pytest.raises(DataError, match="not a picture in an accepted format"):
            open_picture(data, "a")
    assert open_picture(encoded(PICTURE, "TGA"), "a").size == (50, 40)
    assert open_picture(encoded(PICTURE, "PNG"), "a.tga").size == (50, 40)
    assert open_picture(old, "a.TGA").size == (50, 40)


def test_they_are_pictures_in_folders_and_tars(tmp_path):
    from tests.data.sources.tars.test_tars import tar

    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for kind in ("PPM", "TGA"):
            (tmp_path / "train" / label / NAMES[kind]).write_bytes(encoded(PICTURE, kind))
    assert len(open_source(tmp_path).split("train")) == 4
    members = [("1.ppm", b"x"), ("1.cls", b"0"), ("2.avif", b"x"), ("2.cls", b"1")]
    assert len(open_source(tar(tmp_path / "a.tar", members)).split("train")) == 2


# The largest photographs


@pytest.mark.parametrize("size", [(8160, 6144), (9504, 6336)])
def test_photographs_of_60_megapixels_are_within_the_cap(size):
    assert size[0] * size[1] <= images.LARGEST


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_larger_jpeg_is_decoded_at_half_its_size(mode, kind, monkeypatch):
    if (mode, kind) == ("CMYK", "MPO"):
        pytest.skip("telephones write no such files")
    picture = Image.fromarray(np.asarray(ROUND)).convert(mode)
    data = encoded(
        picture, kind, quality=95, **({"save_all": True, "append_images": [picture]} if kind == "MPO" else {})
    )
    whole = np.asarray(open_picture(data, "a"), dtype=float)
    monkeypatch.setattr(images, "LARGEST", ROUND.size // 4)
    found = np.asarray(open_picture(data, "a"), dtype=float)
    assert size_of(data, "a") == found.shape[1::-1] == (320, 160)
    averages = whole.reshape(160, 2, 320, 2, *whole.shape[2:]).mean((1, 3))
    smooth = averages < 240  # beside where the ramp begins anew
    assert np.abs(found - averages)[smooth & (averages > 16)].max() < 6


def test_up_to_the_cap_every_jpeg_is_decoded_whole(monkeypatch):
    data = encoded(ROUND, "JPEG")
    monkeypatch.setattr(images, "LARGEST", ROUND.size)
    assert open_picture(data, "a").size == (640, 320)


def split_scans(data):
    """A JPEG of the same pixels whose channels follow each other: libjpeg holds all of it."""
    at = data.index(b"\xff\xda")
    return data[: at + 4] + b"\1\1\0\0\x3f\0" + data[at + 14 :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(Image.fromarray(ROUND).convert("RGB"), "JPEG", progressive=True), id="progressive"),
        pytest.param(split_scans(encoded(Image.fromarray(ROUND).convert("RGB"), "JPEG")), id="several scans"),
        pytest.param(encoded(ROUND, "PNG"), id="png"),
        pytest.param(encoded(np.zeros((640, 641), np.uint8), "JPEG"), id="more than four times"),
    ],
)
def test_what_half_the_size_would_not_make_small_is_refused(data, monkeypatch):
    monkeypatch.setattr(images, "LARGEST", 320 * 320)
    with pytest.raises(DataError, match="at most 102,400 are accepted"):
        open_picture(data, "a")


# Animations


def test_damage_behind_the_first_picture_of_a_gif_is_none_of_ours():
    frames = [Image.fromarray(noise(16, 16, 1, seed)) for seed in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    place = b"\x2c\0\0\0\0\x10\0\x10\0"  # of a frame
    second = data.index(place, data.index(place) + 1)
    broken = data[:second] + place[:5] + b"\xff"
    plain = np.asarray(open_picture(broken, "a"))
    with Children(1) as children:
        found = children.look(broken, "a.gif")
    assert found.fault == ""
    assert np.array_equal(np.asarray(examine(broken, "a").picture), plain)


# What decoders print


def noisy(kind):
    data = bytearray(encoded(PICTURE, "TIFF", compression=kind))
    data[100:600] = b"\xff" * 500
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("tiff_lzw", "Using code not yet in table"), ("tiff_adobe_deflate", "Decoding error at scanline 0")],
)
def test_what_libtiff_prints_is_told_with_the_name(kind, said, capfd):
    with pytest.raises(DataError, match=f"^a: unreadable, .*{said}.*replace or remove it"):
        open_picture(noisy(kind), "a")
    assert capfd.readouterr().err == ""


def test_what_others_print_meanwhile_is_passed_on(monkeypatch, capfd):
    with pytest.warns(Doubt, match="a: its decoder says, TIFFRead: odd field"), heard("a"):
        os.write(2, b"12 of 30 pictures\nTIFFRead: odd field.\n")
    assert capfd.readouterr().err == "12 of 30 pictures\n"


def test_several_may_decode_at_the_same_time_and_none_hears_of_another(capfd):
    with heard("a"), heard("b"):
        os.write(2, b"TIFFRead: odd field.\nplain words\n")
    assert capfd.readouterr().err == "plain words\n"


def test_without_standard_error_a_tiff_is_read_too():
    script = (
        "import os, sys; from inceptory.data.picture.decode import open_picture\n"
        "data = sys.stdin.buffer.read(); os.close(2); open_picture(data, 'a')\n"
    )
    data = encoded(PICTURE, "TIFF", compression="tiff_lzw")
    assert subprocess.run([sys.executable, "-c", script], input=data).returncode == 0
