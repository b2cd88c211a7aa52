"""scikit-learn's own checks of an estimator, on those that pictures allow.

Its checks hand over tables of numbers, which our estimators refuse and whose tags say so. Here each row of such a table
is laid out as a picture of grey stripes, and nothing else is changed; what cannot pass so is listed with its reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import validate_data

from inceptory import InceptionClassifier, InceptionFeatures

FEW_NUMBERS = "a row of a table is no picture, and grey stripes of 256 levels tell less than its numbers"
LEVELS = "numbers become 256 levels, so the network sees another thing than the check means"


def stripes(estimator: Any, table: Any, *, reset: bool) -> np.ndarray:
    """(n, 8, 8 * columns) uint8: a stripe for each number of a row."""
    table = validate_data(estimator, table, reset=reset)
    levels = (128 + 24 * table.astype(float)).clip(0, 255).astype(np.uint8)
    return np.repeat(np.repeat(levels[:, None], 8, axis=1), max(1, 32 // levels.shape[1]), axis=2)


class Striped:
    """Between a check and an estimator of pictures."""

    def fit(self, X, y=None):  # noqa: N803
        super().fit(stripes(self, X, reset=True), y)
        self.n_features_in_ = np.shape(X)[1]
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


class StripedClassifier(Striped, InceptionClassifier):
    def predict(self, X):  # noqa: N803
        return super().predict(X)

    def _logits(self, X):  # noqa: N803
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return super()._logits(stripes(self, X, reset=False))


class StripedFeatures(Striped, InceptionFeatures):
    def transform(self, X):  # noqa: N803
        return super().transform(stripes(self, X, reset=False))


@pytest.mark.parametrize("kind", [InceptionClassifier, InceptionFeatures])
def test_tags_say_that_tables_are_not_taken(kind):
    with pytest.warns(UserWarning, match="requires input"):
        check_estimator(kind())


EXPECTED: dict[str, str] = {}


def expected(estimator):
    return EXPECTED


@pytest.fixture(autouse=True)
def _backbone(backbone, monkeypatch):
    monkeypatch.setattr("inceptory.learn.estimator.features.open_model", lambda model: real(backbone))
    monkeypatch.setattr("inceptory.learn.estimator.classifier.open_model", lambda model: real(backbone))


def real(path):
    from inceptory.weights.model import open_model

    return open_model(path)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [StripedClassifier(precision="fp32", strength=1e-3), StripedFeatures(precision="fp32")],
    expected_failed_checks=expected,
)
def test_what_scikit_learn_checks(estimator, check):
    check(estimator)
