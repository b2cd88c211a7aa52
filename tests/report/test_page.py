"""Pieces of a page: nothing in a name becomes an element, nothing is fetched, nothing runs."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from inceptory.report import page

EVIL = "<script>alert(1)</script>\"'&\udcff\0"


class Reader(HTMLParser):
    """Elements, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check_alone(text: str) -> Reader:
    """The page is well nested, and neither fetches nor runs anything."""
    text.encode()
    found = Reader(text)
    assert found.open == []
    for tag, attributes in found.elements:
        assert tag not in ("script", "link", "iframe", "object", "base", "form", "a")
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:image/")).startswith("data:image/")
    policies = [one["content"] for _, one in found.elements if one.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "url(" not in text
    assert "@import" not in text
    return found


def drawn() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (300, 100)).save(content, "PNG")
    return content.getvalue()


def test_every_piece_escapes_what_it_is_given():
    body = [
        page.section(EVIL, page.paragraph(EVIL), page.verbatim(EVIL)),
        page.tiles({EVIL: EVIL}),
        page.table((EVIL,), [(EVIL,), (0.5,), (None,)]),
        page.facts({EVIL: EVIL}),
        page.plot(drawn(), EVIL),
    ]
    text = page.document(EVIL, body)
    found = check_alone(text)
    assert "<script" not in text
    assert sum("<script>alert(1)</script>" in words for words in found.words) >= 10
    assert "\0" not in text


def test_the_page_fits_a_phone_prints_and_knows_the_dark():
    text = page.document("t", [])
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "@media print" in text
    assert "prefers-color-scheme:dark" in text


def test_fractions_have_bars_and_what_is_missing_a_dash():
    text = page.table(("class", "recall"), [("cat", 0.125), ("dog", None)])
    assert '<td style="--share:12.5%">12.5 %</td>' in text
    assert "<td>-</td>" in text


def shown(text: str) -> Image.Image:
    kind, content = Reader(text).elements[0][1]["src"].split(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_picture_is_shown_bit_for_bit(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, channels), dtype=np.uint8)
    image = shown(page.thumbnail(pixels))
    assert (np.asarray(image).reshape(32, 32, channels) == pixels).all()


def test_a_large_picture_is_shrunk():
    pixels = np.full((299, 200, 3), (200, 30, 30), dtype=np.uint8)
    image = shown(page.thumbnail(pixels))
    assert max(image.size) == page.THUMBNAIL
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 30)).max() < 8


def test_a_drawing_keeps_its_bytes_and_states_its_width():
    _, attributes = Reader(page.plot(drawn(), "curves")).elements[1]
    assert base64.b64decode(attributes["src"].split(",")[1]) == drawn()
    assert (attributes["width"], attributes["class"]) == ("200", "wide")
