"""Wrong labels are found where a seed has flipped them, copies where they were made; nothing is listed without need."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from inceptory.measure import suspects
from inceptory.measure.suspects import label_suspects, near_duplicates, unlike_the_rest


@cache
def flipped_digits(share, seed):
    """(out-of-fold probabilities, labels, rows whose label is wrong) of the digits with labels flipped."""
    pixels, truths = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    rows = random.choice(len(truths), round(share * len(truths)), replace=False)
    labels = truths.copy()
    labels[rows] = (truths[rows] + random.integers(1, 10, len(rows))) % 10
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(C=1, tol=1e-3)
    return cross_val_predict(model, pixels / 16, labels, cv=folds, method="predict_proba"), labels, set(rows.tolist())


def test_of_flipped_labels_nine_in_ten_are_found_and_as_many_listed_are_flipped():
    probabilities, labels, flipped = flipped_digits(0.05, 0)
    suspects = label_suspects(probabilities, labels)
    right = len(set(suspects.rows.tolist()) & flipped)
    assert suspects.expected == pytest.approx(len(flipped), rel=0.15)
    assert right / len(suspects.rows) > 0.85, "precision"
    assert right / len(flipped) > 0.85, "recall"
    first = suspects.rows[: len(flipped) // 2].tolist()
    assert len(set(first) & flipped) / len(first) > 0.97, "the likeliest come first"


def test_of_clean_labels_hardly_any_is_listed():
    probabilities, labels, _ = flipped_digits(0.0, 0)
    assert len(label_suspects(probabilities, labels).rows) <= 0.005 * len(labels)


ODDS = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.7, 0.3, 0.0]])


def test_the_confident_joint_by_hand():
    # Means: of 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, of 1 (0.8 + 0.3) / 2 = 0.55. Row 2 counts as of 1, row 4 as of 0.
    found = label_suspects(ODDS, np.array([0, 0, 0, 1, 1]))
    assert found.expected == 2
    assert found.rows.tolist() == [2, 4]
    assert found.scores == pytest.approx([0.9, 0.7])


def test_a_picture_that_reaches_no_mean_does_not_count_but_its_label_does():
    # Means: of 0 0.72, of 1 0.8; row 4 reaches none. Of label 0 one of three is of 1, so of its four pictures 4 / 3.
    odds = np.array([[0.95, 0.05], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1, 0])
    assert label_suspects(odds, labels).expected == round(4 * 1 / 3)
    assert label_suspects(odds, labels).rows.tolist() == [2]


def test_no_picture_whose_label_is_the_likeliest_class_is_listed(monkeypatch):
    monkeypatch.setattr(suspects, "_expected_errors", lambda *_: 5)
    found = label_suspects(ODDS, np.array([0, 0, 0, 1, 1]))
    assert (found.rows.tolist(), found.expected) == ([2, 4], 5)


def test_classes_without_a_picture_and_sets_without_a_mistake_are_no_trouble():
    found = label_suspects(ODDS[:4], np.array([0, 0, 1, 1]))
    assert (found.expected, len(found.rows), len(found.scores)) == (0, 0, 0)


def vectors_with_copies(n=600, copies=20, noise=0.05, seed=0):
    """(vectors, parts, pairs): as a network gives them, above 0; the last rows of part "b" are copies of part "a"."""
    random = np.random.default_rng(seed)
    vectors = np.maximum(random.normal(1, 1, (n, 64)), 0)
    splits = np.array(["a"] * (n // 2) + ["b"] * (n - n // 2))
    originals = random.choice(n // 2, copies, replace=False)
    vectors[n - copies :] = vectors[originals] + random.normal(0, noise, (copies, 64))
    return vectors.astype(np.float32), splits, {(int(row), n - copies + k) for k, row in enumerate(originals)}


def test_copies_in_another_part_are_found_and_nothing_else():
    vectors, splits, pairs = vectors_with_copies()
    found = near_duplicates(vectors, splits)
    assert set(map(tuple, found.pairs.tolist())) == pairs
    assert (np.diff(found.scores) <= 0).all()
    assert 0.9 < found.threshold <= found.scores.min()
    row, copy = found.pairs[0]
    away = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    cosine = away[row] @ away[copy] / np.linalg.norm(away[row]) / np.linalg.norm(away[copy])
    assert found.scores[0] == pytest.approx(cosine, abs=1e-6)


def test_a_part_without_copies_has_none_and_one_part_has_no_pair():
    vectors, splits, _ = vectors_with_copies(copies=0)
    assert len(near_duplicates(vectors, splits).pairs) == 0
    assert near_duplicates(vectors, np.array(["a"] * 600)).pairs.shape == (0, 2)


def test_a_threshold_of_ones_own_counts():
    vectors, splits, pairs = vectors_with_copies()
    least = min(near_duplicates(vectors, splits).scores)
    assert len(near_duplicates(vectors, splits, threshold=float(np.nextafter(least, 2))).pairs) == len(pairs) - 1
    assert len(near_duplicates(vectors, splits, threshold=-1.0).pairs) > 300


def test_parts_that_are_wholly_equal_are_found_although_no_distance_is_usual():
    vectors, _, _ = vectors_with_copies(n=100, copies=0)
    found = near_duplicates(np.concatenate([vectors, vectors]), np.repeat([0, 1], 100))
    assert set(map(tuple, found.pairs.tolist())) == {(row, 100 + row) for row in range(100)}


def test_several_copies_of_a_picture_and_three_parts_are_listed_each():
    vectors, splits, _ = vectors_with_copies(n=90, copies=0)
    splits = np.repeat(["train", "validation", "test"], 30)
    vectors[[1, 2, 40, 80]] = vectors[0]
    pairs = set(map(tuple, near_duplicates(vectors, splits).pairs.tolist()))
    assert pairs == {(0, 40), (1, 40), (2, 40), (0, 80), (1, 80), (2, 80), (40, 80)}


def test_blocks_change_nothing(monkeypatch):
    vectors, splits, _ = vectors_with_copies()
    whole = near_duplicates(vectors, splits)
    monkeypatch.setattr(suspects, "ROWS", 7)
    monkeypatch.setattr(suspects, "COLUMNS", 11)
    parts = near_duplicates(vectors, splits)
    assert (whole.pairs == parts.pairs).all()
    assert whole.scores == pytest.approx(parts.scores, abs=1e-6)


def test_a_vector_that_is_the_mean_is_no_copy_of_anything():
    found = near_duplicates(np.array([[1.0, 0], [-1, 0], [0, 0], [0, 0]]), np.array([0, 0, 0, 1]))
    assert len(found.pairs) == 0


def test_benjamini_and_hochbergs_own_example():
    """Benjamini, Hochberg 1995, section 3.2: of 15 hypotheses the first four are rejected at 5 %."""
    values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.000]
    order = np.random.default_rng(0).permutation(15)
    assert order[unlike_the_rest(np.array(values)[order])].tolist() == [0, 1, 2, 3]
    assert len(unlike_the_rest(np.array([]))) == 0
    assert len(unlike_the_rest(np.array([0.06, 0.5]))) == 0


def test_a_later_value_that_passes_takes_those_before_it_along():
    assert unlike_the_rest(np.array([0.04, 0.045, 0.02])).tolist() == [2, 0, 1]
