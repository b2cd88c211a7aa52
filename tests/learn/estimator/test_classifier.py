"""`InceptionClassifier`: scikit-learn's tools take it, it repeats, travels, and says what is wrong in one line."""

from __future__ import annotations

import pickle
import pickletools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import inceptory
from inceptory import InceptionClassifier, InceptoryError
from inceptory.errors import ConfigError, UnknownName, UsageError
from inceptory.features.extract import Extractor
from inceptory.learn.estimator import inputs
from tests.imports import loaded_by


@pytest.fixture
def classifier(backbone):
    return InceptionClassifier(backbone, precision="fp32")


@pytest.fixture(scope="module")
def fitted(backbone, paths, names):
    return InceptionClassifier(backbone, precision="fp32").fit(paths, names)


def computed(monkeypatch) -> list[int]:
    """How many vectors were computed, call by call."""
    counts, real = [], Extractor.split

    def counting(self, *args, **more):
        vectors = real(self, *args, **more)
        counts.append(vectors.computed)
        return vectors

    monkeypatch.setattr(Extractor, "split", counting)
    return counts


def test_it_answers_in_the_callers_own_words(fitted, paths, names):
    assert fitted.classes_.tolist() == ["blue", "green", "red"]
    assert fitted.score(paths, names) == 1.0
    probabilities = fitted.predict_proba(paths)
    assert probabilities.shape == (30, 3)
    assert np.allclose(probabilities.sum(1), 1)
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(paths)).all()
    assert not hasattr(fitted, "n_features_in_")


