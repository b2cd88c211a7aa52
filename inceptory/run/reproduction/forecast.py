"""How long a reproduction takes on this machine, as measured, and what takes less than a day."""

from __future__ import annotations

import csv
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inceptory.nets.drawing.table import aligned
from inceptory.run.reproduction.record import Reproduction
from inceptory.system import clock
from inceptory.system.progress import duration

if TYPE_CHECKING:
    from inceptory.learn.pace import Pace
    from inceptory.learn.settings.recipe import Recipe

DAY = 24 * 3600
NARROW, SHORT = 0.25, "20m"
"""The width, and the time for each network, of what is proposed."""
ROUND = (200, 150, 100, 50, 30, 20, 10, 5, 3, 2, 1)
"""Numbers of epochs that are proposed."""


def length(pace: Pace, recipe: Recipe) -> float:
    """Seconds of a training: of its epochs, or its time where that ends first."""
    whole = math.inf if recipe.epochs is None else recipe.epochs * pace.epoch
    return whole if recipe.time is None else min(whole, clock.seconds(recipe.time, "--time"))


def spent(folder: Path) -> float:
    """Seconds of the epochs that a run has behind it."""
    try:
        with open(folder / "history.csv", encoding="utf-8", newline="") as file:
            return sum(float(row["seconds"]) for row in csv.DictReader(file))
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return 0.0  # no epoch yet; or a damaged table, which its run writes anew after the next one


@dataclass(frozen=True)
class Forecast:
    """What a reproduction takes."""

    asked: Reproduction
    paces: Mapping[str, Pace]
    """Of the networks that are not finished."""
    before: Mapping[str, float]
    """Seconds that each of them was trained before."""

    def left(self, network: str) -> float:
        """Seconds that a network still takes."""
        whole = length(self.paces[network], self.asked.recipe_of(network))
        return max(whole - self.before.get(network, 0.0), 0.0)

    @property
    def seconds(self) -> float:
        """Seconds that all take."""
        return sum(map(self.left, self.paces))

    def __str__(self) -> str:
        rows = [("network", "a step", "an epoch", "epochs", "still to do")]
        for network, pace in self.paces.items():
            epochs = length(pace, self.asked.recipe_of(network)) / pace.epoch
            number = f"{epochs:.0f}" if self.asked.time is None else f"{epochs:.1f}"
            rows.append((network, f"{pace.step:.2f} s", duration(pace.epoch), number, duration(self.left(network))))
        return "\n".join([*aligned(rows, right=(1, 2, 3, 4)), f"in all {duration(self.seconds)}"])


def proposals(asked: Reproduction, paces: Mapping[float, Mapping[str, Pace]]) -> list[tuple[str, float]]:
    """(flags in place of those that were given, seconds in all) of what takes less than a day.

    `paces` are those of all networks by width.
    """
    offers = list[tuple[Reproduction, float]]()
    for width, each in paces.items():
        whole = replace(asked, width=width, time=None)
        most = min(whole.recipe_of(network).epochs or math.inf for network in each)
        for other in [whole, *(replace(whole, epochs=epochs) for epochs in ROUND if epochs < most)]:
            seconds = sum(length(pace, other.recipe_of(network)) for network, pace in each.items())
            if seconds < DAY and other != asked:
                offers.append((other, seconds))
                break
    narrowest = min(paces)
    timed = replace(asked, width=narrowest, time=SHORT, epochs=None)
    offers.append((timed, len(paces[narrowest]) * clock.seconds(SHORT, "--time")))
    return [(shlex.join(other.flags()), seconds) for other, seconds in offers]
