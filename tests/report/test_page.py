"""Pages: nothing in a name becomes an element, nothing is fetched, nothing runs, and a person can read them."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from inceptory.report import page

EVIL = "<script>alert(1)</script>\"'&{{ 7 * 191 }}\udcff\0"
STYLE = files("inceptory.report").joinpath("templates", "page.css").read_text(encoding="utf-8")


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
    """The page is well nested, and neither fetches nor runs anything, by its elements and by its policy."""
    text.encode()
    found = Reader(text)
    assert found.open == []
    for tag, attributes in found.elements:
        assert tag not in ("script", "link", "iframe", "object", "base", "form", "a")
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:image/")).startswith("data:image/")
    (policy,) = [one["content"] for _, one in found.elements if one.get("http-equiv") == "Content-Security-Policy"]
    allowed = {kind: sources for kind, *sources in map(str.split, str(policy).split(";"))}
    assert allowed == {"default-src": ["'none'"], "img-src": ["data:"], "style-src": ["'unsafe-inline'"]}
    assert "url(" not in text
    assert "@import" not in text
    return found


def headings(text: str) -> list[str]:
    """What stands above the sections, in order."""
    return re.findall(r"<h2>(.*?)</h2>", text)


def drawn() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (300, 100)).save(content, "PNG")
    return content.getvalue()


def piece(call: str, **values: object) -> str:
    """A macro of pieces.html.j2."""
    text = '{% import "pieces.html.j2" as pieces %}{{ pieces.' + call + " }}"
    return page._environment().from_string(text).render(values)


def test_every_piece_escapes_what_it_is_given():
    body = [
        piece("tiles({evil: evil})", evil=EVIL),
        piece("table([evil], [[evil], [0.5], [none], [1]])", evil=EVIL),
        piece("facts({evil: evil}, [evil, evil])", evil=EVIL),
        piece("plot(png, evil)", evil=EVIL, png=drawn()),
    ]
    shown = EVIL.replace("\udcff\0", "\\udcff\\x00")
    for text in body:
        found = Reader(text)
        assert found.open == []
        assert "script" not in [tag for tag, _ in found.elements]
        assert not set("\0\udcff") & set(text)
    told = [words for text in body for words in Reader(text).words] + [str(Reader(body[3]).elements[1][1]["alt"])]
    assert told.count(shown) == 9


def test_a_template_that_is_given_too_little_fails_and_leaves_no_gap():
    with pytest.raises(Exception, match="title"):
        page.render("page.html.j2")


def test_fractions_have_bars_what_is_missing_a_dash_and_large_numbers_their_commas():
    text = piece("table(head, rows)", head=("class", "recall"), rows=[("cat", 0.125), ("dog", None), ("owl", 12345)])
    words = [words for words in Reader(text).words if words.strip()]
    assert words == ["class", "recall", "cat", "12.5 %", "dog", "-", "owl", "12,345"]
    (bar,) = [attributes["style"] for _, attributes in Reader(text).elements if "style" in attributes]
    assert bar == "--share:12.5%"
    assert "var(--share)" in STYLE


# The style


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"(--[a-z]+):\s*([^;]+);", block))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    digits = colour.strip("#")
    parts = [
        int(part, 16) / 255 for part in re.findall("..", digits if len(digits) == 6 else "".join(2 * c for c in digits))
    ]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_by_day_and_by_night():
    day, night = (colours(block) for block in re.findall(r":root \{([^}]*)\}", STYLE))
    assert day.keys() == night.keys()
    assert luminance(day["--paper"]) > 0.9
    assert luminance(night["--paper"]) < 0.05
    for theme in (day, night):
        for ink in ("--ink", "--dim", "--accent"):
            for ground in ("--paper", "--wash"):
                assert contrast(theme[ink], theme[ground]) > 4.5, (ink, ground)
        assert contrast(theme["--ink"], theme["--bar"]) > 4.5


def test_the_style_knows_every_colour_and_every_class_that_is_used():
    assert STYLE.count("{") == STYLE.count("}")
    assert set(re.findall(r"var\((--[a-z]+)\)", STYLE)) == {*colours(STYLE), "--share"}
    templates = [
        path for path in files("inceptory.report").joinpath("templates").iterdir() if path.name.endswith(".j2")
    ]
    text = "".join(path.read_text(encoding="utf-8") for path in templates)
    used = set(re.findall(r'class="([a-z]+)"', text)) | {"wide", "photos", "small"}
    assert used == set(re.findall(r"\.([a-z]+)(?=[ ,{])", STYLE))


def test_the_page_fits_a_phone_and_prints():
    text = page._environment().get_template("page.html.j2").render(title="t")
    found = check_alone(text)
    (viewport,) = [one["content"] for _, one in found.elements if one.get("name") == "viewport"]
    assert "width=device-width" in str(viewport)
    assert "@media print" in "".join(found.words)


# Pictures


def picture(uri: str | None) -> Image.Image:
    kind, content = str(uri).split(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_picture_is_shown_bit_for_bit(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, channels), dtype=np.uint8)
    found = page.thumbnail(pixels)
    assert (np.asarray(picture(found.uri)).reshape(32, 32, channels) == pixels).all()
    assert found.kinds == "small", "its pixels stay square"


def test_a_large_picture_is_shrunk():
    pixels = np.full((299, 200, 3), (200, 30, 30), dtype=np.uint8)
    image = picture(page.thumbnail(pixels).uri)
    assert max(image.size) == page.THUMBNAIL
    assert np.abs(np.asarray(image).astype(int) - (200, 30, 30)).max() < 8


@pytest.mark.parametrize(("photos", "kinds"), [(False, "wide"), (True, "wide photos")])
def test_a_drawing_keeps_its_bytes_and_states_its_width(photos, kinds):
    _, attributes = Reader(piece("plot(png, 'curves', photos)", png=drawn(), photos=photos)).elements[1]
    assert base64.b64decode(str(attributes["src"]).split(",")[1]) == drawn()
    assert (attributes["width"], attributes["class"]) == ("200", kinds)


def test_heat_that_is_no_number_hides_nothing():
    """A network that diverged answers NaN, and its run still ends with a report."""
    pixels = np.full((4, 4, 3), 200, np.uint8)
    heat = np.full((4, 4), np.nan, np.float32)
    assert (page.covered(pixels, heat) == pixels).all()
    heat[0, 0], heat[1, 1] = 1.0, np.inf
    hidden = (page.covered(pixels, heat) != pixels).any(2)
    assert hidden.sum() == hidden[0, 0] == 1
