"""The drawing of what an answer rests on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from inceptory.report import plots
from inceptory.report.explained import Panel, explained

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def words(monkeypatch):
    """Draws panels; gives the figure's size in inches and every word in it."""
    figures, real = [], plots.png
    monkeypatch.setattr(plots, "png", lambda figure, **known: figures.append(figure) or real(figure, **known))

    def drawn(*panels: Panel, picture: np.ndarray = PICTURE) -> list[str]:
        with Image.open(io.BytesIO(explained(picture, "Mixed_7c", "Mixed_6e", panels))) as image:
            assert image.info["Title"] == "explanation"
        parts = figures[-1].axes
        return [part.get_title() for part in parts] + [text.get_text() for part in parts for text in part.texts]

    return drawn


def panel(label: str = "cat", strongest: float = 1.0, **contributions: float) -> Panel:
    return Panel(label, 0.25, np.linspace(0, strongest, 64, dtype=np.float32).reshape(8, 8), contributions)


def test_labels_probabilities_parts_and_their_sum_are_said(words):
    found = words(panel(a=1.25, b=-0.5), panel("dog", a=0.001, b=-0.0004))
    assert {"cat\n25.0 %", "dog\n25.0 %", "as the network saw it\nheat: Grad-CAM after Mixed_7c"} <= set(found)
    assert {"Mixed_6e adds to the logit", "a", "b", "logit"} <= set(found)
    assert found.count("+1.25") == found.count("-0.50") == found.count("+0.75") == 1
    assert found.count("+0.00") == 3, "and never a -0.00"


def test_small_numbers_keep_digits_that_tell_them_apart(words):
    assert {"+0.0031", "-0.0012"} <= set(words(panel(a=0.0031, b=-0.0012)))
    assert {"+3.1e-09", "-1.2e-09"} <= set(words(panel(a=3.1e-9, b=-1.2e-9)))


def test_where_nothing_speaks_for_a_label_it_is_said(words):
    said = "nothing here\nspeaks for it"
    assert said in words(panel(strongest=0.0, a=0.0))
    assert said not in words(panel(a=0.0))


def test_formulas_in_names_are_no_formulas_and_grey_pictures_are_drawn(words):
    assert "$x_\n25.0 %" in words(panel("$x_", a=1.0), picture=PICTURE[:, :, :1])
