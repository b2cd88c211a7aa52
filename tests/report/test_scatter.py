"""Pictures as points."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from inceptory.measure.vectors import Plane
from inceptory.report import plots
from inceptory.report.scatter import NAMED, features


def plane(labels, wrong=()) -> Plane:
    labels = np.asarray(labels)
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    return Plane(points, (0.5, 0.25), labels, np.isin(np.arange(len(labels)), wrong), len(labels))


@pytest.fixture
def legend(monkeypatch):
    """The words of the legend of a drawing."""
    figures, real = [], plots.png
    monkeypatch.setattr(plots, "png", lambda figure, **known: figures.append(figure) or real(figure, **known))

    def words(shape: Plane, classes: list[str]) -> list[str]:
        with Image.open(io.BytesIO(features(shape, classes))) as image:
            assert image.width < 2000
        return [text.get_text().strip() for text in figures[-1].legends[0].get_texts()]

    return words


def test_classes_and_mistakes_are_named(legend):
    assert legend(plane([0, 1, 1], wrong=[2]), ["_cat", "$d$", "never"]) == ["_cat", "$d$", "answered incorrectly"]
    assert legend(plane([0, 1, 1]), ["a", "b"]) == ["a", "b"]


def test_of_many_classes_the_commonest_are_named(legend):
    labels = [*range(120), *range(40, 40 + NAMED)]
    words = legend(plane(labels, wrong=[3]), [f"class {row}" for row in range(120)])
    rest = f"{120 - NAMED} other classes"
    assert words == [rest, *(f"class {row}" for row in range(40, 40 + NAMED)), "answered incorrectly"]


def test_the_same_points_give_the_same_file():
    assert features(plane([0, 1, 1], [0]), ["a", "b"]) == features(plane([0, 1, 1], [0]), ["a", "b"])


def test_each_mistake_is_drawn_once(monkeypatch):
    """Of its class' colour, with a ring."""
    figures, real = [], plots.png
    monkeypatch.setattr(plots, "png", lambda figure, **known: figures.append(figure) or real(figure, **known))
    shape = plane([0, 1, 1, 0], wrong=[2])
    features(shape, ["a", "b"])
    every = [
        (*point, one.get_linewidth()[0] > 0) for one in figures[-1].axes[0].collections for point in one.get_offsets()
    ]
    assert sorted(every) == sorted((*point, wrong) for point, wrong in zip(shape.points, shape.wrong, strict=True))
