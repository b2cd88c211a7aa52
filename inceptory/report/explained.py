"""Why a network answers as it does, as one PNG a picture: heat over the picture, and what each branch adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inceptory.report import plots

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TITLE = "explanation"
"""What each of the files is called inside."""
SIDE, GAP, ROW, HEAD = 2.5, 0.14, 0.23, 0.48
"""Inches: a panel's sides, the space around it, a bar with the space to the next, two lines above a panel."""
COVER = 0.75
"""How much of the picture the strongest heat hides."""
REACH = 1.5
"""Half the width of the bars over the longest of them: its number stands beside it."""


@dataclass(frozen=True)
class Panel:
    """One label of a picture."""

    label: str
    """As `plots.names` has it."""
    probability: float
    heat: NDArray[np.float32]
    """(H, W), from 0 on."""
    contributions: Mapping[str, float]
    """What adds up to the label's logit, by what it is called beside the bars."""


def explained(picture: NDArray[np.uint8], stage: str, module: str, panels: Sequence[Panel]) -> bytes:
    """The picture (H, W, C) in RGB or grey, a panel for each label, and below each what adds up to its logit.

    `stage` is where the heat was taken, `module` where the bars were.
    """
    names = [*panels[0].contributions]
    columns, rows = 1 + len(panels), len(names) + 2
    figure = plots.blank(GAP + columns * (SIDE + GAP), HEAD + SIDE + GAP + rows * ROW + GAP)
    figure.set_layout_engine("none")
    upper = [_place(figure, column, HEAD, SIDE) for column in range(columns)]
    lower = [_place(figure, column, HEAD + SIDE + GAP, rows * ROW) for column in range(columns)]
    _show(upper[0], picture, f"as the network saw it\nheat: Grad-CAM after {stage}")
    _write(lower[0], [f"{module} adds to the logit", *names, "logit"])
    furthest = max(abs(value) for panel in panels for value in panel.contributions.values()) or 1.0
    for place, bars, panel in zip(upper[1:], lower[1:], panels, strict=True):
        _show(place, picture, f"{panel.label}\n{100 * panel.probability:.1f} %")
        _heat(place, panel.heat)
        _bars(bars, [*panel.contributions.values()], furthest)
    return plots.png(figure, Title=TITLE)


def _place(figure: Figure, column: int, top: float, height: float) -> Axes:
    """An empty place of a panel's width, so many inches from the top."""
    wide, high = figure.get_size_inches()
    left = GAP + column * (SIDE + GAP)
    axes = figure.add_axes((left / wide, 1 - (top + height) / high, SIDE / wide, height / high))
    axes.axis("off")
    return axes


def _show(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    # Small pictures keep their pixels: a blurred one is not what the network saw.
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
    axes.imshow(picture.squeeze(-1) if picture.shape[2] == 1 else picture, interpolation="nearest", **grey)
    axes.set_title(title, fontsize=9, fontfamily=plots.families(), parse_math=False)


def veil(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 4) red, green, blue and opacity from 0 to 1 of heat (H, W): what is laid over the picture.

    The strongest heat hides three quarters of it, none hides nothing; without any heat all is clear, and where a
    network that diverged gives no number.
    """
    plots.load()
    import numpy as np
    from matplotlib import colormaps

    heat = np.where(np.isfinite(heat), heat, 0)
    strongest = float(heat.max())
    shares = heat / strongest if strongest > 0 else heat
    colours: NDArray[np.float32] = colormaps["inferno"](shares).astype(heat.dtype)
    colours[..., 3] = COVER * shares
    return colours


def _heat(axes: Axes, heat: NDArray[np.float32]) -> None:
    if heat.max() > 0:
        axes.imshow(veil(heat), interpolation="bilinear")
    else:
        style: dict[str, Any] = {"fontsize": 8, "color": "white", "backgroundcolor": "#000000b0"}
        axes.text(0.5, 0.5, "nothing here\nspeaks for it", ha="center", va="center", transform=axes.transAxes, **style)


def _write(axes: Axes, lines: Sequence[str]) -> None:
    """The words to the left of the bars: a heading, what each bar is, and their sum."""
    axes.set(xlim=(0, 1), ylim=(len(lines) - 0.5, -0.5))
    for row, line in enumerate(lines):
        style: dict[str, Any] = {"color": plots.GREY} if row == 0 else {}
        axes.text(1, row, line, ha="right", va="center", fontsize=8, parse_math=False, **style)


def _bars(axes: Axes, values: Sequence[float], furthest: float) -> None:
    """A bar for each value, below an empty line, and their sum."""
    axes.set(xlim=(-REACH * furthest, REACH * furthest), ylim=(len(values) + 1.5, -0.5))
    rows = range(1, len(values) + 1)
    colours = [plots.TRAIN if value >= 0 else plots.VALIDATION for value in values]
    axes.barh(rows, values, color=colours, height=0.7)
    axes.plot([0, 0], [0.5, len(values) + 0.5], color=plots.GREY, linewidth=0.8)
    for row, value in zip(rows, values, strict=True):
        side, place = (1, "left") if value >= 0 else (-1, "right")
        axes.text(value + 0.05 * side * furthest, row, _number(value, furthest), ha=place, va="center", fontsize=7.5)
    total = _number(sum(values), furthest)
    axes.text(0, len(values) + 1, total, ha="center", va="center", fontsize=8, fontweight="bold")


def _number(value: float, furthest: float) -> str:
    """With two digits behind the point, or where all are small with as many as tell them apart."""
    digits = max(2, 1 - math.floor(math.log10(furthest)))
    return f"{round(value, digits) + 0.0:+.{digits}f}" if digits < 6 else f"{value:+.1e}"  # 0.0: no -0.00
