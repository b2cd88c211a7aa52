"""Metrics held against scikit-learn and against published tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support, top_k_accuracy_score
from sklearn.metrics import confusion_matrix as confusion_of_scikit_learn

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.engines.device import Device
from inceptory.engines.torch import Engine
from inceptory.measure.evaluate import Scored, logits_of, measure, reliability, wilson
from inceptory.nets.network import create

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
    return torch.from_numpy(logits), torch.from_numpy(labels)


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 40])
def test_metrics_are_those_of_scikit_learn(classes):
    logits, labels = drawn(300, classes)
    found, every = measure(logits, labels), list(range(classes))
    assert found.top1 == accuracy_score(labels, logits.argmax(1))
    assert found.log_loss == pytest.approx(log_loss(labels, logits.softmax(1), labels=every), rel=1e-9)
    if classes > 5:
        assert found.top5 == top_k_accuracy_score(labels, logits, k=5, labels=every)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_with_five_classes_or_fewer_every_picture_is_among_the_best_five(classes):
    assert measure(*drawn(50, classes)).top5 == 1.0


def test_metrics_carry_n_and_the_interval_of_their_top1():
    logits, labels = drawn(300, 10)
    found = measure(logits, labels)
    assert found.n == 300
    assert found.interval == wilson(round(found.top1 * 300), 300)


def test_metrics_of_single_precision_are_computed_in_double():
    logits, labels = drawn(300, 10)
    assert measure(logits.float(), labels).log_loss == measure(logits.float().double(), labels).log_loss


def test_a_sure_wrong_answer_costs_its_logit_and_not_infinity():
    found = measure(torch.tensor([[1000.0, 0.0]]), torch.tensor([1]))
    assert found.log_loss == pytest.approx(1000.0)


def scored(logits, labels):
    count = len(labels)
    pixels = torch.arange(count)[:, None, None, None].expand(count, 3, 2, 2).to(torch.uint8)
    return Scored(logits, labels, [f"picture {row}" for row in range(count)], pixels.__getitem__)


def with_absent(n=400, classes=7, seed=1):
    """Logits and labels in which class 2 has no picture, class 4 is never the answer, class 5 neither."""
    logits, labels = drawn(n, classes, seed)
    labels[(labels == 2) | (labels == 5)] = 0
    logits[:, 4:6] = -9
    return logits, labels


NAMES = tuple("abcdefg")


def test_the_confusion_matrix_is_that_of_scikit_learn():
    logits, labels = with_absent()
    found = scored(logits, labels).details(NAMES)
    assert (found.confusion == confusion_of_scikit_learn(labels, logits.argmax(1), labels=range(7))).all()
    assert found.confusion.sum() == 400


def test_the_numbers_of_each_class_are_those_of_scikit_learn_and_none_where_it_has_no_number():
    logits, labels = with_absent()
    found = scored(logits, labels).details(NAMES)
    expected = precision_recall_fscore_support(labels, logits.argmax(1), labels=range(7), zero_division=np.nan)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        numbers = [np.nan if number is None else number for number in (getattr(one, name) for one in found.classes)]
        assert numbers == pytest.approx(list(column), nan_ok=True), name
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
    sure, answers = logits.softmax(1).max(1)
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
    logits = torch.tensor([[0.8, 0.2]]).double().log().expand(10, 2)
    assert scored(logits, torch.tensor([0] * 8 + [1] * 2)).details("ab").calibration_error() == pytest.approx(0)
    assert scored(logits, torch.tensor([0] * 3 + [1] * 7)).details("ab").calibration_error() == pytest.approx(0.5)


def test_a_border_belongs_to_the_bin_below_it():
    bins = reliability(np.array([0.0, 0.2, 0.2 + 1e-9, 1.0]), np.array([False, True, True, True]))
    assert [k for k, part in enumerate(bins) if part.n] == [0, 2, 3, 14]
    assert (bins[0].low, bins[-1].high) == (0, 1)
    assert bins[5].accuracy is bins[5].confidence is None


def test_pairs_are_ranked_by_their_count_and_the_diagonal_is_no_mistake():
    labels = torch.tensor([0] * 5 + [1] * 6 + [2] * 4)
    answers = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0])
    found = scored(torch.eye(3)[answers], labels).details("abc")
    assert found.confused(2) == [("b", "c", 3), ("a", "b", 2)]
    assert found.confused(9) == [("b", "c", 3), ("a", "b", 2), ("c", "a", 1)]


def test_mistakes_come_with_their_picture_the_surest_first():
    odds = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.95, 0.05], [0.4, 0.6]])
    found = scored(odds.log(), torch.tensor([1, 0, 0, 0])).mistakes(("cat", "dog"), most=2)
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

    labels = torch.tensor([0, 1])
    assert Scored(torch.eye(2), labels, ["a", "b"], fetch).mistakes(("cat", "dog"), most=3) == []


STEPS = Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
CPU = Device("cpu")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return create("cifar_inception_v1", width=0.25, classes=4)


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    split = Split([*pixels[:5], b"not a picture", *pixels[5:]], np.arange(8) % 4, list("abcdefgh"))
    return feed(split, tuple("wxyz"), STEPS)


def test_logits_are_those_of_the_network_in_eval_mode(net, images):
    net.train()
    found, rows = logits_of(Engine(net, STEPS, CPU), images)
    assert not net.training
    assert rows.tolist() == [0, 1, 2, 3, 4, 6, 7], "what cannot be read is left out"
    with torch.inference_mode():
        expected = net(normalise(next(images.batches([rows])).pixels, STEPS))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
def test_logits_keep_the_order_whatever_the_batch(net, images, batch, monkeypatch):
    whole, _ = logits_of(Engine(net, STEPS, CPU), images)
    monkeypatch.setattr("inceptory.measure.evaluate.BATCH", batch)
    found, rows = logits_of(Engine(net, STEPS, CPU), images)
    assert rows.tolist() == [0, 1, 2, 3, 4, 6, 7]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)


def test_measuring_leaves_the_statistics_of_the_network_alone(net, images):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    logits_of(Engine(net, STEPS, CPU), images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_measuring_in_bf16_gives_logits_of_32_bits(net, images):
    assert logits_of(Engine(net, STEPS, Device("cpu", "bf16")), images)[0].dtype == torch.float32


def test_progress_is_told_after_every_batch(net, images, monkeypatch):
    told = []
    monkeypatch.setattr("inceptory.measure.evaluate.BATCH", 3)
    logits_of(Engine(net, STEPS, CPU), images, lambda done, total: told.append((done, total)))
    assert told == [(3, 8), (6, 8), (8, 8)]


def test_answers_to_a_feed_know_their_pictures(net, images):
    logits, rows = logits_of(Engine(net, STEPS, CPU), images)
    scored = Scored.of(logits, rows, images)
    assert list(scored.names) == list("abcdegh")
    assert scored.labels.tolist() == [0, 1, 2, 3, 0, 2, 3]
    assert torch.equal(scored.pixels([5]), next(images.batches([torch.tensor([6])])).pixels)
