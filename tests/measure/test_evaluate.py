"""A network's answers to a feed: in order, complete, and of the network as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.engines.device import Device
from inceptory.engines.torch import TorchEngine
from inceptory.measure.evaluate import Scored, logits_of
from inceptory.measure.tasks import MULTI_LABEL, SINGLE_LABEL
from inceptory.nets.network import create

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
    found, rows = logits_of(TorchEngine(net, STEPS, CPU), images)
    assert not net.training
    assert rows.tolist() == [0, 1, 2, 3, 4, 6, 7], "what cannot be read is left out"
    with torch.inference_mode():
        expected = net(normalise(next(images.batches([rows])).pixels, STEPS))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
def test_logits_keep_the_order_whatever_the_batch(net, images, batch, monkeypatch):
    whole, _ = logits_of(TorchEngine(net, STEPS, CPU), images)
    monkeypatch.setattr("inceptory.measure.evaluate.BATCH", batch)
    found, rows = logits_of(TorchEngine(net, STEPS, CPU), images)
    assert rows.tolist() == [0, 1, 2, 3, 4, 6, 7]
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)


def test_measuring_leaves_the_statistics_of_the_network_alone(net, images):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    logits_of(TorchEngine(net, STEPS, CPU), images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_measuring_in_bf16_gives_logits_of_32_bits(net, images):
    assert logits_of(TorchEngine(net, STEPS, Device("cpu", "bf16")), images)[0].dtype == torch.float32


def test_progress_is_told_after_every_batch(net, images, monkeypatch):
    told = []
    monkeypatch.setattr("inceptory.measure.evaluate.BATCH", 3)
    logits_of(TorchEngine(net, STEPS, CPU), images, lambda done, total: told.append((done, total)))
    assert told == [(3, 8), (6, 8), (8, 8)]


def test_answers_to_a_feed_know_their_pictures(net, images):
    logits, rows = logits_of(TorchEngine(net, STEPS, CPU), images)
    scored = Scored.of(SINGLE_LABEL, logits, rows, images)
    assert list(scored.names) == list("abcdegh")
    assert scored.labels.tolist() == [0, 1, 2, 3, 0, 2, 3]
    expected = next(images.batches([torch.tensor([6])])).pixels.permute(0, 2, 3, 1).numpy()
    assert (scored.pixels([5]) == expected).all()


def test_answers_to_sets_of_classes_are_measured_as_sets():
    split = Split([np.zeros((16, 16, 3), np.uint8)] * 2, np.array([[1, 0], [1, 1]], dtype=np.uint8), ["a", "b"])
    pictures = feed(split, ("x", "y"), STEPS)
    scored = Scored.of(MULTI_LABEL, torch.tensor([[2.0, -1.0], [1.0, 1.0]]), torch.tensor([0, 1]), pictures)
    assert scored.metrics().exact == 1
