"""Frozen parts keep every bit that they are, and the others learn at the rate of their depth."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import inceptory
from inceptory import Recipe
from inceptory.engines.device import Device
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper
from inceptory.learn.update import norms
from inceptory.learn.update.depth import scales
from inceptory.learn.update.optim import Optimizer
from inceptory.nets.network import Network
from inceptory.system.ranks import Ranks

HALF = Recipe(unfreeze=0.5, depth_rate=0.5, average=0.5, penalty=1e-3, clip=5.0, momentum_rule="keras")
"""Everything that moves weights, and with the average all that moves statistics."""
UPPER = ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_6f", "Mixed_7a", "Mixed_7b", "Mixed_7c")
"""The last nine of seventeen stages with weights."""


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return inceptory.create("cifar_inception_v3", width=0.25, classes=3)


def values(seed: int) -> tuple[Tensor, Targets]:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 32, 32, generator=chance), Targets(torch.randint(3, (4,), generator=chance))


def bits(net: Network) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in net.state_dict().items()}


def part_of(name: str) -> str:
    return name.partition(".")[0]


def test_a_share_of_the_stages_with_weights_learns_and_rates_fall_from_the_head_down():
    factors = scales(network(), 0.5, 0.5)
    assert factors == {"head": 1.0, **{name: 0.5**depth for depth, name in enumerate(reversed(UPPER), 1)}}
    assert list(scales(network(), 1e-9, 1.0)) == ["head", "Mixed_7c"], "one at least"
    assert set(scales(network(), 1.0, 0.5)) == {
        name for name, part in network().named_children() if list(part.parameters())
    }


def test_a_share_that_is_a_number_of_stages_is_that_number():
    net = network()
    count = len(scales(net, 1.0, 1.0)) - 1
    for learning in range(1, count + 1):
        assert len(scales(net, learning / count, 1.0)) == 1 + learning


def test_an_auxiliary_head_learns_where_its_stage_does():
    net = inceptory.create("googlenet", dialect="caffe", width=0.25, classes=3, image=64, aux=True)
    heads = {aux.name: aux.after for aux in net.plan.tree.aux}
    low, high = heads
    share = 4 / 12  # of 12 stages with weights: Mixed_4e and all above it
    assert heads == {low: "Mixed_4b", high: "Mixed_4e"}
    stepper = Stepper(net, Recipe(unfreeze=share, average=0.0), Device("cpu"))
    before = bits(net)
    chance = torch.Generator().manual_seed(0)
    pictures = torch.randn(4, 3, 64, 64, generator=chance)
    stepper.step(0, 0.01, [(pictures, Targets(torch.tensor([0, 1, 2, 0])))])
    after = bits(net)
    moved = {part_of(name) for name in before if before[name] != after[name]}
    assert moved == {"head", high, "Mixed_4e", "Mixed_4f", "Mixed_5b", "Mixed_5c"}
    assert not net.get_submodule(low).training, "its dropout drops nothing"
    assert net.get_submodule(high).training


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_steps_move_every_tensor_that_learns_and_no_bit_of_the_others(optimizer: str):
    options = {"penalty": HALF.penalty, "clip": HALF.clip, "weight_decay": 0.01}
    net = network()
    stepper = Stepper(net, Recipe(unfreeze=0.5, optimizer=optimizer, average=0.5, **options), Device("cpu"))
    before = bits(net)
    for number, rate in enumerate((0.1, 0.05)):
        outcome = stepper.step(number, rate, [values(number)])
        assert outcome.finite
    norms.renew(stepper.answering, [values(2)[0]])
    norms.right(net, [(values(3)[0], values(3)[1].labels)], lambda logits, labels: (logits.argmax(1) == labels).sum())
    for mine in (net, stepper.answering):
        after = bits(mine)
        equal = {name for name in before if after[name] == before[name]}
        assert equal == {name for name in before if part_of(name) not in ("head", *UPPER)}
        assert stepper.frozen.unchanged(mine)
    assert {name for name, _ in net.named_parameters() if _.requires_grad} == set(stepper.optimizer.names)


def test_a_moved_statistic_of_a_frozen_part_is_seen():
    stepper = Stepper(network(), HALF, Device("cpu"))
    assert stepper.frozen.unchanged(stepper.answering)
    stepper.answering.get_buffer("Mixed_5b.branch0.0.bn.running_var")[0] += 1e-6
    assert not stepper.frozen.unchanged(stepper.answering)


def test_each_depth_moves_by_its_share_of_the_rate_and_only_kernels_decay():
    net, start = network(), network().state_dict()
    Stepper(
        net, recipe := Recipe(unfreeze=0.5, depth_rate=0.5, momentum=0.0, weight_decay=0.1, average=0.0), Device("cpu")
    )
    optimizer = Optimizer(net, recipe)
    for rate in (0.5, 0.25):
        for parameter in optimizer.parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step(rate)
    factors = scales(net, 0.5, 0.5)
    for name, parameter in net.named_parameters():
        expected = start[name].clone()
        for rate in (0.5, 0.25) if part_of(name) in factors else ():
            expected -= rate * factors[part_of(name)] * (1 + (0.1 * expected if parameter.ndim > 1 else 0))
        assert torch.allclose(parameter, expected, atol=1e-6), name
    assert optimizer.rate == 0.25


def test_keras_rule_holds_at_every_depth():
    net = network().double()
    recipe = Recipe(unfreeze=0.5, depth_rate=0.5, weight_decay=0.0, average=0.0, momentum_rule="keras")
    optimizer = Stepper(net, recipe, Device("cpu")).optimizer
    name = "Mixed_7b.branch0.0.conv.weight"
    kernel = net.get_parameter(name)
    w, v = kernel.detach().clone(), torch.zeros_like(kernel)
    for rate in (0.1, 0.01, 0.04):
        for parameter in optimizer.parameters:
            parameter.grad = torch.full_like(parameter, rate)
        optimizer.step(rate)
        v = 0.9 * v - 0.25 * rate * rate
        w = w + 0.9 * v - 0.25 * rate * rate
    assert torch.allclose(kernel, w, atol=1e-15)


@pytest.mark.slow
def test_a_state_goes_on_bit_for_bit_and_belongs_to_the_network_that_it_began_with():
    one = Stepper(network(), HALF, Device("cpu"))
    one.step(0, 0.1, [values(0)])
    kept = {name: tensor.clone() for name, tensor in one.tensors().items()}
    other = Stepper(network(), HALF, Device("cpu"))
    other.load(kept, 0.1)
    for stepper in (one, other):
        torch.manual_seed(1)  # of dropout
        stepper.step(1, 0.05, [values(1)])
    assert bits(one.net) == bits(other.net)
    assert bits(one.answering) == bits(other.answering)
    strange = network()
    strange.get_buffer("Mixed_5b.branch0.0.bn.running_var")[0] += 1
    with pytest.raises(ValueError, match="those of another network"):
        Stepper(strange, HALF, Device("cpu")).load(kept, 0.1)


def test_processes_share_only_what_learning_norms_remember():
    shared = list[Tensor]()

    class Noting(Ranks):
        def share_statistics(self, buffers: Sequence[Tensor]) -> None:
            shared.extend(buffers)

    net = network()
    Stepper(net, HALF, Device("cpu"), Noting()).step(0, 0.1, [values(0)])
    assert {id(buffer) for buffer in shared} == {
        id(buffer) for name, buffer in net.named_buffers() if part_of(name) in UPPER
    }


def test_recomputed_maps_give_the_same_step():
    ends = []
    for again in (False, True):
        net = network().double()
        recipe = Recipe(unfreeze=0.5, average=0.0, gradient_checkpointing=again)
        x, targets = values(0)
        Stepper(net, recipe, Device("cpu")).step(0, 0.1, [(x.double(), targets)])
        ends.append(net.state_dict())
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=1e-12) for name in ends[0])


def test_norms_that_stay_as_they_are_answer_as_before_while_all_else_learns():
    net = network()
    stepper = Stepper(net, Recipe(freeze_norms=True, average=0.5), Device("cpu"))
    before = bits(net)
    stepper.step(0, 0.1, [values(0)])
    norms.renew(stepper.answering, [values(1)[0]])
    for mine in (net, stepper.answering):
        after = bits(mine)
        still = {name for name in before if before[name] == after[name]}
        assert still == {name for name in before if ".bn." in name}
        assert stepper.frozen.unchanged(mine)
    assert not net.get_submodule("Mixed_7c.branch0.0.bn").training
    assert net.get_submodule("Mixed_7c").training
    stepper.net.get_buffer("Mixed_7c.branch0.0.bn.running_var")[0] += 1e-6
    assert not stepper.frozen.unchanged(stepper.net)
