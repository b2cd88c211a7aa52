"""Pictures under the wrong label held against cleanlab's on the same probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from inceptory.measure.suspects import label_suspects
from tests.measure.test_suspects import flipped_digits

filters = pytest.importorskip("cleanlab.filter")


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_more_flipped_labels_are_found_than_by_its_own_choice(share):
    logits, labels, flipped = flipped_digits(share, seed=0)
    odds = np.exp(logits)
    theirs = filters.find_label_issues(labels, odds, return_indices_ranked_by="normalized_margin", n_jobs=1)
    ours = label_suspects(logits, labels).rows
    right, wanted = (len(set(map(int, rows)) & flipped) for rows in (ours, theirs))
    assert 2 * right / (len(ours) + len(flipped)) >= 2 * wanted / (len(theirs) + len(flipped))
