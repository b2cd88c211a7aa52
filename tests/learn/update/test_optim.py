"""Optimizers held against the formulas of the papers and manuals that define them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import inceptory
from inceptory.engines.device import Device
from inceptory.learn.pictures import Targets
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.settings.recipes import document
from inceptory.learn.step import Stepper
from inceptory.learn.update.average import Average
from inceptory.learn.update.optim import Optimizer, penalised

QUICK = document("quick")
PLAIN = replace(QUICK, weight_decay=0.0, average=0.0)
RATES = [0.1, 0.1, 0.01, 0.01, 0.001]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return inceptory.create("cifar_inception_v3", width=0.25, classes=3).double()


def walked(net, recipe, seed=1):
    """(start, end) of one tensor after five steps along random gradients, and these gradients."""
    optimizer, chance = Optimizer(net, recipe), torch.Generator().manual_seed(seed)
    kernel = optimizer.parameters[0]
    start, gradients = kernel.detach().clone(), []
    for rate in RATES:
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=chance, dtype=torch.float64)
        gradients.append(kernel.grad.clone())
        optimizer.step(rate)
    return start.numpy(), kernel.detach().numpy(), [gradient.numpy() for gradient in gradients]


def test_keras_rule_is_keras_sgd(net):
    w, end, gradients = walked(net, replace(PLAIN, momentum_rule="keras"))
    v = np.zeros_like(w)
    for rate, g in zip(RATES, gradients, strict=True):
        # keras/src/optimizers/sgd.py: the rate is inside the velocity
        v = 0.9 * v - rate * g
        w = w + 0.9 * v - rate * g
    assert np.abs(w - end).max() < 1e-14


def test_torch_rule_differs_from_it_only_once_the_rate_has_changed(net):
    torch.manual_seed(0)
    other = inceptory.create("cifar_inception_v3", width=0.25, classes=3).double()
    _, one, _ = walked(net, PLAIN)
    _, two, _ = walked(other, replace(PLAIN, momentum_rule="keras"))
    assert np.abs(one - two).max() > 1e-3


def test_the_penalty_is_its_own_gradient(net):
    """The gradient of penalty * sum(w^2), taken by autograd, moves the weights as the step does."""
    torch.manual_seed(0)
    other = inceptory.create("cifar_inception_v3", width=0.25, classes=3).double()
    recipe = replace(PLAIN, penalty=1e-2, momentum=0.0)
    optimizer = Optimizer(net, recipe)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    told = optimizer.penalty()
    optimizer.step(0.5)
    value = 1e-2 * sum(p.square().sum() for p in penalised(other))
    assert told == pytest.approx(float(value.detach()), rel=1e-12)
    value.backward()
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        moved = theirs.detach() - 0.5 * (theirs.grad if theirs.grad is not None else 0)
        assert torch.allclose(mine.detach(), moved, atol=1e-15)


def test_the_tutorials_penalty_takes_kernels_everywhere_and_biases_inside_modules(net):
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    found = {names[id(parameter)] for parameter in penalised(net)}
    assert {name for name, parameter in net.named_parameters() if parameter.ndim > 1} <= found
    biases = {name for name in found if name.endswith(".bias")}
    assert biases == {
        name for name, _ in net.named_parameters() if name.endswith("conv.bias") and name.startswith("Mixed_")
    }
    assert biases
    assert "Conv2d_1a_3x3.conv.bias" not in found
    assert "head.classifier.bias" not in found


def test_kernels_decay_and_norms_and_biases_do_not(net):
    groups = Optimizer(net, QUICK).inner.param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    expected = {id(each): QUICK.weight_decay if each.ndim > 1 else 0.0 for each in net.parameters()}
    assert decays == expected


def test_clipping_shortens_the_gradient_of_all_tensors_together(net):
    recipe = replace(PLAIN, clip=2.0, momentum=0.0)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    Optimizer(net, recipe).step(1.0)
    moved = sum((b - p.detach()).square().sum() for b, p in zip(before, net.parameters(), strict=True))
    assert float(moved) ** 0.5 == pytest.approx(2.0, rel=1e-6)


def test_the_average_follows_its_formula(net):
    average = Average(net, 0.5)
    name = "Conv2d_1a_3x3.conv.weight"
    expected = net.get_parameter(name).detach().clone()
    for step in range(6):
        with torch.no_grad():
            net.get_parameter(name).add_(1)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net.get_parameter(name).detach()
    assert torch.allclose(average.net.get_parameter(name), expected)


def values_of(count, size=32):
    chance = torch.Generator().manual_seed(3)
    values = torch.randn(count, 3, size, size, generator=chance, dtype=torch.float64)
    return values, torch.randint(3, (count,), generator=chance)


def test_biased_moving_variance_is_the_mean_square_deviation(net):
    first = net.get_submodule("Conv2d_1a_3x3")
    stepper = Stepper(net, replace(document("tutorial"), average=0.0), Device("cpu"))
    values, labels = values_of(4)
    with torch.no_grad():
        maps = first.conv(values)
    stepper.step(0, 0.01, [(values, Targets(labels))])
    spread = maps.var((0, 2, 3), unbiased=False)
    assert torch.allclose(first.bn.running_var, 0.9 + 0.1 * spread, rtol=1e-12)
    assert torch.allclose(first.bn.running_mean, 0.1 * maps.mean((0, 2, 3)), rtol=1e-12)


def test_two_halves_give_the_step_of_the_mean_over_both():
    """Accumulated parts weigh by their pictures; each is normalised by itself."""
    nets = []
    for parts in ((6, 2), (8,)):
        torch.manual_seed(0)
        net = inceptory.create("googlenet", dialect="caffe", width=0.25, classes=3, image=64, dropout=0.0).double()
        values, labels = values_of(8, 64)
        stepper = Stepper(net, PLAIN, Device("cpu"))
        cut = zip(values.split(list(parts)), labels.split(list(parts)), strict=True)
        found = stepper.step(0, 0.1, [(v, Targets(t)) for v, t in cut])
        nets.append((net, found))
    (one, first), (two, second) = nets
    assert first.losses == pytest.approx(second.losses, rel=1e-12)
    # Caffe's GoogLeNet has no batch norm, so that the halves cannot be told from the whole.
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_auxiliary_heads_weigh_in_the_loss_as_their_papers_say():
    torch.manual_seed(0)
    net = inceptory.create("googlenet", aux=True, width=0.25, classes=3, image=64, dropout=0.0)
    stepper = Stepper(net, QUICK, Device("cpu"), heads=lambda _: heads)
    labels = torch.tensor([0, 1])
    heads = {name: torch.randn(2, 3, requires_grad=True) for name in ("logits", "aux1", "aux2")}
    terms = {
        name: torch.nn.functional.cross_entropy(value, labels, label_smoothing=0.1, reduction="sum")
        for name, value in heads.items()
    }
    expected = terms["logits"] + 0.3 * terms["aux1"] + 0.3 * terms["aux2"]
    outcome = stepper.step(0, 0.0, [(torch.zeros(2, 3, 64, 64), Targets(labels))])
    assert outcome.losses == pytest.approx(float(expected.detach()), rel=1e-5)


def test_mixed_targets_weigh_by_their_share():
    net = inceptory.create("cifar_inception_v3", width=0.25, classes=3)
    stepper = Stepper(net, Recipe(label_smoothing=0.0), Device("cpu"))
    logits = torch.randn(2, 3)
    labels, others = torch.tensor([0, 1]), torch.tensor([1, 2])
    cross = torch.nn.functional.cross_entropy
    expected = 0.3 * cross(logits, labels, reduction="sum") + 0.7 * cross(logits, others, reduction="sum")
    assert torch.allclose(stepper._loss(logits, Targets(labels, others, torch.tensor([0.3, 0.3]))), expected)
