"""Sets of classes hold the truth as often as they promise: on drawn splits, by hand, and after the way through JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logsumexp, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from inceptory.errors import UsageError
from inceptory.measure.calibration import Calibration, coverage_of, temperature
from inceptory.measure.metrics import wilson


def digits(fitted):
    """Logits and labels of the digits that a logistic regression on pixels, fitted on so many, did not see."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, rest = order[:fitted], order[fitted:]
    model = LogisticRegression(C=0.01, max_iter=300).fit(pixels[train] / 16, labels[train])
    return model.decision_function(pixels[rest] / 16), labels[rest]


ASKED = (0.8, 0.9, 0.95)


def achieved(logits, labels, n, draws, way):
    """(method, coverage asked) to the mean coverage over splits into n pictures for calibration and the others."""
    random, shares = np.random.default_rng(1), {(method, asked): [] for method in ("lac", "aps") for asked in ASKED}
    for _ in range(draws):
        order = random.permutation(len(labels))
        calibration = way(Calibration.of(logits[order[:n]], labels[order[:n]], "held-out"))
        for (method, asked), each in shares.items():
            sets = calibration.sets(logits[order[n:]], asked, method)
            each.append(sets[np.arange(len(sets)), labels[order[n:]]].mean())
    return {key: float(np.mean(each)) for key, each in shares.items()}


def through_text(calibration):
    return Calibration.from_json(json.loads(json.dumps(calibration.to_json())))


@pytest.mark.parametrize(("fitted", "n"), [(599, 599), (300, 1_100)], ids=["all scores kept", "compact"])
@pytest.mark.slow
def test_over_200_splits_the_sets_hold_the_truth_as_often_as_was_asked(fitted, n):
    shares = achieved(*digits(fitted), n, 200, through_text)
    assert {key: round(share, 3) for key, share in shares.items() if abs(share - key[1]) > 0.01} == {}


def test_the_promise_holds_where_the_network_is_much_too_sure():
    logits, labels = digits(599)
    shares = achieved(30 * logits, labels, 599, 40, lambda calibration: calibration)
    assert all(abs(share - asked) < 0.01 for (_, asked), share in shares.items())


HALVES = np.log([[0.5, 0.3, 0.2]] * 9)


def test_scores_are_those_of_the_papers():
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])
    calibration = Calibration.of(HALVES, labels, "held-out")
    truth = softmax(HALVES / calibration.temperature, 1)[0]
    assert calibration.lac == pytest.approx(sorted((1 - truth)[labels]), abs=2e-7)
    assert calibration.aps == pytest.approx(np.cumsum(truth)[labels], abs=2e-7)
    assert (calibration.n, calibration.kind) == (9, "held-out")


PLAIN = Calibration(1.0, 9, "held-out", tuple(k / 10 for k in range(1, 10)), tuple(k / 10 for k in range(1, 10)))


@pytest.mark.parametrize(("coverage", "threshold"), [(0.9, 0.9), (0.89, 0.9), (0.8, 0.8), (0.7, 0.7), (0.71, 0.8)])
def test_the_threshold_is_the_score_of_rank_ceil_n_plus_1_times_coverage(coverage, threshold):
    assert PLAIN.threshold(coverage) == threshold


def test_sets_are_the_classes_up_to_the_threshold_and_may_be_empty():
    logits = np.log([[0.55, 0.3, 0.15], [0.98, 0.01, 0.01], [0.4, 0.35, 0.25]])
    assert PLAIN.sets(logits, 0.7).tolist() == [[True, True, False], [True, False, False], [True, True, False]]
    assert PLAIN.sets(logits, 0.5).tolist() == [[True, False, False], [True, False, False], [False, False, False]]
    adaptive = PLAIN.sets(logits, 0.85, "aps")
    assert adaptive.tolist() == [[True, True, False], [False, False, False], [True, True, False]]


