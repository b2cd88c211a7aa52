"""Metrics held against scikit-learn and against published tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from inceptory.data.batches import Images, normalise
from inceptory.data.preprocess import Preprocess
from inceptory.learn.device import Device
from inceptory.learn.evaluate import logits_of, measure, wilson
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


STEPS = Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
CPU = Device("cpu", bf16=False)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return create("cifar_inception_v1", width=0.25, classes=4)


@pytest.fixture(scope="module")
def images():
    pixels = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(pixels=pixels, labels=torch.arange(7) % 4, names=list("abcdefg"), skipped=[])


def test_logits_are_those_of_the_network_in_eval_mode(net, images):
    net.train()
    found = logits_of(net, images, STEPS, CPU)
    assert not net.training
    with torch.inference_mode():
        expected = net(normalise(images.pixels, STEPS))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
def test_logits_keep_the_order_whatever_the_batch(net, images, batch):
    torch.testing.assert_close(
        logits_of(net, images, STEPS, CPU, batch=batch), logits_of(net, images, STEPS, CPU), rtol=1e-5, atol=1e-6
    )


def test_measuring_leaves_the_statistics_of_the_network_alone(net, images):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    logits_of(net, images, STEPS, CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_measuring_in_bf16_gives_logits_of_32_bits(net, images):
    assert logits_of(net, images, STEPS, Device("cpu", bf16=True)).dtype == torch.float32


def test_progress_is_told_after_every_batch(net, images):
    told = []
    logits_of(net, images, STEPS, CPU, batch=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 7), (6, 7), (7, 7)]
