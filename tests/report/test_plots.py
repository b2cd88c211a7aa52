"""Drawings: every size of run and any class name gives a picture, and no warning (a warning fails a test)."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from PIL import Image

from inceptory.measure.results import ClassScore
from inceptory.measure.single_label import Bin, SingleDetails, SingleEpoch
from inceptory.report import plots

STRANGE = [
    "狐狸",
    "😀",
    "$\\frac{",
    "_hidden",
    "a\nb\0c",
    "\udcff",
    "",
    "x" * 300,
    "<script>",
    "école",
    "100%",
    "\u202e",
]


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is drawn, after it was rendered."""
    found, real = [], plots.png

    def kept(figure):
        found.append(figure)
        return real(figure)

    monkeypatch.setattr(plots, "png", kept)
    return found


def pixels(figure):
    """(H, W, 3) of the figure, its lowest row first, as matplotlib counts them."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3]


def colour(dots, axes, x, y):
    """The dot at a place of the axes, in numbers of the axes."""
    column, row = axes.transData.transform((x, y)).astype(int)
    return tuple(dots[row, column].tolist())


def as_bytes(name):
    return tuple(round(255 * part) for part in to_rgb(name))


def details(labels, seed=0):
    count = len(labels)
    confusion = np.random.default_rng(seed).integers(0, 3, (count, count)) + 20 * np.eye(count, dtype=int)
    scores = tuple(ClassScore(label, 0.5, 0.5, 0.5, int(n)) for label, n in zip(labels, confusion.sum(1), strict=True))
    return SingleDetails(scores, confusion, ())


def epochs(count, loss=1.0):
    return [
        SingleEpoch(i, 0.1, 3.0, loss / i, 1 - 0.9 / i, 2 * loss / i, 1 - 0.95 / i, 1.0, 10.0)
        for i in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 15, 300])
def test_curves_of_any_length_are_drawn(count):
    wide, high = size(plots.curves("net", rows := epochs(count), rows[-1]))
    assert wide > 2 * high > 800


def test_a_single_epoch_has_one_whole_number_on_its_axis():
    figure = plots.blank(4, 4)
    axes = figure.subplots()
    plots._over_epochs(axes, "loss", 1, 1)
    figure.canvas.draw()
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]


@pytest.mark.parametrize(("values", "scale"), [([300, 0.2, 0.1, 0.1], "log"), ([2.3, 1, 0.5], "linear")])
def test_a_loss_far_above_the_others_does_not_flatten_them(values, scale):
    axes = plots.blank(4, 4).subplots()
    plots._scale(axes, values, plots.LOSS)
    assert axes.get_yscale() == scale


def test_accuracies_and_losses_of_zero_are_never_drawn_on_a_logarithmic_axis():
    axes = plots.blank(4, 4).subplots()
    plots._scale(axes, [300, 0.2, 0.1], "top-1, %")
    plots._scale(axes, [300, 0.2, 0.0], plots.LOSS)
    assert axes.get_yscale() == "linear"


@pytest.mark.parametrize("count", [2, 20, 21, 60])
def test_a_confusion_matrix_is_drawn_large_enough_for_its_names(count):
    wide, high = size(plots.confusion(details([f"class {i}" for i in range(count)])))
    assert min(wide, high) / count > 0.12 * plots.DPI


def test_few_classes_carry_their_numbers_and_many_do_not(monkeypatch):
    from matplotlib.axes import Axes

    written = []
    real = Axes.text
    monkeypatch.setattr(Axes, "text", lambda *a, **k: (written.append(a[3]), real(*a, **k))[1])
    few, many = details("ab"), details([str(i) for i in range(plots.NUMBERED + 1)])
    plots.confusion(few)
    assert written == [str(number) for number in few.confusion.flatten() if number]
    written.clear()
    plots.confusion(many)
    assert written == []


def test_beyond_200_classes_the_worst_pairs_are_drawn():
    assert size(plots.confusion(details([f"class {i}" for i in range(plots.DRAWN + 1)])))[0] < 1500
    perfect = SingleDetails(details("a" * 201).classes, np.eye(201, dtype=int), ())
    assert size(plots.confusion(perfect))[0] < 1500


def words(dots, labels):
    """What is written at the ticks of an axis: only of labels that have dots of ink in their place."""
    boxes = [label.get_window_extent() for label in labels]
    inked = [dots[int(box.y0) : int(box.y1) + 1, int(box.x0) : int(box.x1) + 1].min(initial=255) < 128 for box in boxes]
    return [label.get_text() if seen else "" for label, seen in zip(labels, inked, strict=True)]


def test_every_class_name_is_drawn_beside_its_row_and_column_whatever_is_in_it(figures):
    plots.confusion(details(STRANGE))
    axes, dots = figures[0].axes[0], pixels(figures[0])
    assert words(dots, axes.get_xticklabels()) == plots.names(STRANGE)
    assert words(dots, axes.get_yticklabels()) == plots.names(STRANGE)


def test_every_class_name_is_drawn_beside_its_pairs_whatever_is_in_it(figures):
    found = details([*STRANGE, *map(str, range(plots.DRAWN))])
    found.confusion[: len(STRANGE), len(STRANGE)] = 99
    plots.confusion(found)
    told = words(pixels(figures[0]), figures[0].axes[0].get_yticklabels())
    assert {f"{name} → 0" for name in plots.names(STRANGE)} < set(told)


def test_a_name_with_letters_that_no_font_has_is_told_by_its_number():
    assert plots.names(["cat", "\U0001f9ff", "dog\n"]) == ["cat", "class 1", "dog\\n"]


def test_a_class_without_pictures_leaves_an_empty_row(figures):
    found = details("abc")
    found.confusion[1] = 0
    plots.confusion(found)
    axes, dots = figures[0].axes[0], pixels(figures[0])
    # Above the number that a cell carries in its middle.
    rows = [[colour(dots, axes, column, row - 0.35) for column in range(3)] for row in range(3)]
    assert rows[1] == [as_bytes(colormaps["Blues"](0.0))] * 3
    for row in (0, 2):
        assert max(rows[row][row]) < 200, "most of its pictures are answered right"


@pytest.mark.parametrize("filled", [0, 14])
def test_calibration_draws_the_bins_that_hold_pictures_and_no_other(filled, figures):
    bins = [Bin(k / 15, (k + 1) / 15, 0, None, None) for k in range(15)]
    bins[filled] = Bin(filled / 15, (filled + 1) / 15, 9, (filled + 0.5) / 15, 0.5)
    plots.calibration(SingleDetails((), np.zeros((0, 0), dtype=int), tuple(bins)))
    (upper, lower), dots = figures[0].axes, pixels(figures[0])
    for axes, name, height in ((upper, plots.TRAIN, 0.2), (lower, plots.GREY, 4.5)):
        shown = [colour(dots, axes, (k + 0.5) / 15, height) == as_bytes(name) for k in range(15)]
        assert shown == [k == filled for k in range(15)]
    means = [line.get_xydata().tolist() for line in upper.get_lines() if line.get_label() == "mean of the bin"]
    assert means == [[[(filled + 0.5) / 15, 0.5]]]
    assert colour(dots, upper, (filled + 0.5) / 15, 0.5) == as_bytes(plots.VALIDATION)


@pytest.mark.parametrize("count", [2, 10])
def test_runs_of_different_lengths_are_laid_over_one_another(count):
    runs = [(name, [row.__dict__ for row in epochs(i + 1)], i + 1) for i, name in enumerate(STRANGE[:count])]
    assert size(plots.comparison(runs))[0] > 1000


def test_every_run_is_in_the_legend(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "png", lambda figure: shown.append(figure) or b"")
    plots.comparison([("_a", [row.__dict__ for row in epochs(2)], 1), ("b", [row.__dict__ for row in epochs(3)], 3)])
    for axes in shown[0].axes:
        words = [text.get_text().strip() for text in axes.get_legend().get_texts()]
        assert words == ["_a", "b", "training, in each colour", "best epoch"]
