"""The linear head against scikit-learn, on its digits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from inceptory.learn.transfer.head import Fitter, cross_validated, folds, path
from inceptory.measure.metrics import cross_entropy

PIXELS, DIGITS = load_digits(return_X_y=True)
PIXELS = PIXELS.astype(np.float32)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def wide(pixels, length=200):
    """More numbers than pictures, a few of them without a deviation."""
    mixed = pixels @ np.random.default_rng(0).normal(size=(64, length)).astype(np.float32)
    mixed[:, :3] = 7.0
    return mixed


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("vectors", [PIXELS, wide(PIXELS)], ids=["more pictures", "more numbers"])
def test_probabilities_are_those_of_scikit_learn(vectors, classes):
    labels, strength, fitted = DIGITS % classes, 1e-3, slice(0, 150 if vectors.shape[1] > 150 else 400)
    scaler = StandardScaler().fit(vectors[fitted].astype(float))
    peer = LogisticRegression(C=1 / (strength * len(vectors[fitted])), tol=1e-9, max_iter=10_000)
    peer.fit(scaler.transform(vectors[fitted].astype(float)), labels[fitted])
    head = Fitter(vectors[fitted, None], labels[fitted]).fit(strength, 1e-9)
    mine, theirs = softmax(head(vectors[1000:])), peer.predict_proba(scaler.transform(vectors[1000:].astype(float)))
    assert np.abs(mine - theirs).max() < 1e-5


def test_large_sets_are_fitted_in_32_bits_as_well(monkeypatch):
    exact = Fitter(PIXELS[:400, None], DIGITS[:400]).fit(1e-2, 1e-8)
    monkeypatch.setattr("inceptory.learn.transfer.head.EXACT", 0)
    single = Fitter(PIXELS[:400, None], DIGITS[:400]).fit(1e-2, 1e-8)
    assert np.abs(softmax(exact(PIXELS[1000:])) - softmax(single(PIXELS[1000:]))).max() < 2e-3


def test_views_weigh_as_one_picture_together():
    twice = np.stack([PIXELS[:300], PIXELS[:300]], axis=1)
    one, two = (Fitter(each, DIGITS[:300]).fit(1e-2, 1e-9) for each in (PIXELS[:300, None], twice))
    assert np.abs(one.weight - two.weight).max() < 1e-5


def test_class_weights_are_scikit_learns():
    rows = np.r_[np.flatnonzero(DIGITS == 3)[:100], np.flatnonzero(DIGITS == 8)[:10]]
    labels = (DIGITS[rows] == 8).astype(int)
    plain, weighed = (Fitter(PIXELS[rows, None], labels, balanced).fit(1.0, 1e-8) for balanced in (False, True))
    scaler = StandardScaler().fit(PIXELS[rows].astype(float))
    peer = LogisticRegression(C=1 / len(rows), class_weight="balanced", tol=1e-9, max_iter=10_000)
    peer.fit(scaler.transform(PIXELS[rows].astype(float)), labels)
    theirs = peer.predict_proba(scaler.transform(PIXELS[1000:].astype(float)))
    assert np.abs(softmax(weighed(PIXELS[1000:])) - theirs).max() < 1e-5
    assert np.abs(softmax(plain(PIXELS[1000:])) - theirs).max() > 0.05


def test_several_labels_are_one_problem_each_and_one_that_never_changes_is_sure():
    several = np.stack([DIGITS % 2, DIGITS > 4, np.zeros_like(DIGITS), np.ones_like(DIGITS)], axis=1).astype(np.uint8)
    head = Fitter(PIXELS[:500, None], several[:500]).fit(1e-2)
    right = (head(PIXELS[1000:]) > 0) == (several[1000:] > 0)
    assert right[:, :2].mean() > 0.85
    assert right[:, 2:].all()
    assert (np.abs(head(PIXELS[1000:])[:, 2:]) < 10).all()  # sure, but not beyond what 500 pictures can tell


def test_the_path_ends_where_the_log_loss_rises():
    rows = list(path(PIXELS[:600, None], DIGITS[:600], PIXELS[600:900], DIGITS[600:900]))
    losses = [one.metrics.log_loss for one in rows]
    assert len(rows) < 13 or np.argmin(losses) >= 9
    assert losses[-1] > min(losses)
    best = min(rows, key=lambda one: one.metrics.log_loss)
    assert best.metrics.log_loss == pytest.approx(cross_entropy(best.logits, DIGITS[600:900]))
    assert best.metrics.top1 > 0.9


def test_folds_deal_every_class_evenly_and_spare_the_only_picture():
    labels = np.array([0] * 10 + [1] * 7 + [2])
    part = folds(labels, 5, seed=0)
    assert part[-1] == -1
    assert [list(np.sort(np.bincount(part[labels == 0], minlength=5)))] == [[2] * 5]
    assert np.bincount(part[part >= 0]).min() >= 3
    assert (folds(labels, 5, seed=0) == part).all()
    assert (folds(labels, 5, seed=1) != part).any()


def test_cross_validated_answers_come_from_heads_that_had_not_seen_the_picture():
    """With labels that mean nothing an honest estimate is chance; a head that saw its pictures is far above."""
    chance = np.random.default_rng(0)
    vectors, labels = chance.normal(size=(120, 1, 300)).astype(np.float32), chance.integers(0, 4, 120)
    folded = cross_validated(vectors, labels, 5, 0)
    right = (folded.logits.argmax(1) == labels).mean()
    seen = Fitter(vectors, labels).fit(1e-3)
    assert (seen(vectors[:, 0]).argmax(1) == labels).mean() > 0.95
    assert right < 0.45
    assert cross_entropy(folded.logits, labels) < 2, (
        "no part is answered by a strength that the others would not choose"
    )
    assert folded.losses[-1] > folded.losses.min()
    assert folded.strength >= 0.1  # nothing is there to be learnt