@pytest.mark.slow
def test_an_array_of_pictures_is_as_good_as_their_paths(classifier, fitted, paths, names, pixels):
    other = classifier.fit(pixels, names)
    assert other.n_features_in_ == 36 * 40 * 3
    assert np.array_equal(other.predict_proba(pixels), fitted.predict_proba(paths))
    grey = classifier.fit(pixels[..., 0], np.arange(30) // 10)
    assert grey.n_features_in_ == 36 * 40
    assert grey.predict(pixels[..., 0]).dtype == np.int64


def test_probabilities_are_those_of_train_from_at_the_same_strength(fitted, backbone, paths, names):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from inceptory import extract_features

    vectors = extract_features(backbone, str(paths[0]).rsplit("/", 2)[0], precision="fp32")
    rows = [vectors.names.index(path) for path in paths]
    peer = LogisticRegression(C=1 / (fitted.strength_ * 30), tol=1e-10, max_iter=10_000)
    theirs = make_pipeline(StandardScaler(), peer).fit(vectors.vectors[rows].astype(float), names)
    assert np.abs(theirs.predict_proba(vectors.vectors[rows]) - fitted.predict_proba(paths)).max() < 1e-5


def test_it_repeats_exactly(fitted, paths, names):
    again = clone(fitted).fit(paths, names)
    assert np.array_equal(again.coef_, fitted.coef_)
    assert np.array_equal(again.predict_proba(paths), fitted.predict_proba(paths))


def test_many_pictures_choose_the_strength_by_one_part(classifier, paths, names, monkeypatch):
    monkeypatch.setattr("inceptory.learn.transfer.parts.FEW", 20)
    assert classifier.fit(paths, names).score(paths, names) == 1.0


@pytest.mark.slow
def test_an_indicator_matrix_means_several_classes(classifier, paths, names):
    y = np.stack([np.asarray(names) == "red", np.asarray(names) != "blue"], axis=1).astype(int)
    several = classifier.fit(paths, y)
    assert several.classes_.tolist() == [0, 1]
    assert np.array_equal(several.predict(paths), y)
    assert several.predict_proba(paths).shape == (30, 2)


def test_class_weights_and_views_change_the_head(fitted, paths, names):
    for changed in ({"class_weights": True}, {"views": 2}):
        few = slice(0, 26)
        plain = clone(fitted).set_params(strength=0.01).fit(paths[few], names[few])
        other = clone(fitted).set_params(strength=0.01, **changed).fit(paths[few], names[few])
        assert not np.allclose(plain.coef_, other.coef_, rtol=1e-3)


def test_a_grid_search_takes_features_from_the_cache(classifier, fitted, paths, names, monkeypatch):
    counts = computed(monkeypatch)
    search = GridSearchCV(classifier, {"strength": [1.0, 1e-3]}, cv=3, error_score="raise").fit(paths, names)
    assert search.best_score_ == 1.0
    assert len(counts) > 6
    assert sum(counts) == 0


@pytest.mark.slow
def test_two_processes_share_the_work(classifier, paths, names):
    scores = cross_val_score(classifier.set_params(strength=0.01), paths, names, cv=2, n_jobs=2, error_score="raise")
    assert scores.tolist() == [1.0, 1.0]


# Pickled by others


def test_what_is_pickled_is_bytes_of_safetensors_arrays_and_plain_values(fitted, backbone):
    content = pickle.dumps(fitted, protocol=2)
    named = {value for code, value, _ in pickletools.genops(content) if code.name == "GLOBAL"}
    rooms = {name.split(" ")[0].split(".")[0] for name in named}
    assert {name for name in named if name.startswith("inceptory")} == {
        "inceptory.learn.estimator.classifier InceptionClassifier"
    }
    assert rooms <= {"inceptory", "numpy", "copy_reg", "_codecs", "pathlib", "__builtin__"}
    assert fitted.__getstate__()["_backbone"] == backbone.read_bytes()
    assert len(pickle.dumps(fitted)) < backbone.stat().st_size + 100_000
    assert "_backbone" not in clone(fitted).__getstate__()


@pytest.mark.slow
def test_it_answers_bit_equal_in_another_process_without_the_file(fitted, backbone, paths, names, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(backbone.read_bytes())
    mine = clone(fitted).set_params(model=copy, cache=False).fit(paths, names)
    (tmp_path / "fitted.pkl").write_bytes(pickle.dumps(mine))
    copy.unlink()
    answers = mine.predict_proba(paths)  # the file stays open
    np.save(tmp_path / "paths.npy", np.asarray(paths))
    code = (
        "import pickle, sys, numpy as np; from pathlib import Path; place = Path(sys.argv[1]);"
        "one = pickle.loads((place / 'fitted.pkl').read_bytes()); assert 'torch' not in sys.modules;"
        "np.save(place / 'answers.npy', one.predict_proba(np.load(place / 'paths.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert np.array_equal(np.load(tmp_path / "answers.npy"), answers)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(mine))))
    assert np.array_equal(again.predict_proba(paths), answers)


@pytest.mark.slow
def test_a_backbone_of_another_package_travels_as_a_checkpoint(paths, names, tmp_path):
    torch.manual_seed(0)
    net = inceptory.create("inception_v3", classes=1000, aux=True)
    inceptory.save(net.eval(), tmp_path / "ours.safetensors")
    inceptory.convert(str(tmp_path / "ours.safetensors"), str(tmp_path / "v3.pth"), to="torchvision")
    few = [paths[row] for row in (0, 1, 10, 11)]
    mine = InceptionClassifier(tmp_path / "v3.pth", image=139, precision="fp32", strength=0.01, cache=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", inceptory.errors.Doubt)
        mine.fit(few, [names[row] for row in (0, 1, 10, 11)])
    state = mine.__getstate__()
    assert abs(len(state["_backbone"]) - 4 * sum(tensor.numel() for tensor in net.state_dict().values())) < 200_000
    again = pickle.loads(pickle.dumps(mine))
    assert again._backbone.own
    assert np.array_equal(again.predict_proba(few), mine.predict_proba(few))


def test_a_fault_crosses_to_another_process_as_it_is():
    fault = pickle.loads(pickle.dumps(UnknownName("layer", "mixd", ["mixed", "stem"])))
    assert isinstance(fault, UnknownName)
    assert str(fault) == str(UnknownName("layer", "mixd", ["mixed", "stem"]))


def test_a_damaged_state_says_so(fitted):
    state = fitted.__getstate__()
    with pytest.raises(InceptoryError, match=r"cut short|damaged"):
        InceptionClassifier().__setstate__({**state, "_backbone": state["_backbone"][:1000]})


@pytest.mark.slow
def test_parameters_alone_need_no_torch():
    code = (
        "from sklearn.base import clone; import inceptory;"
        "one = clone(inceptory.InceptionClassifier('a', strength=2.0)); one.get_params(); repr(one);"
        "clone(inceptory.InceptionFeatures('a')).get_params()"
    )
    assert "torch" not in loaded_by(code)


# Wrong in one line


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("photo.png", "one path, not a list"),
        ([], "no pictures"),
        (np.zeros((2, 8, 8, 3)), "float64, not uint8"),
        (np.zeros((2, 5)), "float64, not uint8"),
        (np.zeros((2, 5), np.uint8), "shape"),
        ([np.zeros((8, 8), np.uint8), np.zeros((9, 8), np.uint8)], "different shapes"),
        (["nowhere.png", "nor here.png"], "nowhere.png: no such file"),
        ([__file__, 3], "row 1 is of type int"),
        ([__file__] * 4, "test_classifier.py"),
    ],
)
def test_a_wrong_x_is_a_value_error_of_one_line(fitted, wrong, told):
    for call in (fitted.predict, lambda given: clone(fitted).fit(given, list("abab")[: len(given)])):
        with pytest.raises(inputs.InputError, match=told) as fault:
            call(wrong)
        assert isinstance(fault.value, ValueError)
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (None, "requires y"),
        (["a"] * 29, "30 pictures and 29 labels"),
        (["a"] * 30, "one class only"),
        (np.linspace(0, 1, 30), "continuous"),
        (np.full(30, np.nan), "NaN"),
        (np.arange(30), "no class has two pictures"),
        (np.zeros((30, 2, 2)), "y: "),
    ],
)
@pytest.mark.filterwarnings("ignore")  # scikit-learn says something of its own on the way
def test_a_wrong_y_is_a_value_error_of_one_line(classifier, paths, wrong, told):
    with pytest.raises(inputs.InputError, match=told) as fault:
        classifier.fit(paths, wrong)
    assert "\n" not in fault.value.line()
    assert not hasattr(classifier, "classes_")


