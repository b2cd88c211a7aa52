"""The pictures of a run as PNG: curves, confusion matrix, calibration. Without torch."""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable, Sequence
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from inceptory.errors import printable
from inceptory.measure.results import Epoch
from inceptory.system.outputs import MARK

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from inceptory.measure.single_label import SingleDetails

TRAIN, VALIDATION = "#3b6fb6", "#d1622b"
GREY = "#8a8a8a"
CYCLE = ("#3b6fb6", "#d1622b", "#3f8f5b", "#8e5fb0", "#b8902b", "#2f8f8f", "#b3527f", "#5c6670")
"""Colours of the runs in one plot."""
DPI = 144
NUMBERED = 20
"""Largest number of classes for which the cells of a confusion matrix show their numbers."""
DRAWN = 200
"""Largest number of classes for which the matrix is drawn; above it, the pairs that are confused most."""
PAIRS = 30
MARKED = 40
"""Largest number of epochs for which each has a dot on its curve."""
LOSS = "log-loss (cross-entropy), nats"
FAR = 10
"""The axis is logarithmic if the largest loss is more than so many times the median."""
TILE, GAP, LINE, COLUMNS = 128, 12, 18, 8
"""Pictures side by side: longest side, gap and height of a line of text, in dots; pictures in a row."""
LONGEST_NAME = 24
FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "Arial Unicode MS",
)
"""Font families with Chinese, Japanese or Korean letters; a machine has some of them or none."""


@cache
def load() -> None:
    """Load matplotlib without the `matplotlibrc` of the current folder, which may have come with a data set.

    To be called ahead of every import from matplotlib: whichever runs first decides which settings are read.
    """
    real = os.path.exists
    os.path.exists = lambda path: path != "matplotlibrc" and real(path)
    try:
        importlib.import_module("matplotlib")
    finally:
        os.path.exists = real


# Letters


@cache
def families() -> tuple[str, ...]:
    """matplotlib's own font, then the installed ones of FONTS; each letter comes from the first font that has it."""
    load()
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return "DejaVu Sans", *(name for name in FONTS if name in installed)


@cache
def _letters() -> frozenset[int]:
    """Code points that can be drawn."""
    load()
    from matplotlib.font_manager import findfont, get_font

    charmaps = (get_font(findfont(name)).get_charmap() for name in families())
    return frozenset(letter for charmap in charmaps for letter in charmap)


def names(labels: Sequence[str]) -> list[str]:
    """Class names that can be drawn: cut to 24 letters, and `class 3` if no font has all letters."""
    return [
        _cut(printable(label)) if {ord(letter) for letter in printable(label)} <= _letters() else f"class {row}"
        for row, label in enumerate(labels)
    ]


def _cut(text: str, most: int = LONGEST_NAME) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


# Drawing