def test_compact_thresholds_are_at_most_a_thousandth_of_the_pictures_above_the_exact_one():
    random = np.random.default_rng(0)
    logits, labels = 3 * random.normal(size=(2_357, 4)), random.integers(0, 4, 2_357)
    calibration = Calibration.of(logits, labels, "held-out")
    own = calibration.probabilities(logits)[np.arange(len(labels)), labels]
    exact = np.sort(1 - own)
    assert len(calibration.lac) == len(calibration.aps) == 1_000
    for coverage in np.linspace(0.001, 0.9995, 999):
        rank = int(np.ceil(2_358 * coverage - 1e-9))
        above = exact[min(rank - 1 + 2, 2_356)]
        assert exact[rank - 1] <= calibration.threshold(coverage) <= above + 2e-7


@pytest.mark.parametrize("heat", [0.3, 1.0, 4.0])
def test_the_temperature_is_that_by_which_logits_were_heated(heat):
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 5))
    labels = (softmax(logits, 1).cumsum(1) < random.random((20_000, 1))).sum(1)
    assert temperature(heat * logits, labels) == pytest.approx(heat, rel=0.03)


def slope(logits, labels, heat):
    """Of the log-loss over 1 / T."""
    probabilities = softmax(logits / heat, 1)
    own = logits[np.arange(len(labels)), labels]
    return float((probabilities * logits).sum(1).mean() - own.mean())


def test_at_the_temperature_the_loss_is_flat():
    logits, labels = digits(599)
    assert abs(slope(logits, labels, temperature(logits, labels))) < 1e-4
    assert abs(slope(logits, labels, 1.0)) > 1e-2


def test_the_temperature_of_several_classes_a_picture_is_the_sigmoids():
    random = np.random.default_rng(0)
    logits = random.normal(size=(10_000, 3))
    labels = (random.random((10_000, 3)) < expit(logits)).astype(np.uint8)
    assert temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.eye(2, dtype=np.uint8)], ids=["one class", "several"])
def test_pictures_without_a_mistake_change_no_temperature_and_random_answers_end_at_the_border(labels):
    right = np.array([[3.0, -1.0], [-2.0, 1.0]])
    assert temperature(right, labels) == 1.0
    assert temperature(-right, labels) == pytest.approx(20, rel=1e-3)


def test_answers_that_are_no_numbers_neither_count_nor_break_anything():
    logits, labels = digits(599)
    broken = logits.copy()
    broken[::7] = [[np.nan, np.inf, *[0.0] * 8]]
    kept = np.arange(len(labels)) % 7 != 0
    assert temperature(broken, labels) == temperature(logits[kept], labels[kept])
    calibration = Calibration.of(broken, labels, "held-out")
    assert np.isnan(calibration.probabilities(broken)[0]).all()
    assert calibration.lac[-1] == calibration.aps[-1] == 1
    assert calibration.sets(broken, 0.9)[0].tolist() == [True] * 10, "a seventh of the pictures said nothing"
    assert calibration.sets(broken, 0.8)[0].tolist() == [False] * 10


def test_of_several_classes_a_picture_the_set_holds_all_of_them():
    random = np.random.default_rng(0)
    logits = random.normal(size=(4_000, 6))
    labels = (random.random((4_000, 6)) < expit(2 * logits - 1)).astype(np.uint8)
    shares = []
    for _ in range(40):
        order = random.permutation(4_000)
        calibration = through_text(Calibration.of(logits[order[:800]], labels[order[:800]], "held-out"))
        shares.append(coverage_of(calibration.sets(logits[order[800:]], 0.9), labels[order[800:]]).share)
    assert np.mean(shares) == pytest.approx(0.9, abs=0.01)
    assert calibration.probabilities(logits) == pytest.approx(expit(logits / calibration.temperature))
    with pytest.raises(UsageError, match="aps: not for pictures of several classes"):
        calibration.sets(logits, 0.9, "aps")


