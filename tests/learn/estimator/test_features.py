"""`InceptionFeatures`: a transformer without a state but the length of its vectors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from inceptory import InceptionFeatures, extract_features
from inceptory.errors import UnknownName


@pytest.fixture
def features(backbone):
    return InceptionFeatures(backbone, precision="fp32")


def test_vectors_are_those_of_the_command(features, backbone, paths):
    data = extract_features(backbone, paths[0], precision="fp32")
    assert np.array_equal(features.transform(paths)[:1], data.vectors)
    assert np.array_equal(features.fit_transform(paths), features.transform(paths))


def test_names_and_lengths_follow_the_layer(features, paths, pixels):
    with pytest.raises(NotFittedError):
        features.get_feature_names_out()
    assert features.fit(paths).transform(paths).shape == (30, features.n_features_out_)
    assert features.get_feature_names_out()[0] == "inceptionfeatures0"
    assert len(features.get_feature_names_out()) == features.n_features_out_
    assert not hasattr(features, "n_features_in_")
    assert features.fit(pixels).n_features_in_ == 36 * 40 * 3
    with pytest.raises(UnknownName, match="no_such"):
        features.set_params(layer="no_such").fit(paths)


def test_it_works_in_a_pipeline(features, paths, names):
    pipeline = make_pipeline(features, LogisticRegression())
    assert cross_val_score(pipeline, paths, names, cv=3, error_score="raise").tolist() == [1.0] * 3


def test_it_pickles_as_its_parameters(features, paths):
    content = pickle.dumps(features.fit(paths))
    assert len(content) < 1000
    assert np.array_equal(pickle.loads(content).transform(paths), features.transform(paths))
