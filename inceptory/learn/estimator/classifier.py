"""`InceptionClassifier`: a linear head on what a trained network sees in pictures, by scikit-learn's contract.

The one exception to "no pickle": others may pickle a fitted classifier. What it hands over is the backbone as the bytes
of a safetensors checkpoint, its card inside, and arrays and plain values; nothing in it is executable of ours.
"""

from __future__ import annotations

import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from inceptory.data.sources.labels import Labels
from inceptory.data.sources.source import Source, Split
from inceptory.errors import ConfigError, Doubt
from inceptory.features.extract import Extractor, Settings
from inceptory.learn.estimator.features import MODEL, of_pictures, set_size
from inceptory.learn.estimator.inputs import as_input_errors, labels_in, pictures_in, size_of, vectors_of
from inceptory.learn.settings.job import Job
from inceptory.learn.settings.options import Options, decided
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.settings.transfer import Backbone, Transfer
from inceptory.learn.transfer.choice import chosen, require_varied
from inceptory.learn.transfer.head import ARRIVED, Fitter, Linear
from inceptory.learn.transfer.parts import check_classes, parted
from inceptory.system import clock
from inceptory.system.files import read
from inceptory.weights.model import Model, model_in, open_model


class InceptionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of pictures for scikit-learn: a trained network, and a new linear head on what it sees.

    X is a list of paths, or an array (N, H, W, 3) or (N, H, W) of uint8; pictures are brought to the network's size. y
    holds labels of any kind that scikit-learn takes, or an indicator matrix where a picture may show several classes.
    Vectors are kept in the feature cache by the content of each picture, so cross-validation and a grid search compute
    each once. The same pictures, labels and parameters give the same classifier.

        classifier = inceptory.InceptionClassifier("inception_v3.tf_in1k")
        cross_val_score(classifier, paths, labels, n_jobs=2)

    A fitted classifier holds its backbone's file open. Pickled it holds a copy of it as a safetensors checkpoint (four
    bytes a parameter, for example 95 MB for Inception v3, 91 MB for Xception), and then answers without that file.

    Parameters
    ----------
    model
        Anything that `inceptory.open_model` takes: a checkpoint, a run folder, anybody's file, a published name.
    strength
        How strongly the head's weights are held small (strength / 2 * |weights|^2 beside the mean log-loss, on vectors
        brought to deviation 1); None: chosen between 1 and 1e-6, by five parts that take turns where there are less
        than 1,000 pictures, else by a tenth of each class. The head is then fitted on all pictures.
    views
        Vectors of each picture in `fit`: of the picture itself, and of random parts of it.
    class_weights
        Weigh classes against their numbers of pictures.
    finetune
        Train the network further once its head is fitted, and keep what comes of it if it answers more of the pictures
        that are held out for this rightly, by more than noise. The backbone is then a network of the classifier's own.
    recipe
        How that is done: a name, a TOML file or a `Recipe`; None is the recipe finetune.
    image
        Side of the pictures in pixels, in place of the model's own.
    device, precision, cache
        As for `inceptory.extract_features`. `predict` computes in the precision that `fit` has settled on. The vectors
        before a fine-tuning are kept in the cache in any case.
    random_state
        Of the parts that choose the strength and of the views: a number, or what scikit-learn takes.

    Attributes
    ----------
    classes_
        (K,) the labels in the order of `predict_proba`; numbers of columns for an indicator matrix.
    coef_, intercept_
        (K, length) and (K,) the head: logits are vectors @ coef_.T + intercept_.
    strength_
        That of the head.
    fine_tuning_
        What fine-tuning gained and whether it was kept, in plain values; only with `finetune`.
    multilabel_
        Whether y was an indicator matrix.
    n_features_in_
        Numbers in a picture; for arrays only.
    """

    def __init__(
        self,
        model: Path | str = MODEL,
        *,
        strength: float | None = None,
        views: int = 1,
        class_weights: bool = False,
        finetune: bool = False,
        recipe: Recipe | Path | str | None = None,
        image: int | None = None,
        device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
        precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto",
        cache: bool = True,
        random_state: Any = 0,
    ) -> None:
        self.model = model
        self.strength = strength
        self.views = views
        self.class_weights = class_weights
        self.finetune = finetune
        self.recipe = recipe
        self.image = image
        self.device = device
        self.precision = precision
        self.cache = cache
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Fit the head. Raises InputError, a ValueError, for a wrong X or y; for a wrong model what `open_model` says,
        UsageError or ConfigError for parameters."""
        asked = Transfer(strength=self.strength, views=self.views, finetune=self.finetune)
        asked.check()
        if self.recipe is not None and not self.finetune:
            raise ConfigError("recipe: a head alone has none (set finetune=True, or leave it out)")
        split, seed = pictures_in(X), _seed(self.random_state)
        classes, labels = labels_in(y, len(split))
        source = Source("X", tuple(map(str, classes)), {"train": replace(split, labels=labels)})
        with as_input_errors():
            notes = check_classes(source, labels)
        for note in notes if self.strength is None else ():
            warnings.warn(note, Doubt, stacklevel=2)
        self.classes_, self.multilabel_ = classes, labels.ndim == 2
        if self.finetune:
            self._fit_all(source, asked, seed)
        else:
            self._fit_head(source.splits["train"], seed)
        set_size(self, size_of(split))
        return self

    def _fit_head(self, split: Split, seed: int) -> None:
        """Fit the head on what the network sees."""
        labels = split.labels
        with ExitStack() as opened:
            model = opened.enter_context(open_model(self.model)).warn(3)
            settings = Settings(image=self.image, seed=seed, device=self.device, precision=self.precision)
            with Extractor(model, replace(settings, cache=self.cache)) as extractor:
                vectors = vectors_of(extractor, split, self.views)
            require_varied(vectors, model.path)
            strength = self.strength or _strength(vectors, labels, seed, self.class_weights)
            head = Fitter(vectors, labels, self.class_weights).fit(strength, ARRIVED * strength)
            opened.pop_all()  # predict reads on from the very file that is open
        self.strength_, self.coef_, self.intercept_ = strength, head.weight, head.bias
        self._backbone = model
        self._settled: dict[str, Any] = {"image": self.image, "precision": extractor.setting.precision}

    def _fit_all(self, source: Source, asked: Transfer, seed: int) -> None:
        """Fit the head and train the network further, as `train --finetune` does, in a folder that is removed."""
        from inceptory.learn.transfer.fit import transfer
        from inceptory.learn.transfer.fitted import head_in

        given = {"seed": seed, "device": self.device, "precision": self.precision, "class_weights": self.class_weights}
        recipe = decided(self.recipe, Options(**given), None)
        backbone, architecture, variant = Backbone.of(self.model, self.image)
        with tempfile.TemporaryDirectory() as folder:
            job = Job(source.name, architecture, variant, recipe, "", "", tensorboard=False, given=True)
            job = replace(job, backbone=backbone, transfer=asked)
            transfer(job, source.with_validation(recipe.validation), Path(folder), clock.now(), resumed=False)
            content = read(Path(folder) / "model.safetensors")
        self._backbone = model_in(content, Path(str(self.model)))
        head, card = head_in(self._backbone.plan, self._backbone.arrays()), self._backbone.card
        self.strength_, self.fine_tuning_ = card.recipe["strength"], card.recipe["fine_tuning"]
        self.coef_, self.intercept_ = head.weight, head.bias
        self._settled = {"image": None, "precision": self.precision}

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """(n,) the most probable class of each picture; (n, K) of 0 and 1 after an indicator matrix."""
        logits = self._logits(X)
        answers: NDArray[Any] = (logits >= 0).astype(np.int64) if self.multilabel_ else self.classes_[logits.argmax(1)]
        return answers

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(n, K) probabilities in the order of `classes_`; after an indicator matrix each class by itself."""
        logits = self._logits(X)
        probabilities: NDArray[np.float64] = expit(logits) if self.multilabel_ else softmax(logits, axis=1)
        return probabilities

    def _logits(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(n, K). Raises scikit-learn's NotFittedError, or InputError for a wrong X."""
        check_is_fitted(self)
        split = pictures_in(X)
        settings = Settings(device=self.device, cache=self.cache, **self._settled)
        with Extractor(self._backbone, settings) as extractor:
            return Linear(self.coef_, self.intercept_)(vectors_of(extractor, split)[:, 0])

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        if "_backbone" in state:
            state["_backbone"] = _packed(self._backbone)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = state.get("_backbone")
        super().__setstate__(state)
        if content is not None:
            self._backbone = model_in(content, Path(str(self.model)))

    def __sklearn_tags__(self) -> Any:
        tags = of_pictures(super().__sklearn_tags__())
        tags.classifier_tags.multi_label = True
        return tags


def _seed(random_state: Any) -> int:
    """A number for what scikit-learn takes as a source of chance."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _strength(vectors: NDArray[np.float32], labels: Labels, seed: int, balanced: bool) -> float:
    """Chosen as by `train --from`; nothing is calibrated here, so the part for that chooses where one is held out."""
    parts = parted(labels, len(labels), seed)
    return chosen(vectors, labels, replace(parts, choose=parts.calibrate), seed, balanced).strength


def _packed(model: Model) -> bytes:
    """A backbone as the bytes of a checkpoint; those of its own file, where it is one."""
    if model.own:
        return model.weights.content()
    from inceptory.weights.store import checkpoint_of

    return checkpoint_of(model.plan, model.arrays(), model.path, model.card)
