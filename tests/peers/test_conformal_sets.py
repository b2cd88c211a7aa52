"""Sets of classes held against MAPIE's on the same probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from inceptory.measure.calibration import Calibration

mapie = pytest.importorskip("mapie.classification")


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its probabilities."""

    def __init__(self, classes=6):
        self.classes = classes

    def fit(self, probabilities, labels):
        self.classes_ = np.arange(self.classes)
        self.n_features_in_ = self.classes
        return self

    def predict_proba(self, probabilities):
        return probabilities

    def predict(self, probabilities):
        return probabilities.argmax(1)


class NothingByLot(np.random.RandomState):
    """MAPIE takes a random part of the truth's probability off each adaptive score; here none."""

    def uniform(self, low=0.0, high=1.0, size=None):
        return np.zeros(size)


@pytest.mark.parametrize("coverage", [0.6, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_are_mapies(method, coverage):
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(6), random.integers(0, 6, 1_994)])
    logits = random.normal(size=(2_000, 6)) + 2 * np.eye(6)[labels]
    calibration = Calibration.of(logits[:700], labels[:700], "held-out")
    probabilities = calibration.probabilities(logits)
    peer = mapie.SplitConformalClassifier(
        Given().fit(probabilities, labels),
        confidence_level=coverage,
        conformity_score=method,
        random_state=NothingByLot(0),
    ).conformalize(probabilities[:700], labels[:700])
    _, theirs = peer.predict_set(probabilities[700:], conformity_score_params={"include_last_label": False})
    ours = calibration.sets(logits[700:], coverage, method)
    if method == "aps":
        # Theirs are never empty: the best class is always in them.
        ours = ours | ((ours.sum(1, keepdims=True) == 0) & np.eye(6, dtype=bool)[logits[700:].argmax(1)])
    assert (ours == theirs[:, :, 0]).all()
    assert 0 < ours.mean() < 1
