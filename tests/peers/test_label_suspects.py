"""Pictures under the wrong label held against cleanlab's on the same probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from inceptory.measure.suspects import label_suspects
from tests.measure.test_suspects import flipped_digits

count = pytest.importorskip("cleanlab.count")
filters = pytest.importorskip("cleanlab.filter")
rank = pytest.importorskip("cleanlab.rank")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_as_many_are_expected_and_the_same_come_first(share):
    probabilities, labels, _ = flipped_digits(share, seed=0)
    ours = label_suspects(probabilities, labels)
    expected = count.num_label_issues(labels, probabilities, estimation_method="off_diagonal_calibrated")
    assert ours.expected == pytest.approx(expected, abs=1)
    order = np.argsort(rank.get_normalized_margin_for_each_label(labels, probabilities), kind="stable")
    assert set(ours.rows.tolist()) == set(order[: len(ours.rows)].tolist())


def test_as_many_flipped_labels_are_found_as_by_its_own_choice():
    probabilities, labels, flipped = flipped_digits(0.05, seed=0)
    theirs = filters.find_label_issues(labels, probabilities, return_indices_ranked_by="normalized_margin", n_jobs=1)
    ours = label_suspects(probabilities, labels).rows
    right, wanted = (len(set(map(int, rows)) & flipped) for rows in (ours, theirs))
    assert 2 * right / (len(ours) + len(flipped)) >= 2 * wanted / (len(theirs) + len(flipped)) - 0.01
