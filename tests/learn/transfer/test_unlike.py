"""What a head keeps of how far pictures may be is of pictures that had no part in the training."""

from __future__ import annotations

import numpy as np

from inceptory.learn.transfer.unlike import FEWEST, novelty_of
from inceptory.measure.novelty import Novelty

VECTORS = np.random.default_rng(0).random((60, 12)).astype(np.float32) ** 4
NONE = np.empty(0, np.int64)


def test_pictures_held_out_once_are_measured_from_those_fitted_alone():
    rows = np.random.default_rng(1).permutation(60)
    found = novelty_of(VECTORS, rows[:30], rows[40:], NONE)
    assert found == Novelty.of(VECTORS[rows[:30]], VECTORS[rows[40:]]).to_json()


def test_pictures_that_take_turns_are_measured_from_all_others():
    # The first is the only one of its class, and is never held back.
    held, turns = np.arange(1, 60), np.arange(59) % 3
    found = novelty_of(VECTORS, np.arange(60), held, turns)
    assert found == Novelty.cross_fitted(VECTORS, np.concatenate([[-1], turns])).to_json()


def test_too_few_pictures_keep_nothing_and_a_line_says_so(capsys):
    assert novelty_of(VECTORS, np.arange(30), np.arange(30, 30 + FEWEST), NONE)
    assert capsys.readouterr().err == ""
    assert novelty_of(VECTORS, np.arange(30), np.arange(30, 29 + FEWEST), NONE) == {}
    assert "18 pictures held back, at least 19 are needed" in capsys.readouterr().err
