"""Which validation pictures choose the best epoch, and which are kept apart to calibrate the network that it left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels, combinations
from inceptory.data.sources.source import SEED

LEAST = 50
"""Pictures from which a calibration is of use. What a threshold for 90 % covers is then within 4 points of it (one
deviation, Beta(46, 5)), and hangs on the fifth strangest picture; with 9 it hangs on the strangest, within 9 points."""
MOST = 2_000
"""Pictures from which more of them say little more (0.7 points): they choose instead."""


@dataclass(frozen=True)
class Halves:
    """Rows of the validation split."""

    choose: NDArray[np.int64]
    """(n,) measured after each epoch."""
    calibrate: NDArray[np.int64]
    """(m,) without a part in any choice; none where there are too few pictures."""
    note: str = ""
    """What a person should know of it."""

    @classmethod
    def of(cls, labels: Labels, calibrated: bool) -> Halves:
        """Of the (N,) or (N, K) labels of a validation split, of which half, or 2,000 pictures, calibrate if asked.

        The training loses no picture by that, and an epoch is chosen nearly as well by half as many. The parts are the
        same for every run, so that figures of several runs are of the same pictures.
        """
        rows, count = np.arange(len(labels)), min(len(labels) // 2, MOST)
        if not calibrated or count < LEAST:
            few = f"{len(labels):,} validation pictures are too few to keep some apart for `predict --coverage`"
            note = f"{few}, all choose the best epoch ({2 * LEAST} would do)" if calibrated else ""
            return cls(rows, rows[:0], note)
        held = _spread(labels, count)
        note = f"of {len(labels):,} validation pictures {len(labels) - count:,} choose the best epoch"
        return cls(rows[~held], rows[held], f"{note}, {count:,} calibrate it")


def _spread(labels: Labels, count: int) -> NDArray[np.bool_]:
    """(N,) which pictures to take: so many, of each class its share, and each with the same chance.

    `stratified` takes one of every class that has two, and none of one that has one: pictures of small classes
    would be rarer, or more frequent, than among those that the calibration speaks of.
    """
    random, kinds = np.random.default_rng(SEED), combinations(labels)
    place = random.permutation(kinds.max() + 1)[kinds]
    order = np.lexsort((random.permutation(len(labels)), place))
    held = np.zeros(len(labels), dtype=bool)
    held[order[((np.arange(count) + random.random()) * (len(labels) / count)).astype(np.int64)]] = True
    return held
