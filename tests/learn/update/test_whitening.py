"""The first convolution as whitening: what it does to the training pictures' patches, and that it stays."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import inceptory
from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.arrays import from_arrays
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError
from inceptory.learn.settings.options import Options
from inceptory.learn.update import whitening
from inceptory.learn.update.whitening import whiten
from inceptory.nets.layers import Kernel
from tests.learn.running import digests, start
from tests.learn.stopped import interrupted

STEPS = Preprocess(size=32, resize=32, mean=(0.0,) * 3, std=(1.0,) * 3)
LARGE = Preprocess(size=224, resize=224, mean=(0.0,) * 3, std=(1.0,) * 3)


@cache
def whitened(width: float = 1.0):
    """(first convolution, values of all pictures) after whitening on the digits."""
    split = open_source("digits").split("test")
    classes = tuple("0123456789")
    pictures = feed(split, classes, STEPS)
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v3_slim", width=width)
    whiten(net, pictures, STEPS)
    first = next(module for module in net.modules() if isinstance(module, Kernel))
    rows = torch.arange(len(pictures.labels))
    values = torch.cat([normalise(batch.pixels, STEPS, "cpu") for batch in pictures.batches(rows.split(100))])
    return first, values


def test_answers_are_uncorrelated_and_each_pattern_stands_there_with_both_signs():
    first, values = whitened()
    count = 3 * 3 * 3  # a patch of v3_slim's first convolution; grey digits vary along 9 of these directions only
    patterns = first.weight.detach().flatten(1)
    torch.testing.assert_close(patterns[:count], -patterns[count : 2 * count])
    answers = torch.einsum("nip,oi->nop", F.unfold(values, 3), patterns[:count])
    seen = answers.transpose(0, 1).flatten(1)
    covariance = seen @ seen.T / seen.shape[1]
    strong = covariance.diag()[:9]
    assert (covariance[:9, :9] - strong.diag()).abs().max() < 1e-3
    assert (strong[:3] - 1).abs().max() < 0.01, "the strongest patterns are of one strength"
    assert (strong.diff() < 0).all(), "weaker ones are held back, and stand behind them"
    assert covariance.diag()[9:].max() < 1e-3


@pytest.mark.slow
def test_few_filters_take_the_strongest_patterns():
    narrow, wide = whitened(0.25)[0], whitened()[0]
    assert narrow.out_channels == 48
    torch.testing.assert_close(narrow.weight[:24], wide.weight[:24])
    torch.testing.assert_close(narrow.weight[24:], -wide.weight[:24])


def test_neither_the_kernel_nor_the_bias_learns():
    first, _ = whitened()
    assert not first.weight.requires_grad
    assert first.bias is not None
    assert not first.bias.requires_grad
    assert not first.bias.any()


def test_large_pictures_are_looked_at_a_few_at_a_time(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 224, 224, 3), dtype=np.uint8)
    source = from_arrays(pixels, np.arange(20) % 2)
    monkeypatch.setattr(whitening, "PLACES", 5 * 224**2)
    monkeypatch.setattr(whitening, "FEWEST", 1)
    held, unfold = [], F.unfold

    def counted(values, size):
        held.append(len(values))
        return unfold(values, size)

    monkeypatch.setattr(F, "unfold", counted)
    net = inceptory.create("googlenet", classes=2, width=0.25)
    whiten(net, feed(source.split("train"), source.classes, LARGE), LARGE)
    assert held == [2, 2, 1], "7x7 patches of two pictures are 14,751,744 numbers"


@pytest.mark.slow
def test_a_run_with_it_holds_the_kernel_and_goes_on_exactly(colours, tmp_path):
    changed = {"whitening": True, "optimizer": "muon", "lr": 0.1}
    start(colours, tmp_path / "whole", **changed)
    first = next(module for module in inceptory.load(tmp_path / "whole").modules() if isinstance(module, Kernel))
    half = len(first.weight) // 2
    torch.testing.assert_close(first.weight[:half], -first.weight[half:], rtol=0, atol=0)
    assert first.bias is None or not first.bias.any()
    interrupted(colours, tmp_path / "run", 6, **changed)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_a_trained_network_keeps_its_first_convolution(colours, tmp_path):
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v2", classes=0, width=0.25)
    inceptory.save(net, tmp_path / "net.safetensors", inceptory.Card.of(net.plan, preprocess=STEPS))
    asked = {"backbone": tmp_path / "net.safetensors", "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match=r"--whitening: --from .* decides it"):
        inceptory.train(
            str(colours), **asked, transfer=inceptory.Transfer(finetune=True), options=Options(whitening=True)
        )
