"""What a new head keeps of how far pictures may be from those of its training. No torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.measure.novelty import Novelty
from inceptory.system.machine import calm

FEWEST = 19
"""Held-out pictures: of fewer more than one in twenty pictures like them would be marked."""


def novelty_of(
    vectors: NDArray[np.float32],
    fitted: NDArray[np.int64],
    held: NDArray[np.int64],
    turns: NDArray[np.int64],
) -> dict[str, Any]:
    """The `novelty` of a card, from vectors (n, length) of which a network's rows `fitted` were its training.

    Rows `held` had no part in it; they are measured from the others. Where they took turns instead, each of them in the
    turn that `turns` (m,) says, each turn is measured from the vectors of all others, and what is kept is of all
    (`Novelty.cross_fitted`). Vectors must be of the very network that the card is of, of pictures as they are. Nothing
    where too few were held out, which a line then says.
    """
    if len(held) < FEWEST:
        told = f"{len(held)} pictures held back, at least {FEWEST} are needed"
        print(f"no picture will be marked as unlike the training pictures: {told}", file=sys.stderr)
        return {}
    with calm(vectors.size):
        if not len(turns):
            return Novelty.of(vectors[fitted], vectors[held]).to_json()
        parts = np.full(len(vectors), -1)
        parts[held] = turns
        return Novelty.cross_fitted(vectors[fitted], parts[fitted]).to_json()