def blank(width: float, height: float) -> Figure:
    """A figure without anything on it, in inches."""
    # The object interface: no global state, no window system, safe in any thread.
    load()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, **known: str) -> bytes:
    """The figure as a file that bears our mark, and what else is said of it ("Title", ...)."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DPI, metadata={"Software": MARK, **known})
    return image.getvalue()


def _tidy(axes: Axes, **labels: Any) -> None:
    axes.set(**labels)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _whole_numbers(axes: Axes) -> None:
    load()
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def _over_epochs(axes: Axes, name: str, first: int, last: int) -> None:
    # At least half an epoch, so that a run of one epoch has an axis as well.
    margin = max(0.5, 0.02 * last)
    _tidy(axes, xlabel="epoch", ylabel=name, xlim=(first - margin, last + margin))
    _whole_numbers(axes)


def _scale(axes: Axes, values: Sequence[float], name: str) -> None:
    """A logarithmic axis if a few losses are so large that the others would look like a flat line."""
    if name == LOSS and min(values) > 0 and max(values) > FAR * median(values):
        axes.set_yscale("log")


def _line(axes: Axes, epochs: Sequence[int], values: Sequence[float], colour: str, **style: Any) -> None:
    dots = {"marker": "o", "markersize": 3.5} if len(epochs) <= MARKED else {}
    axes.plot(epochs, values, color=colour, linewidth=1.6, **{**dots, **style})


def curves(title: str, epochs: Sequence[Epoch], kept: Epoch) -> bytes:
    """Log-loss and accuracy over the epochs, each for training and validation pictures; one of them is kept."""
    figure = blank(11, 4.2)
    left, right = figure.subplots(1, 2)
    numbers = [row.epoch for row in epochs]
    series = (
        (left, LOSS, [row.train_log_loss for row in epochs], [row.validation_log_loss for row in epochs]),
        (right, f"{kept.measure}, %", *([100 * row.right[part] for row in epochs] for part in (0, 1))),
    )
    if kept.choice != kept.measure:
        _line(
            right,
            numbers,
            [100 * row.chosen for row in epochs],
            VALIDATION,
            linestyle="--",
            label=f"validation {kept.choice}",
        )
    for axes, name, train, validation in series:
        _scale(axes, [*train, *validation], name)
        _line(axes, numbers, train, TRAIN, label="training (augmented, in train mode, weights of each step)")
        _line(axes, numbers, validation, VALIDATION, label="validation (weights that are kept)")
        axes.axvline(kept.epoch, color=GREY, linewidth=1, linestyle=":", label=f"kept: epoch {kept.epoch}")
        _over_epochs(axes, name, numbers[0], numbers[-1])
    # Below both plots, since the labels are too long for a corner.
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{title}: validation {kept.choice} {100 * kept.chosen:.1f} % in epoch {kept.epoch}, which is kept")
    return png(figure)


def pictures(pixels: NDArray[np.uint8], labels: Sequence[Sequence[tuple[str, float]]]) -> bytes:
    """Pictures (n, H, W, C) side by side, each above its label: (name, share) of one class, or of two."""
    import numpy as np

    tiles = [_tile(picture) for picture in pixels]
    high, wide = tiles[0].shape[0] + LINE * max(map(len, labels)) + GAP, tiles[0].shape[1] + GAP
    columns = min(len(tiles), COLUMNS)
    rows = -(-len(tiles) // columns)
    canvas = np.zeros((rows * high, columns * wide, 4), dtype=np.uint8)
    figure = blank(canvas.shape[1] / DPI, canvas.shape[0] / DPI)
    figure.set_layout_engine("none")
    # Transparent between the pictures, with letters in a grey that can be read on white and on black.
    figure.patch.set_alpha(0)
    for number, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        top, left = number // columns * high, number % columns * wide + GAP // 2
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        place = (left + tile.shape[1] / 2) / canvas.shape[1], 1 - (top + tile.shape[0] + 3) / canvas.shape[0]
        style: dict[str, Any] = {"fontsize": 7, "fontfamily": families(), "parse_math": False, "color": GREY}
        figure.text(*place, _caption(label), ha="center", va="top", **style)
    figure.figimage(canvas)
    return png(figure)


def _tile(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture in RGBA in its drawn size: small ones are enlarged by a whole factor, so that each pixel is visible."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGBA")
    factor = TILE // max(picture.size)
    if factor:
        picture = picture.resize([factor * side for side in picture.size], Image.Resampling.NEAREST)
    else:
        picture.thumbnail((TILE, TILE))
    return np.asarray(picture)


def _caption(label: Sequence[tuple[str, float]]) -> str:
    words = zip(names([name for name, _ in label]), label, strict=True)
    return "\n".join(
        f"{_cut(word, 10)}: {100 * share:.0f} %" if len(label) > 1 else _cut(word, 16) for word, (_, share) in words
    )


def confusion(details: SingleDetails) -> bytes:
    """The confusion matrix: with numbers for few classes, in colours for many; for very many, the worst pairs."""
    return _matrix(details) if len(details.classes) <= DRAWN else _pairs(details)


def _matrix(details: SingleDetails) -> bytes:
    load()
    import numpy as np
    from matplotlib.colors import PowerNorm

    count, numbered = len(details.classes), len(details.classes) <= NUMBERED
    side = max(3.0, count * (0.42 if numbered else 0.13)) + 1.6
    figure = blank(side + 0.7, side)
    axes = figure.subplots()
    shares = details.confusion / np.maximum(details.confusion.sum(1, keepdims=True), 1)
    # The square root makes rare mistakes visible, which would otherwise look white.
    image = axes.imshow(100 * shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    size = 9 if numbered else 6
    style: dict[str, Any] = {"fontsize": size, "fontfamily": families(), "parse_math": False}
    axes.set_xticks(range(count), names(details.labels), rotation=90, **style)
    axes.set_yticks(range(count), names(details.labels), **style)
    axes.tick_params(length=0)
    axes.set(xlabel="answer", ylabel="truth")
    figure.colorbar(image, ax=axes, label="% of the class's pictures", shrink=0.6)
    for row, column in zip(*details.confusion.nonzero(), strict=True) if numbered else ():
        colour = "white" if shares[row, column] > 0.35 else "#202020"
        text = f"{details.confusion[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=size - len(text) // 4, color=colour)
    return png(figure)


def _pairs(details: SingleDetails) -> bytes:
    worst = details.confused(PAIRS)[::-1]
    figure = blank(8, 1.5 + 0.24 * max(len(worst), 3))
    axes = figure.subplots()
    drawable = dict(zip(details.labels, names(details.labels), strict=True))
    axes.barh(range(len(worst)), [count for *_, count in worst], color=VALIDATION, height=0.7)
    labels = [f"{drawable[truth]} → {drawable[answer]}" for truth, answer, _ in worst]
    axes.set_yticks(range(len(worst)), labels, fontsize=8, fontfamily=families(), parse_math=False)
    axes.set_ylim(-0.7, max(len(worst), 3) - 0.3)
    _tidy(axes, xlabel="pictures", title="truth → answer: the pairs that are confused most")
    _whole_numbers(axes)
    return png(figure)


def calibration(details: SingleDetails) -> bytes:
    """Accuracy over confidence, and how many pictures each bin holds."""
    bins = details.bins
    figure = blank(5, 5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    left, width = [part.low for part in bins], bins[0].high - bins[0].low
    edges: dict[str, Any] = {"align": "edge", "width": width, "edgecolor": "white", "linewidth": 0.5}
    upper.bar(left, [part.accuracy or 0.0 for part in bins], color=TRAIN, label="accuracy", **edges)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as confident as right")
    filled = [part for part in bins if part.n]
    points = [part.confidence or 0.0 for part in filled], [part.accuracy or 0.0 for part in filled]
    upper.plot(*points, color=VALIDATION, marker="o", markersize=3.5, linestyle="", label="mean of the bin")
    _tidy(
        upper,
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(0, 1.02),
        title=f"calibration error {100 * details.calibration_error():.1f} %",
    )
    upper.legend(loc="upper left", edgecolor="none", framealpha=0.85)
    lower.bar(left, [part.n for part in bins], color=GREY, **edges)
    _tidy(lower, xlabel="probability of the answer", ylabel="pictures")
    return png(figure)


DRAWINGS: dict[str, Callable[[Any], bytes]] = {"confusion": confusion, "calibration": calibration}
"""The plots of details that a task may have, by their names in `Task.drawings`."""


def rates(title: str, points: Sequence[tuple[float, float, float]], lowest: float, suggested: float) -> bytes:
    """Loss against learning rate: (rate, objective, its running mean) of each step, and the suggested rate."""
    figure = blank(7, 4.2)
    axes = figure.subplots()
    lrs, objectives, smooth = zip(*points, strict=True)
    axes.plot(lrs, objectives, color=GREY, alpha=0.5, linewidth=0.8, label="of each step")
    axes.plot(lrs, smooth, color=TRAIN, linewidth=1.8, label="running mean")
    axes.axvline(lowest, color=GREY, linewidth=1, linestyle=":", label=f"smallest at {lowest:.2g}")
    axes.axvline(suggested, color=VALIDATION, linewidth=1.4, label=f"suggested: {suggested:g}")
    # Losses after the smallest one set no limit: the last ones may be so large that the rest would look flat.
    low, high = min(objectives), max(smooth[0], *smooth[: lrs.index(lowest) + 1])
    axes.set_xscale("log")
    _tidy(axes, xlabel="learning rate", ylabel="objective", ylim=(low - 0.1 * (high - low), high + 0.6 * (high - low)))
    axes.legend(frameon=False)
    figure.suptitle(printable(title), parse_math=False, fontfamily=families())
    return png(figure)


def comparison(
    runs: Sequence[tuple[str, Sequence[dict[str, float]], int]], measure: str = "top-1", measured: str = "validation"
) -> bytes:
    """The curves of several runs in one plot; each run is (name, rows of history, best epoch).

    `measure` is the name of the number in the columns train_top1 and validation_top1, `measured` that of the pictures
    in the latter.
    """
    figure = blank(11, 4.8)
    left, right = figure.subplots(1, 2)
    first = min(int(history[0]["epoch"]) for _, history, _ in runs)
    last = max(int(history[-1]["epoch"]) for _, history, _ in runs)
    for axes, name, what, factor in ((left, LOSS, "log_loss", 1), (right, f"{measure}, %", "top1", 100)):
        drawn = [_one_of_many(axes, row, run, what, factor) for row, run in enumerate(runs)]
        _scale(axes, [value for values in drawn for value in values], name)
        _over_epochs(axes, name, first, last)
        axes.plot([], [], color=GREY, linestyle=":", label="training, in each colour")
        axes.plot([], [], color=GREY, linestyle="", marker="D", label="best epoch")
        for text in axes.legend(frameon=False, fontsize=9).get_texts():
            text.set(parse_math=False, fontfamily=families())
    figure.suptitle(f"{measured} (lines) and training (dotted) over the epochs")
    return png(figure)


def _one_of_many(
    axes: Axes, row: int, run: tuple[str, Sequence[dict[str, float]], int], what: str, factor: float
) -> list[float]:
    """Draw one run's curves of "log_loss" or "top1"; returns all values that are drawn."""
    name, history, best = run
    colour, dashes = CYCLE[row % len(CYCLE)], ("-", "-.")[row // len(CYCLE) % 2]
    epochs = [int(line["epoch"]) for line in history]
    train, validation = ([factor * line[f"{part}_{what}"] for line in history] for part in ("train", "validation"))
    _line(axes, epochs, train, colour, linestyle=":", alpha=0.8)
    # The space is needed: matplotlib leaves labels that begin with an underscore out of the legend.
    _line(axes, epochs, validation, colour, linestyle=dashes, label=f" {names([name])[0]}")
    at = [value for epoch, value in zip(epochs, validation, strict=True) if epoch == best]
    axes.plot([best] * len(at), at, color=colour, linestyle="", marker="D", markersize=7, markeredgecolor="white")
    return train + validation
