"""Why a network answers as it does, as one PNG a picture: heat over the picture, and what each branch adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inceptory.errors import printable
from inceptory.report import plots

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TITLE = "explanation"
"""What each of the files is called inside."""
SIDE = 2.5
"""Inches of a panel's width."""
BAR = 0.24
"""Inches of a bar's height, with its share of the space between."""
COVER = 0.72
"""How much of the picture the strongest heat hides."""
HEAT = "inferno"


@dataclass(frozen=True)
class Panel:
    """One label of a picture."""

    label: str
    probability: float
    heat: NDArray[np.float32]
    """(H, W), from 0 on."""
    contributions: Mapping[str, float]
    """What each part of a module adds to the logit, by what it is called under the panels."""


def explained(picture: NDArray[np.uint8], title: str, stage: str, module: str, panels: Sequence[Panel]) -> bytes:
    """The picture (H, W, C) in RGB or grey, a panel for each label, and below each the bars of its module."""
    rows = len(panels[0].contributions)
    figure = plots.blank(SIDE * (1 + len(panels)), SIDE + BAR * rows + 1.35)
    upper, lower = figure.subplots(2, 1 + len(panels), height_ratios=(SIDE, BAR * rows + 0.2))
    _picture(upper[0], picture, f"{_words(title, 30)}\nas the network saw it")
    lower[0].axis("off")
    furthest = max(abs(value) for panel in panels for value in panel.contributions.values()) or 1.0
    for place, bars, panel in zip(upper[1:], lower[1:], panels, strict=True):
        _heat(place, picture, panel)
        _bars(bars, panel.contributions, furthest, named=panel is panels[0])
    _say(figure, stage, module)
    return plots.png(figure, Title=TITLE)


def _words(text: str, most: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= most else f"{shown[: most // 2]}…{shown[-most // 2 + 1 :]}"


def _picture(axes: Axes, picture: NDArray[np.uint8], title: str) -> None:
    # Small pictures keep their pixels: a blurred one is not what the network saw.
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
    axes.imshow(picture.squeeze(-1) if picture.shape[2] == 1 else picture, interpolation="nearest", **grey)
    axes.set_title(title, fontsize=9, fontfamily=plots.families(), parse_math=False)
    axes.axis("off")


def _heat(axes: Axes, picture: NDArray[np.uint8], panel: Panel) -> None:
    strongest = float(panel.heat.max())
    label = plots.names([panel.label])[0]
    _picture(axes, picture, f"{label}\n{100 * panel.probability:.1f} %")
    if strongest > 0:
        shares = panel.heat / strongest
        axes.imshow(shares, cmap=HEAT, vmin=0, vmax=1, alpha=COVER * shares, interpolation="bilinear")
    else:
        style: dict[str, Any] = {"fontsize": 8, "color": "white", "backgroundcolor": "#000000a0"}
        axes.text(0.5, 0.5, "nothing here\nspeaks for it", ha="center", va="center", transform=axes.transAxes, **style)


def _bars(axes: Axes, contributions: Mapping[str, float], furthest: float, *, named: bool) -> None:
    values = [*contributions.values()]
    colours = [plots.TRAIN if value >= 0 else plots.VALIDATION for value in values]
    places = range(len(values))
    axes.barh(places, values, color=colours, height=0.7)
    axes.set_yticks(places, [*contributions] if named else [], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color=plots.GREY, linewidth=0.8)
    axes.set_xlim(-1.45 * furthest, 1.45 * furthest)
    for place, value in zip(places, values, strict=True):
        side = {"ha": "left" if value >= 0 else "right", "va": "center"}
        gap = 0.04 * furthest * (1 if value >= 0 else -1)
        axes.text(value + gap, place, f"{value:+.2f}", fontsize=7.5, color="#404040", **side)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)


def _say(figure: Figure, stage: str, module: str) -> None:
    told = f"above: where {stage} speaks for the label (Grad-CAM) · below: what each part of {module} adds to its logit"
    figure.text(0.5, 0.01, told, ha="center", va="bottom", fontsize=8, color=plots.GREY)
