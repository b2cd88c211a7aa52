"""Our networks against torchvision's with the same weights: the same answers."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchvision

from inceptory.nets.network import create


def randomised(peer: torch.nn.Module) -> torch.nn.Module:
    """Weights under which pictures differ and every statistic matters."""
    torch.manual_seed(0)
    for part in peer.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(part.weight)
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
            torch.nn.init.uniform_(part.weight, 0.8, 1.2)
            torch.nn.init.normal_(part.bias, 0, 0.1)
    return peer.eval()


def heads_last(name: str) -> int:
    """torchvision keeps its auxiliary heads amid the stages; ours come after them, then the classifier."""
    return 2 if name.startswith("fc") else int("aux" in name.lower())


@pytest.mark.parametrize(("ours", "theirs"), [("inception_v3", "inception_v3"), ("googlenet", "googlenet")])
@pytest.mark.parametrize("size", [299, 224, 225])
def test_the_same_weights_give_the_same_logits(ours, theirs, size):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = randomised(getattr(torchvision.models, theirs)(weights=None, init_weights=False, aux_logits=True))
    net = create(ours, aux=True).eval()
    tensors = [(name, value) for name, value in peer.state_dict().items() if "num_batches" not in name]
    tensors.sort(key=lambda pair: heads_last(pair[0]))
    assert [tuple(value.shape) for _, value in tensors] == [tuple(value.shape) for value in net.state_dict().values()]
    net.load_state_dict(dict(zip(net.state_dict(), (value for _, value in tensors), strict=True)))
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected, found = peer(images), net(images)
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * expected.abs().max()


def test_auxiliary_heads_equal_torchvisions_in_training():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = randomised(torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True))
    net = create("inception_v3", aux=True, dropout=0.0)
    tensors = [(name, value) for name, value in peer.state_dict().items() if "num_batches" not in name]
    tensors.sort(key=lambda pair: heads_last(pair[0]))
    net.load_state_dict(dict(zip(net.state_dict(), (value for _, value in tensors), strict=True)))
    peer.dropout.p = 0.0
    images = torch.randn(2, 3, 299, 299)
    with torch.no_grad():
        expected, heads = peer.train()(images), net.train().heads(images)
    assert (expected.logits - heads["logits"]).abs().max() <= 1e-4 * expected.logits.abs().max()
    assert (expected.aux_logits - heads["AuxLogits"]).abs().max() <= 1e-4 * expected.aux_logits.abs().max()
