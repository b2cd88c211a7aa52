"""Contestants timed in rounds, so that what disturbs one disturbs all."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inceptory.run.timing.talk import Child, Left

MOST, LEAST = 15, 6
"""Rounds; with six the lowest and the highest of them are an interval of 95 %."""
FEWEST = 3
"""Rounds that are made however long they take."""
LEVEL = 0.95
"""Of every interval."""


@dataclass(eq=False)
class Contestant:
    """One row of the table in the making."""

    peer: str | None
    """timm, torchvision, keras or openvino; None: ours."""
    engine: str
    precision: str
    threads: int
    batch: int
    child: Child
    way: dict[str, Any]
    """What the child is told of the precision."""
    agreement: float | None = None
    medians: list[float] = field(default_factory=list)
    """Seconds, the median of each round's calls."""
    fastest: float = math.inf
    """Seconds of the fastest call of all."""

    def __str__(self) -> str:
        whose = {None: "", "openvino": "the peer's graph on "}.get(self.peer, f"{self.peer} on ")
        return f"{whose}{self.engine} {self.precision}, batch {self.batch}"

    def renewed(self) -> Contestant:
        """The same, before its first round."""
        return Contestant(
            self.peer, self.engine, self.precision, self.threads, self.batch, self.child, self.way, self.agreement
        )


def in_rounds(
    contestants: Sequence[Contestant], seconds: float, say: Callable[[str], None], tick: Callable[[], None]
) -> list[Contestant]:
    """Time them: each once a round, in an order drawn anew; gives those that lasted to the end.

    After `seconds` no round beyond LEAST begins, and none beyond FEWEST that would end after one and a half times that.
    """
    remaining, order, start = list(contestants), random.Random(0), time.perf_counter()
    for number in range(MOST):
        begun = time.perf_counter()
        for contestant in order.sample(remaining, len(remaining)):
            try:
                taken = contestant.child.ask("turn", way=contestant.way, batch=contestant.batch)["seconds"]
            except Left as fault:
                say(f"left out: {contestant}: {fault}")
                remaining.remove(contestant)
                continue
            contestant.medians.append(statistics.median(taken))
            contestant.fastest = min(contestant.fastest, *taken)
            tick()
        now = time.perf_counter()
        used, last = now - start, now - begun
        if (number + 1 >= LEAST and used > seconds) or (number + 1 >= FEWEST and used + last > 1.5 * seconds):
            break
    return remaining


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """An interval that holds the median of what the values are drawn from with LEVEL, by order statistics; None for
    fewer than LEAST values, of which not even the lowest and the highest do."""
    ordered, count = sorted(values), len(values)
    outside, rank = 0.0, 0
    while (outside := outside + math.comb(count, rank) / 2**count) <= (1 - LEVEL) / 2:
        rank += 1
    return (ordered[rank - 1], ordered[count - rank]) if rank else None