def test_probabilities_are_the_softmax_at_the_temperature():
    heated = replace(PLAIN, temperature=2.5)
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) * 100
    expected = np.exp(log_softmax(logits.astype(float) / 2.5, axis=1))
    assert heated.probabilities(logits) == pytest.approx(expected, rel=1e-12)
    assert logsumexp(np.log(heated.probabilities(logits)), axis=1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, 95, float("nan"), float("inf")])
def test_a_coverage_out_of_range_is_told_in_one_line(coverage):
    with pytest.raises(UsageError, match=r"^--coverage .*: out of range \(a share above 0 and below 1"):
        PLAIN.sets(HALVES, coverage)


def test_too_few_pictures_for_a_coverage_are_told_with_how_many_are_needed():
    assert PLAIN.reaches(0.9)
    assert not PLAIN.reaches(0.901)
    assert PLAIN.largest_coverage == 0.9
    with pytest.raises(UsageError, match=r"^--coverage 0.95: too much for 9 calibration .*0\.9, or train with 19 "):
        PLAIN.sets(HALVES, 0.95)
    enough = Calibration(1.0, 19, "held-out", (0.5,) * 19, (0.5,) * 19)
    assert enough.reaches(0.95)
    assert not replace(enough, n=18).reaches(0.95)


def test_no_picture_calibrates_nothing():
    with pytest.raises(ValueError, match="no picture"):
        Calibration.of(HALVES[:0], np.array([], int), "held-out")


@pytest.mark.parametrize("n", [1, 9, 1_000, 1_001, 5_000])
def test_the_way_through_text_changes_nothing_and_takes_at_most_22_kb(n):
    random = np.random.default_rng(0)
    calibration = Calibration.of(random.normal(size=(n, 7)), random.integers(0, 7, n), "cross-fitted")
    assert through_text(calibration) == calibration
    assert len(json.dumps(calibration.to_json())) < 22_000


@pytest.mark.parametrize(
    "damage",
    [
        {"temperature": float("nan")},
        {"temperature": 0.0},
        {"temperature": 21.0},
        {"temperature": "1"},
        {"n": 0, "lac": [], "aps": []},
        {"n": 10},
        {"n": 8},
        {"kind": "guessed"},
        {"lac": [float("nan"), *[0.5] * 8]},
        {"lac": [*[0.5] * 8, float("nan")]},
        {"lac": [0.5, 0.4, *[0.6] * 7]},
        {"aps": [*[0.5] * 8, 1.1]},
        {"aps": [-0.1, *[0.5] * 8]},
        {"aps": []},
        {"multi_label": True},
        {"lac": None},
    ],
    ids=str,
)
def test_a_damaged_calibration_is_refused(damage):
    Calibration.from_json(PLAIN.to_json())
    with pytest.raises(ValueError, match=r"calibration|Expected|Invalid"):
        Calibration.from_json({**PLAIN.to_json(), **damage})


@pytest.mark.parametrize("plain", [None, [], {}, "text"])
def test_what_is_no_calibration_is_refused(plain):
    with pytest.raises(ValueError, match=r"Expected|required"):
        Calibration.from_json(plain)


def test_coverage_counts_truths_classes_and_empty_sets():
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], bool)
    found = coverage_of(sets, np.array([0, 2, 1, 2]))
    assert (found.share, found.interval, found.size, found.empty, found.n) == (0.5, wilson(2, 4), 1.5, 0.25, 4)
    half = 1.959963984540054 * np.std([1, 2, 0, 3], ddof=1) / 2
    assert found.size_interval == pytest.approx((1.5 - half, 1.5 + half))
    assert coverage_of(sets, np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1]])).share == 1
    assert coverage_of(sets, np.array([[1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 1]])).share == 0.25
    assert str(found) == (
        "truth in the set 50.00 % (95 % interval 15.00 to 85.00), "
        "1.50 classes a picture (95 % interval 0.23 to 2.77), none for 25.00 %, n 4"
    )
