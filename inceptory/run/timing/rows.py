"""What `bench` found: rows as a table for people and as records for programs, and pairs of rows side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from inceptory.engines.choice import AGREED
from inceptory.run.timing.rounds import LEVEL, Contestant, interval
from inceptory.system.files import json_text

KEYS = ("model", "engine", "precision", "batch", "image", "threads", "peer")
FIGURES = ("ms_median", "ms_min", "images_per_s", "agreement")


@dataclass(frozen=True)
class Row:
    """One way to compute one network."""

    model: str
    engine: str
    precision: str
    batch: int
    image: int
    threads: int
    peer: str | None
    ms_median: float
    """Milliseconds of a batch, the median over the rounds of the median of each round's calls."""
    ms_min: float
    """Of the fastest call of all."""
    images_per_s: float
    agreement: float | None
    """Share of the pictures whose first label is that in fp32; None where it is not proved."""
    busy: bool
    """Whether another process kept one processor busy meanwhile."""
    ms: tuple[float, ...]
    """Of each round."""
    versions: str = ""
    """Of a peer's packages."""

    @classmethod
    def of(cls, model: str, image: int, one: Contestant, busy: bool) -> Row:
        """What a contestant has shown."""
        middle = statistics.median(one.medians)
        figures = (round(1000 * middle, 3), round(1000 * one.fastest, 3), round(one.batch / middle, 2))
        who = (model, one.engine, one.precision, one.batch, image, one.threads, one.peer)
        return cls(*who, *figures, one.agreement, busy, tuple(1000 * each for each in one.medians), one.child.versions)

    def record(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {key: getattr(self, key) for key in (*KEYS, *FIGURES)}


@dataclass(frozen=True)
class Pair:
    """Ours against a peer's, by the rounds in which both were timed."""

    ours: Row
    peer: Row

    @property
    def times(self) -> tuple[float, tuple[float, float] | None]:
        """(how many times as fast ours is, the median of the rounds; its interval)."""
        ratios = [b / a for a, b in zip(self.ours.ms, self.peer.ms, strict=True)]
        return statistics.median(ratios), interval(ratios)

    def __str__(self) -> str:
        times, between = self.times
        spread = f" ({between[0]:.2f} to {between[1]:.2f})" if between else ""
        proved = "" if _proved(self.ours) else ", unproved"
        return f"{self.ours.engine} {self.ours.precision}{proved}: {times:.2f} times{spread} {_who(self.peer)}"


@dataclass(frozen=True)
class Bench:
    """Every row, in the order of the models; those beside a busy process follow the others of their model."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """The processor, and how it was measured."""
    json: bool = False

    def records(self) -> list[dict[str, Any]]:
        """As `--json` prints them."""
        return [row.record() for row in self.rows]

    def pairs(self) -> list[Pair]:
        """Our fastest in each precision against each peer; against the peer's graph on OpenVINO only in its own."""
        return [pair for group in self._groups() for pair in _pairs(group)]

    def table(self) -> str:
        """For people."""
        lines = list(self.notes)
        for group in self._groups():
            first = group[0]
            busy = ", beside a busy process" if first.busy else ""
            title = f"{first.model}, batch {first.batch}, {first.image} pixels, {first.threads} threads{busy}"
            lines += ["", title, *map(_line, sorted(group, key=lambda row: row.ms_median)), *map(str, _pairs(group))]
        return "\n".join(lines)

    def _groups(self) -> Iterator[list[Row]]:
        """Rows that were timed in the same rounds at the same batch."""

        def key(row: Row) -> tuple[Any, ...]:
            return row.busy, row.model, row.threads, row.batch

        names = list(dict.fromkeys(row.model for row in self.rows))
        ordered = sorted(self.rows, key=lambda row: (names.index(row.model), row.busy, row.threads, row.batch))
        return (list(group) for _, group in groupby(ordered, key))

    def __str__(self) -> str:
        return json_text(self.records(), indent=2) if self.json else self.table()


def _pairs(group: Sequence[Row]) -> list[Pair]:
    ours = dict[str, Row]()
    for row in sorted((row for row in group if row.peer is None), key=lambda row: row.ms_median):
        ours.setdefault(row.precision, row)
    peers = [row for row in group if row.peer is not None]
    return [
        Pair(own, peer)
        for peer in peers
        for own in ours.values()
        if peer.peer != "openvino" or (own.precision == peer.precision)
    ]


def _proved(row: Row) -> bool:
    return row.precision == "fp32" or (row.agreement is not None and row.agreement >= AGREED)


def _who(row: Row) -> str:
    if row.peer is None:
        return f"inceptory {row.engine} {row.precision}"
    return f"{row.peer} {row.precision}" if row.peer != "openvino" else f"peer's graph, openvino {row.precision}"


def _line(row: Row) -> str:
    between = interval(row.ms)
    spread = f"{between[0]:.1f} to {between[1]:.1f}" if between else f"fewer than needed for {100 * LEVEL:.0f} %"
    agreement = "" if row.agreement is None else f"  agrees on {100 * row.agreement:.2f} %"
    figures = f"{row.ms_median:9.1f} ms ({spread}; least {row.ms_min:.1f})"
    return f"  {_who(row):<34}{figures}{row.images_per_s:9.1f} images/s{agreement}"
