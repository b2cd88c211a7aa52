"""`InceptionFeatures`: what a trained network sees in pictures, as a step of scikit-learn's pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from inceptory.features.extract import Extractor, Settings
from inceptory.learn.estimator.inputs import pictures_in, size_of, vectors_of
from inceptory.weights.model import open_model

MODEL = "inception_v3.tf_in1k"
"""The published weights that are taken where nothing is said."""


class InceptionFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Pictures to vectors by a trained network, for scikit-learn.

    X is a list of paths, or an array (N, H, W, 3) or (N, H, W) of uint8; pictures are brought to the network's size.
    Vectors are kept in the feature cache by the content of each picture, so a grid search computes each once. It
    remembers nothing but how long a vector is, so it transforms before it is fitted, too.

        make_pipeline(inceptory.InceptionFeatures("inception_v3.tf_in1k"), LogisticRegression()).fit(paths, labels)

    Parameters
    ----------
    model
        Anything that `inceptory.open_model` takes: a checkpoint, a run folder, anybody's file, a published name.
    layer
        bottleneck, what the classifier is given; embedding; or the name of a stage, averaged over its positions.
    image
        Side of the pictures in pixels, in place of the model's own.
    device, precision, cache
        As for `inceptory.extract_features`.

    Attributes
    ----------
    n_features_out_
        Length of a vector.
    n_features_in_
        Numbers in a picture; for arrays only.
    """

    def __init__(
        self,
        model: Path | str = MODEL,
        *,
        layer: str = "bottleneck",
        image: int | None = None,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto",
        cache: bool = True,
    ) -> None:
        self.model = model
        self.layer = layer
        self.image = image
        self.device = device
        self.precision = precision
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Learn how long a vector is, from the first picture. Raises InputError, a ValueError, for a wrong X."""
        split = pictures_in(X)
        first = vectors_of_model(self.model, split.take(np.arange(1)), self._settings())
        self.n_features_out_ = first.shape[-1]
        set_size(self, size_of(split))
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """(n, length) of n pictures. Raises InputError, a ValueError, for a wrong X."""
        return vectors_of_model(self.model, pictures_in(X), self._settings())[:, 0]

    def _settings(self) -> Settings:
        return Settings(self.layer, self.image, 0, self.device, self.precision, self.cache)

    @property
    def _n_features_out(self) -> int:
        """What scikit-learn names the outputs by."""
        return int(self.n_features_out_)

    def __sklearn_tags__(self) -> Any:
        tags = of_pictures(super().__sklearn_tags__())
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return tags


def vectors_of_model(model: Path | str, split: Any, settings: Settings) -> NDArray[np.float32]:
    """(n, 1, length) of all pictures of a split."""
    with open_model(model) as opened, Extractor(opened.warn(3), settings) as extractor:
        return vectors_of(extractor, split)


def of_pictures(tags: Any) -> Any:
    """scikit-learn's tags of what takes pictures or their paths, and no table of numbers."""
    tags.input_tags.one_d_array = tags.input_tags.string = tags.input_tags.three_d_array = True
    tags.input_tags.two_d_array = False
    return tags


def set_size(estimator: Any, size: int | None) -> None:
    """Set n_features_in_, which only arrays have."""
    vars(estimator).pop("n_features_in_", None)
    if size is not None:
        estimator.n_features_in_ = size
