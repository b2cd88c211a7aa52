"""What the wrong answers of a new head rest on, by vectors that are there already. No torch of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inceptory.engines.device import Device
from inceptory.engines.torch import TorchEngine
from inceptory.learn.reasons import Time, explained, plane_of
from inceptory.learn.transfer.seen import Seen
from inceptory.measure.evaluate import Scored
from inceptory.measure.vectors import Gallery, Insight, Plane, Rows, sampled
from inceptory.weights.model import load


def head_explained(
    seen: Seen, fitted: Rows, measured: Seen, rows: Rows, test: Scored, model: Path, seed: int, used: float
) -> Insight:
    """What answers to `rows` of `measured` rest on, of a head that was fitted on the rows `fitted` of `seen`.

    `model` is the file of the network with that head, whose own the vectors are; `used` are the seconds that the run
    took.
    """
    engine = TorchEngine(
        load(model).to(seen.extractor.device), seen.extractor.preprocess, Device(seen.extractor.device)
    )
    places = sampled(len(rows), seed)

    def near() -> Gallery:
        own = np.full(len(seen), -1)
        own[fitted] = np.arange(len(fitted))
        names, pixels = seen.shown(fitted)
        mine = own[rows] if measured is seen else None
        return Gallery(seen.vectors[fitted, 0], seen.labels[fitted], names, pixels, len(fitted), mine)

    def plane() -> Plane | None:
        return plane_of(test, measured.vectors[rows[places], 0], places)

    return explained(engine, test, seen.source.classes, plane, near, Time.of(used))
