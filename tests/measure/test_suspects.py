"""Wrong labels are found where a seed has flipped them, copies where they were made; nothing is listed without need."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from inceptory.measure import suspects
from inceptory.measure.suspects import label_suspects, near_duplicates, strangeness, unlike_the_rest


@cache
def flipped_digits(share, seed):
    """(out-of-fold logits, labels, rows whose label is wrong) of the digits with labels flipped."""
    pixels, truths = load_digits(return_X_y=True)
    random = np.random.default_rng(seed)
    rows = random.choice(len(truths), round(share * len(truths)), replace=False)
    labels = truths.copy()
    labels[rows] = (truths[rows] + random.integers(1, 10, len(rows))) % 10
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(C=1, tol=1e-3)
    logits = cross_val_predict(model, pixels / 16, labels, cv=folds, method="predict_log_proba")
    return logits, labels, set(rows.tolist())


def test_of_flipped_labels_nine_in_ten_are_found_and_as_many_listed_are_flipped():
    logits, labels, flipped = flipped_digits(0.05, 0)
    suspects = label_suspects(logits, labels)
    right = len(set(suspects.rows.tolist()) & flipped)
    assert suspects.expected == pytest.approx(len(flipped), rel=0.15)
    assert right / len(suspects.rows) > 0.85, "precision"
    assert right / len(flipped) > 0.95, "recall"
    first = suspects.rows[: len(flipped) // 2].tolist()
    assert len(set(first) & flipped) / len(first) > 0.97, "the likeliest come first"
    assert (np.diff(suspects.scores) <= 0).all()


def test_of_clean_labels_none_is_listed():
    logits, labels, _ = flipped_digits(0.0, 0)
    assert label_suspects(logits, labels).expected == 0


def drawn(share, n=3000, heat=2.0, seed=0):
    """(logits, labels, wrong) of hard pictures: labels as softmax(logits / heat) has them, some from their shares."""
    random = np.random.default_rng(seed)
    logits = 6 * random.normal(size=(n, 5)) + [1, 0, 0, 0, 0]
    odds = np.exp(logits / heat)
    truths = np.array([random.choice(5, p=row / row.sum()) for row in odds])
    careless = random.random(n) < share
    labels = np.where(careless, random.permutation(truths), truths)
    return logits, labels, labels != truths


def test_hard_pictures_are_no_wrong_labels_and_wrong_ones_are_counted_among_them():
    logits, labels, _ = drawn(0.0)
    assert np.mean(logits.argmax(1) == labels) < 0.85
    assert label_suspects(logits, labels).expected == 0
    logits, labels, wrong = drawn(0.2)
    assert label_suspects(logits, labels).expected == pytest.approx(wrong.sum(), rel=0.2)


def test_the_score_is_the_share_of_wrong_labels():
    logits, labels, wrong = drawn(0.2)
    listed = label_suspects(logits, labels)
    assert wrong[listed.rows].mean() == pytest.approx(listed.scores.mean(), abs=0.06)


def test_classes_without_a_picture_few_pictures_and_none_are_no_trouble():
    odds = np.log([[0.9, 0.1, 1e-9], [0.8, 0.2, 1e-9], [0.1, 0.9, 1e-9], [0.2, 0.8, 1e-9]])
    for rows in (4, 1, 0):
        listed = label_suspects(odds[:rows], np.array([0, 0, 1, 1])[:rows])
        assert (listed.expected, len(listed.rows), len(listed.scores)) == (0, 0, 0)


def test_a_label_that_is_the_likeliest_class_is_no_suspect():
    # Four in ten labels mean nothing, but many of them are the likeliest class by chance.
    logits, labels, _ = drawn(0.9, heat=0.1)
    listed = label_suspects(logits, labels)
    assert len(listed.rows) > 500
    assert (logits[listed.rows].argmax(1) != labels[listed.rows]).all()


def test_a_picture_far_from_all_others_is_many_deviations_away_and_no_other():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 8)) @ random.normal(size=(8, 64)) + 0.1 * random.normal(size=(400, 64)) + 1
    vectors[7] = 5 * random.normal(size=64)
    away = strangeness(vectors.astype(np.float32), np.arange(400) % 5)
    assert away.argmax() == 7
    assert away[7] > 6
    assert np.delete(away, 7).max() < 5
    assert abs(np.median(away)) < 0.01
    assert np.mean(away > 1.2816) == pytest.approx(0.1, abs=0.01)


def test_where_all_distances_are_equal_nothing_is_strange():
    assert not strangeness(np.ones((40, 4), dtype=np.float32), np.arange(40) % 5).any()


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
    assert found.scores.min() > 0.9
    row, copy = found.pairs[0]
    away = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    cosine = away[row] @ away[copy] / np.linalg.norm(away[row]) / np.linalg.norm(away[copy])
    assert found.scores[0] == pytest.approx(cosine, abs=1e-6)


def test_a_part_without_copies_has_none_and_one_part_has_no_pair():
    vectors, splits, _ = vectors_with_copies(copies=0)
    assert len(near_duplicates(vectors, splits).pairs) == 0
    assert near_duplicates(vectors, np.array(["a"] * 600)).pairs.shape == (0, 2)


def test_where_a_network_sees_little_difference_between_many_none_is_a_copy_for_being_near():
    vectors, splits, pairs = vectors_with_copies()
    vectors[100:140] = vectors[100] + 0.01 * vectors[100:140]  # as of one class that the network knows by heart
    vectors[400:440] = vectors[100] + 0.01 * vectors[400:440]
    found = set(map(tuple, near_duplicates(vectors, splits).pairs.tolist()))
    crowd = {*range(100, 140), *range(400, 440)}
    assert {pair for pair in pairs if not crowd & set(pair)} <= found
    assert not [pair for pair in found if crowd.issuperset(pair)]


def test_two_parts_of_one_picture_each_have_no_second_nearest():
    vectors = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert len(near_duplicates(vectors, np.array([0, 1])).pairs) == 0
    assert len(near_duplicates(vectors[[0, 0]], np.array([0, 1])).pairs) == 0, "a mean of nothing but one picture"


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
