"""The vectors of pictures drawn in two dimensions. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inceptory.measure.vectors import Plane
from inceptory.report import plots

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMED = 12
"""Classes with a colour and a line in the legend; pictures of all others are grey."""
COLOURS = (
    *("#3b6fb6", "#e08a2e", "#3f8f5b", "#c8443c", "#8e5fb0", "#8a5a44"),
    *("#d977ae", "#2fa3a3", "#a8a832", "#24406e", "#8fc46a", "#e3b9a0"),
)
DOT: dict[str, Any] = {"s": 16, "linewidths": 0}
RING: dict[str, Any] = {"s": 30, "linewidths": 1.1, "edgecolors": "#202020", "zorder": 3}
"""Of a picture that was answered rightly, and of one that was not."""


def features(plane: Plane, classes: Sequence[str]) -> bytes:
    """Each picture as a dot in the colour of its class, with a dark ring around those that were answered incorrectly.

    `classes` are the names of the labels. Of many classes the commonest have a colour.
    """
    import numpy as np

    counts = np.bincount(plane.labels, minlength=len(classes))
    named = np.sort(np.argsort(-counts, kind="stable")[:NAMED])
    figure = plots.blank(9, 6.2)
    axes = figure.subplots()

    def dots(some: NDArray[np.bool_], colour: str, label: str) -> None:
        for ringed in (False, True):
            x, y = plane.points[some & (plane.wrong == ringed)].T
            style = RING if ringed else {"label": label, "alpha": 0.75, **DOT}
            axes.scatter(x, y, color=colour, **style)

    # First, so that they lie below.
    if (rest := np.count_nonzero(counts) - np.count_nonzero(counts[named])) > 0:
        dots(~np.isin(plane.labels, named), "#c9ced3", f"{rest:,} other class{'es' * bool(rest > 1)}")
    for row, colour in zip(named[counts[named] > 0].tolist(), COLOURS, strict=False):
        # The space is needed: matplotlib leaves labels that begin with an underscore out of the legend.
        dots(plane.labels == row, colour, f" {plots.names(classes)[row]}")
    if plane.wrong.any():
        axes.scatter([], [], color="none", label="answered incorrectly", **RING)
    for text in figure.legend(loc="outside right upper", frameon=False, markerscale=1.6, fontsize=9).get_texts():
        text.set(parse_math=False, fontfamily=plots.families())
    along, across = (f"{100 * share:.0f} % of the variance" for share in plane.shares)
    axes.set(xlabel=along, ylabel=across, xticks=[], yticks=[])
    axes.spines[["top", "right"]].set_visible(False)
    return plots.png(figure)
