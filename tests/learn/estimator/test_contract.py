"""scikit-learn's own checks of an estimator, on those that pictures allow.

Its checks hand over tables of numbers, which our estimators refuse and whose tags say so. Here each row of such a table
is laid out as a picture of grey stripes, and nothing else is changed; what cannot pass so is listed with its reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from inceptory import InceptionClassifier, InceptionFeatures
from inceptory.weights.model import open_model

pytest.importorskip("sklearn", "1.6", reason="scikit-learn before 1.6 has no validate_data for its checks")

TABLE = "it asks how a table of numbers is validated, and a picture of uint8 is none"
SPARSE = "no picture is a sparse matrix"
OF_TABLES = {
    "check_complex_data": TABLE,
    "check_dtype_object": TABLE,
    "check_estimators_nan_inf": "uint8 has neither NaN nor infinity",
    "check_estimators_empty_data_messages": TABLE,
    "check_estimator_sparse_tag": SPARSE,
    "check_estimator_sparse_array": SPARSE,
    "check_estimator_sparse_matrix": SPARSE,
    "check_fit1d": "a row of texts is a list of paths",
    "check_fit2d_predict1d": TABLE,
    "check_n_features_in": "pictures of any size are brought to the network's",
    "check_n_features_in_after_fitting": "pictures of any size are brought to the network's",
    "check_positive_only_tag_during_fit": "uint8 has no negative numbers",
}
"""Checks that would only try what stands between them and the estimator here, each with its reason."""


def stripes(estimator: Any, table: Any, *, reset: bool) -> np.ndarray:
    """(n, 8, width) uint8: a stripe for each number of a row."""
    from sklearn.utils.validation import validate_data

    table = validate_data(estimator, table, reset=reset)
    levels = ((128 + 24 * table.astype(float)) % 256).astype(np.uint8)
    return np.repeat(np.repeat(levels[:, None], 8, axis=1), max(1, 32 // levels.shape[1]), axis=2)


class Striped:
    """Between a check and an estimator of pictures."""

    def fit(self, X, y=None):  # noqa: N803
        pictures = stripes(self, X, reset=True)
        columns = self.n_features_in_
        super().fit(pictures, y)
        self.n_features_in_ = columns
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.three_d_array = tags.input_tags.string = False
        return tags


class StripedClassifier(Striped, InceptionClassifier):
    def _logits(self, X):  # noqa: N803
        check_is_fitted(self)
        return super()._logits(stripes(self, X, reset=False))


class StripedFeatures(Striped, InceptionFeatures):
    def transform(self, X):  # noqa: N803
        return super().transform(stripes(self, X, reset=False))


@pytest.mark.parametrize("kind", [InceptionClassifier, InceptionFeatures])
def test_tags_say_that_tables_are_not_taken(kind):
    with pytest.warns(UserWarning, match="requires input"):
        check_estimator(kind())


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([StripedClassifier(precision="fp32", strength=1e-3), StripedFeatures(precision="fp32")])
@pytest.mark.slow
def test_what_scikit_learn_checks(estimator, check, backbone, monkeypatch):
    if check.func.__name__ in OF_TABLES:
        pytest.skip(OF_TABLES[check.func.__name__])
    for room in ("features", "classifier"):
        # Checks make estimators of their own, with the default model.
        monkeypatch.setattr(f"inceptory.learn.estimator.{room}.open_model", lambda model: open_model(backbone))
    check(estimator)
