"""Metrics held against scikit-learn, counts made one by one, and published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support, top_k_accuracy_score

from inceptory.measure.evaluate import Scored
from inceptory.measure.metrics import cross_entropy, reliability, wilson
from inceptory.measure.tasks import SINGLE_LABEL

NEWCOMBE = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
"""Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3."""


@pytest.mark.parametrize("case", NEWCOMBE, ids=str)
def test_the_interval_is_that_of_the_published_table(case):
    assert wilson(*case) == pytest.approx(NEWCOMBE[case], abs=5.1e-5)


def ends(right, n):
    """Where (share - p)^2 = z^2 p (1 - p) / n, found by halving."""
    share, z = right / n, 1.959963984540054

    def outside(p):
        return (share - p) ** 2 > z * z * p * (1 - p) / n

    def border(out, inside):
        for _ in range(200):
            middle = (out + inside) / 2
            out, inside = (middle, inside) if outside(middle) else (out, middle)
        return inside

    return border(0.0, share), border(1.0, share)


@pytest.mark.parametrize("case", [(0, 10), (10, 10), (94, 100), (1, 2), (9400, 10_000), (1, 1), (499, 1000)], ids=str)
def test_the_interval_solves_the_equation_that_defines_it(case):
    assert wilson(*case) == pytest.approx(ends(*case), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 10, 100, 10_000])
def test_the_interval_stays_between_0_and_1_and_holds_the_share(n):
    for right in {0, 1, n // 2, n - 1, n}:
        low, high = wilson(right, n)
        assert 0 <= low <= right / n + 1e-12
        assert right / n - 1e-12 <= high <= 1


def test_ten_of_ten_is_not_taken_for_certainty():
    low, high = wilson(10, 10)
    assert low == pytest.approx(0.7225, abs=5e-5)
    assert high == pytest.approx(1.0)


def test_more_pictures_make_the_interval_narrower():
    widths = [high - low for low, high in (wilson(94 * k, 100 * k) for k in (1, 10, 100))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[2]


def drawn(n, classes, seed=0):
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), random.integers(0, classes, n - classes)])
    logits = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return logits, labels


def softmax(logits):
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 40])
def test_metrics_are_those_of_scikit_learn(classes):
    logits, labels = drawn(300, classes)
    found, every = SINGLE_LABEL.measure(logits, labels), list(range(classes))
    assert found.top1 == accuracy_score(labels, logits.argmax(1))
    assert found.log_loss == pytest.approx(log_loss(labels, softmax(logits), labels=every), rel=1e-9)
    if classes > 5:
        assert found.top5 == top_k_accuracy_score(labels, logits, k=5, labels=every)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_with_five_classes_or_fewer_every_picture_is_among_the_best_five(classes):
    assert SINGLE_LABEL.measure(*drawn(50, classes)).top5 == 1.0


def test_metrics_carry_n_and_the_interval_of_their_top1():
    logits, labels = drawn(300, 10)
    found = SINGLE_LABEL.measure(logits, labels)
    assert found.n == 300
    assert found.interval == wilson(round(found.top1 * 300), 300)


def test_metrics_of_single_precision_are_computed_in_double():
    logits, labels = drawn(300, 10)
    single = logits.astype(np.float32)
    assert cross_entropy(single, labels) == cross_entropy(single.astype(np.float64), labels)


def test_a_sure_wrong_answer_costs_its_logit_and_not_infinity():
    assert cross_entropy(np.array([[1000.0, 0.0]]), np.array([1])) == pytest.approx(1000.0)


def scored(logits, labels):
    count = len(labels)
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3))
    return Scored(SINGLE_LABEL, logits, labels, [f"picture {row}" for row in range(count)], pixels.__getitem__)


def with_absent(n=400, classes=7, seed=1):
    """Logits and labels in which class 2 has no picture, class 4 is never the answer, class 5 neither."""
    logits, labels = drawn(n, classes, seed)
    labels[(labels == 2) | (labels == 5)] = 0
    logits[:, 4:6] = -9
    return logits, labels


NAMES = tuple("abcdefg")


def test_the_confusion_matrix_counts_every_pair():
    logits, labels = with_absent()
    found = scored(logits, labels).details(NAMES)
    pairs = list(zip(labels.tolist(), logits.argmax(1).tolist(), strict=True))
    assert found.confusion.tolist() == [[pairs.count((row, column)) for column in range(7)] for row in range(7)]
    assert found.confusion.sum() == 400
    assert found.wrong == sum(truth != answer for truth, answer in pairs)


def test_the_numbers_of_each_class_are_counted_and_none_where_it_has_no_number():
    logits, labels = with_absent()
    found = scored(logits, labels).details(NAMES)
    for k, one in enumerate(found.classes):
        given, borne = (set(np.flatnonzero(rows == k)) for rows in (logits.argmax(1), labels))
        assert one.precision == (len(given & borne) / len(given) if given else None)
        assert one.recall == (len(given & borne) / len(borne) if borne else None)
        assert one.f1 == (2 * len(given & borne) / (len(given) + len(borne)) if given | borne else None)
        assert one.support == len(borne)
    assert [one.label for one in found.classes] == list(NAMES)
    assert found.classes[2].recall is None, "no picture to find"
    assert found.classes[2].precision == 0, "every answer of this name was wrong"
    assert found.classes[4].precision is None, "never the answer"
    assert found.classes[5].f1 is None


def test_macro_averages_are_those_of_scikit_learn_over_the_classes_that_have_pictures():
    logits, labels = with_absent()
    found = scored(logits, labels).details(NAMES).macro()
    *expected, _ = precision_recall_fscore_support(
        labels, logits.argmax(1), labels=[0, 1, 3, 4, 6], average="macro", zero_division=0
    )
    assert [found[name] for name in ("precision", "recall", "f1")] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_the_sum_that_defines_it(seed):
    logits, labels = drawn(500, 4, seed)
    found = scored(logits, labels).details(NAMES[:4])
    sure, answers = softmax(logits).max(1), logits.argmax(1)
    total = 0.0
    for k in range(15):
        inside = [i for i in range(500) if k / 15 < sure[i] <= (k + 1) / 15]
        if inside:
            right = sum(bool(answers[i] == labels[i]) for i in inside) / len(inside)
            total += len(inside) / 500 * abs(right - sum(float(sure[i]) for i in inside) / len(inside))
            assert found.bins[k].accuracy == pytest.approx(right)
        assert found.bins[k].n == len(inside)
    assert found.calibration_error() == pytest.approx(total)


def test_confidence_that_is_right_as_often_as_it_says_has_no_calibration_error():
    logits = np.log([[0.8, 0.2]] * 10)
    assert scored(logits, np.array([0] * 8 + [1] * 2)).details("ab").calibration_error() == pytest.approx(0)
    assert scored(logits, np.array([0] * 3 + [1] * 7)).details("ab").calibration_error() == pytest.approx(0.5)


def test_a_border_belongs_to_the_bin_below_it():
    bins = reliability(np.array([0.0, 0.2, 0.2 + 1e-9, 1.0]), np.array([False, True, True, True]))
    assert [k for k, part in enumerate(bins) if part.n] == [0, 2, 3, 14]
    assert (bins[0].low, bins[-1].high) == (0, 1)
    assert bins[5].accuracy is bins[5].confidence is None


def test_pairs_are_ranked_by_their_count_and_the_diagonal_is_no_mistake():
    labels = np.array([0] * 5 + [1] * 6 + [2] * 4)
    answers = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0])
    found = scored(np.eye(3)[answers], labels).details("abc")
    assert found.confused(2) == [("b", "c", 3), ("a", "b", 2)]
    assert found.confused(9) == [("b", "c", 3), ("a", "b", 2), ("c", "a", 1)]


def test_mistakes_come_with_their_picture_the_surest_first():
    odds = np.array([[0.9, 0.1], [0.3, 0.7], [0.95, 0.05], [0.4, 0.6]])
    found = scored(np.log(odds), np.array([1, 0, 0, 0])).mistakes(("cat", "dog"), most=2)
    assert [(one.name, one.truth, one.answer) for one in found] == [
        ("picture 0", "dog", "cat"),
        ("picture 1", "cat", "dog"),
    ]
    assert [one.probability for one in found] == pytest.approx([0.9, 0.7])
    assert [one.probability_of_truth for one in found] == pytest.approx([0.1, 0.3])
    assert [one.pixels.shape for one in found] == [(2, 2, 3)] * 2
    assert [int(one.pixels.max()) for one in found] == [0, 1]


def test_a_faultless_network_has_no_mistakes_and_fetches_no_picture():
    def fetch(rows):
        raise AssertionError(rows)

    labels = np.array([0, 1])
    assert Scored(SINGLE_LABEL, np.eye(2), labels, ["a", "b"], fetch).mistakes(("cat", "dog"), most=3) == []


def test_of_equal_logits_the_first_are_the_best_as_for_the_answer():
    logits = np.zeros((7, 7))
    found = SINGLE_LABEL.measure(logits, np.arange(7))
    assert (found.top1, found.top5) == (1 / 7, 5 / 7)


def test_what_is_no_number_is_never_among_the_best():
    logits = np.zeros((2, 7))
    logits[0], logits[1, :6] = math.nan, math.nan
    assert SINGLE_LABEL.measure(logits, np.array([6, 6])).top5 == 0
    assert math.isnan(cross_entropy(logits, np.array([6, 6])))


@pytest.mark.parametrize("far", [math.inf, -math.inf])
def test_infinite_logits_cost_no_warning(far):
    logits = np.array([[far, 0.0, 1.0], [0.0, 1.0, far]])
    found = scored(logits, np.array([0, 1]))
    assert math.isnan(found.metrics().log_loss) or found.metrics().log_loss == math.inf
    assert sum(part.n for part in found.details("abc").bins) == 2


def test_many_logits_are_summed_in_parts(monkeypatch):
    logits, labels = drawn(300, 7)
    whole = cross_entropy(logits, labels)
    monkeypatch.setattr("inceptory.measure.metrics.BLOCK", 20)
    assert cross_entropy(logits, labels) == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr("inceptory.measure.metrics.BLOCK", 1)
    assert cross_entropy(logits, labels) == pytest.approx(whole, rel=1e-12)