def test_what_is_not_fitted_does_not_answer(classifier, paths):
    with pytest.raises(NotFittedError):
        classifier.predict(paths)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [({"strength": -1.0}, UsageError), ({"views": 0}, UsageError)],
)
def test_wrong_parameters_are_told_by_fit(classifier, paths, names, parameters, error):
    with pytest.raises(error, match=next(iter(parameters))):
        classifier.set_params(**parameters).fit(paths, names)


def test_a_class_of_one_picture_is_told(classifier, paths, names):
    with pytest.warns(UserWarning, match="one picture only"):
        classifier.fit(paths[:21], names[:21])


@pytest.mark.slow
def test_fine_tuning_gives_it_a_network_of_its_own(backbone, pixels, names):
    """A head of such strength answers anything, so there is much to gain; pickled it needs neither file nor folder."""
    recipe = inceptory.Recipe(
        epochs=8, batch=8, lr=0.02, average=0.0, label_smoothing=0.0, flip="off", shift=0.0, freeze_norms=True
    )
    tuned = InceptionClassifier(backbone, strength=1e6, finetune=True, recipe=recipe, precision="fp32")
    assert clone(tuned).get_params()["recipe"] == recipe
    tuned.fit(np.concatenate([pixels] * 2), list(names) * 2)
    assert tuned.fine_tuning_["kept"]
    assert tuned.strength_ == 1e6
    assert tuned.score(pixels, names) > 0.9
    assert tuned.n_features_in_ == pixels[0].size
    again = pickle.loads(pickle.dumps(tuned))
    assert (again.predict_proba(pixels) == tuned.predict_proba(pixels)).all()


def test_a_recipe_is_for_fine_tuning(backbone, pixels, names):
    with pytest.raises(ConfigError, match="finetune=True"):
        InceptionClassifier(backbone, recipe="finetune").fit(pixels, names)
