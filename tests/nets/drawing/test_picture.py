from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import pytest
from PIL import ImageFont

from inceptory.nets.arithmetic import steps
from inceptory.nets.blocks import Conv
from inceptory.nets.catalogue import Plan, catalogue, plan
from inceptory.nets.drawing.pieces import STYLE, document, text_width, write
from inceptory.nets.drawing.svg import COLOURS, GUTTER, svg
from inceptory.nets.drawing.table import runs, words

SVG = "{http://www.w3.org/2000/svg}"
EVERY = [(name, dialect) for name, known in catalogue().items() for dialect in known.dialects]
OPTIONS = [
    plan("inception_v3", aux=True, se=True, width=0.25),
    plan("inception_v4", aux=True, se=True, width=2),
    plan("googlenet", dialect="caffe", aux=True, classes=37),
    plan("inception_resnet_v2", aux=True, se=True, in_channels=1, dropout=0.5),
    plan("xception", classes=0, image=512),
]
PLANS = [plan(name, dialect=dialect) for name, dialect in EVERY] + OPTIONS
each_plan = pytest.mark.parametrize("decided", PLANS, ids=lambda p: f"{p.architecture}-{p.dialect}")


@dataclass(frozen=True)
class Drawn:
    """A box with its place on the page and its texts."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    texts: tuple[tuple[str, bool], ...]
    """(text, bold)."""

    def touches(self, other: Drawn) -> bool:
        apart_x = self.x + self.width <= other.x or other.x + other.width <= self.x
        apart_y = self.y + self.height <= other.y or other.y + other.height <= self.y
        return not (apart_x or apart_y)


@cache
def page(decided: Plan) -> ET.Element:
    return ET.fromstring(svg(decided))


def boxes(element: ET.Element, x: float = 0, y: float = 0) -> Iterator[Drawn]:
    """Every box of the page, moved by the groups that it sits in."""
    moved = re.fullmatch(r"translate\((\S+),(\S+)\)", element.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    rect, kind = element.find(f"{SVG}rect"), element.get("class")
    if kind and rect is not None:
        texts = tuple((text.text or "", text.get("class") == "b") for text in element.findall(f"{SVG}text"))
        left, top, width, height = (float(rect.get(key, "")) for key in ("x", "y", "width", "height"))
        yield Drawn(kind, x + left, y + top, width, height, texts)
    for child in element:
        yield from boxes(child, x, y)


def panels(decided: Plan) -> list[tuple[list[str], ET.Element]]:
    """(names of stages, group) of each panel, from top to bottom."""
    groups = [group for group in page(decided).iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    return [((group.findtext(f"{SVG}title") or "").split(", "), group) for group in groups]


@cache
def font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, the widest of the fonts that the picture may be shown in."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size * 10)


def measured(text: str, bold: bool, size: int | None = None) -> float:
    return font(size or (13 if bold else 12), bold).getlength(text) / 10


@each_plan
def test_every_stage_and_head_has_its_place_once_and_in_order(decided: Plan) -> None:
    drawn = [name for names, _ in panels(decided) for name in names]
    hung = {aux.after: aux.name for aux in decided.tree.aux}
    expected = [name for stage in decided.tree.stages for name in (stage.name, hung.get(stage.name)) if name]
    assert drawn == [*expected, "head"]


@each_plan
def test_every_run_of_stages_says_its_name_shape_parameters_and_number(decided: Plan) -> None:
    shown = [[text.text or "" for text in group.iter(f"{SVG}text")] for _, group in panels(decided)]
    for run in runs(decided):
        texts = next(texts for texts in shown if texts[0] == run.title)
        assert texts[1] == " x ".join(map(str, run.row.shape))
        assert not run.row.parameters or texts[2].startswith(f"{run.row.parameters:,} parameters")
        assert len(run.names) == 1 or f"x {len(run.names)}" in texts


@each_plan
def test_every_convolution_of_a_module_has_a_box(decided: Plan) -> None:
    inside = {name: found for name, _, found in steps(decided.tree, decided.in_channels, decided.image, decided.image)}
    for names, group in panels(decided):
        drawn = [box.texts[0][0] for box in boxes(group) if box.kind in {"conv", "point", "depth"}]
        expected = [words(step.node) for step in inside[names[0]] if isinstance(step.node, Conv)]
        assert sorted(drawn) == sorted(expected)


@each_plan
def test_no_text_is_wider_than_its_box(decided: Plan) -> None:
    for box in boxes(page(decided)):
        for text, bold in box.texts:
            assert measured(text, bold) <= box.width - 4, text


@each_plan
def test_no_box_touches_another_or_leaves_the_page(decided: Plan) -> None:
    found = sorted(boxes(page(decided)), key=lambda box: box.y)
    width, height = float(page(decided).get("width", "")), float(page(decided).get("height", ""))
    for i, box in enumerate(found):
        assert min(box.x, box.y) >= 0
        assert box.x + box.width <= width
        assert box.y + box.height <= height
        for other in found[i + 1 :]:
            if other.y >= box.y + box.height:
                break
            assert not box.touches(other), (box, other)


@each_plan
def test_the_words_of_a_panel_stay_in_the_gutter(decided: Plan) -> None:
    for _, group in panels(decided):
        for text in group.findall(f"{SVG}text"):
            name = text.get("class") == "n"
            assert measured(text.text or "", name, 15 if name else 12) <= GUTTER - 14


@each_plan
def test_the_heading_fits_the_page(decided: Plan) -> None:
    heading = page(decided).find(f"{SVG}g")
    assert heading is not None
    for text in heading.findall(f"{SVG}text"):
        assert measured(text.text or "", bold=False) <= float(page(decided).get("width", "")) - 40


@each_plan
def test_the_legend_explains_every_colour_on_the_page(decided: Plan) -> None:
    heading = page(decided).find(f"{SVG}g")
    assert heading is not None
    explained = {box.kind for box in boxes(heading)}
    assert {box.kind for box in boxes(page(decided))} & COLOURS.keys() == explained


def test_residual_blocks_show_scale_sum_and_shortcut() -> None:
    drawn = {names[0]: group for names, group in panels(plan("inception_resnet_v2"))}
    texts = [text.text for text in drawn["block17_1"].iter(f"{SVG}text")]
    assert {"x 0.1", "+", "identity", "ReLU", "1x1 1088", "no norm"} <= set(texts)
    assert not {"ReLU", "x 1"} & {text.text for text in drawn["Block8"].iter(f"{SVG}text")}


@pytest.mark.parametrize(
    ("name", "its", "other"), [("cifar_inception_fast", "SiLU", "ReLU"), ("xception", "ReLU", "SiLU")]
)
def test_a_page_names_the_activation_of_its_network(name: str, its: str, other: str) -> None:
    drawn = page(plan(name))
    texts = " ".join(text.text or "" for text in drawn.iter(f"{SVG}text"))
    assert f"convolution + batch norm + {its}" in texts
    assert its in {text.text for text in drawn.iter(f"{SVG}text")}, "a box of its own"
    assert other not in texts


def test_forks_inside_a_branch_are_joined_twice() -> None:
    drawn = {names[0]: group for names, group in panels(plan("inception_v3"))}
    joined = [box.texts[0][0] for box in boxes(drawn["Mixed_7b"]) if box.kind == "join"]
    assert sorted(joined) == ["concat 2048 x 8 x 8", "concat 768 x 8 x 8", "concat 768 x 8 x 8"]


def test_what_differs_from_the_rest_of_the_network_is_noted() -> None:
    drawn = {names[0]: group for names, group in panels(plan("inception_v2"))}
    assert {"bias", "no norm"} <= {text.text for text in drawn["Conv2d_1a_7x7"].iter(f"{SVG}text")}
    assert not {"bias", "no norm"} & {text.text for text in drawn["Mixed_3b"].iter(f"{SVG}text")}


def test_the_ends_say_what_goes_in_and_what_comes_out() -> None:
    def ends(decided: Plan) -> list[str]:
        return [box.texts[0][0] for box in boxes(page(decided)) if box.kind == "io"]

    assert ends(plan("inception_v3", classes=7)) == ["image 3 x 299 x 299", "7 logits"]
    assert ends(plan("inception_resnet_v1", dialect="facenet")) == ["image 3 x 160 x 160", "embedding of length 1"]
    assert ends(plan("xception", classes=0, in_channels=1)) == ["image 1 x 299 x 299", "embedding"]


def test_text_is_escaped() -> None:
    assert write(0, 0, "a < b & c") == '<text x="0" y="0">a &lt; b &amp; c</text>'
    assert ET.fromstring(document("<&>", "", 10, 10, "")).findtext(f"{SVG}title") == "<&>"


@pytest.mark.parametrize("bold", [False, True])
def test_the_estimate_of_a_width_is_never_too_small(bold: bool) -> None:
    for text in ("max pool 3x3/2", "MMMM", "Mixed_7b ... 7d", "block14_sepconv2", "dropout 50 %", "1088 x 17 x 17"):
        assert text_width(text, 13 if bold else 12, bold) >= measured(text, bold)


def test_no_type_is_smaller_than_12_pixels() -> None:
    assert min(map(int, re.findall(r"font-size:(\d+)px", STYLE))) >= 12


def test_the_picture_brings_everything_with_it() -> None:
    drawn = svg(plan("googlenet", aux=True))
    assert not re.search(r"href|@import|url\((?!#tip)", drawn)


def test_the_same_plan_gives_the_same_picture_in_another_process() -> None:
    code = (
        "from inceptory.nets import catalogue; from inceptory.nets.drawing.svg import svg;"
        "print(svg(catalogue.plan('xception')), end='')"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, check=True
    )
    assert other.stdout.decode().replace("\r\n", "\n") == svg(plan("xception"))
