"""Rewrites give what the plain order gives: the same values, gradients, statistics and names."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inceptory.nets.arithmetic import state_shapes
from inceptory.nets.blocks import Conv, Pool
from inceptory.nets.catalogue import catalogue, plan
from inceptory.nets.layers import BatchNorm, Chain
from inceptory.nets.layers import Conv as Layer
from inceptory.nets.network import Network, create, empty, initialise
from inceptory.nets.rewrite import folded, pools_late

BRANCHES = {
    "inception_v2": 7,
    "bn_inception": 7,
    "inception_v3": 9,
    "inception_v4": 14,
    "inception_resnet_v2": 1,
    "cifar_inception_v2": 7,
    "cifar_inception_v3": 10,
    "cifar_inception_v3_slim": 10,
    "cifar_inception_v3_slim_352": 10,
    "cifar_inception_v3_stem_slim": 10,
    "cifar_inception_fast": 3,
}
"""How many pool branches of each network start with an average; the last of v2 and fid's v3 is a maximum."""

DIALECTS = [(name, dialect) for name in BRANCHES for dialect in catalogue()[name].dialects]


def randomised(net: Network) -> Network:
    """Biases and norms that matter: a bias of zero would hide where it is added."""
    initialise(net)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.normal_(0, 0.5)
            elif tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    return net


def rewritten(net: nn.Module) -> list[Chain]:
    return [part for part in net.modules() if isinstance(part, Chain) and part.late]


def plain(net: nn.Module) -> nn.Module:
    """A copy that takes every pool where it stands."""
    copy = deepcopy(net)
    for part in rewritten(copy):
        part.late.clear()
    return copy


def answer(net: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the network gives, and the gradients of all parameters and of the input under a fixed pull."""
    x = x.clone().requires_grad_()
    y = net(x)
    pull = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    y.backward(pull)
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    return y.detach(), {**gradients, "input": x.grad}


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("name", catalogue())
def test_every_average_before_a_narrowing_1x1_is_found(name: str):
    net = Network(plan(name, width=0.25))
    assert sum(len(chain.late) for chain in rewritten(net)) == BRANCHES.get(name, 0)


@lru_cache(maxsize=1)
def quarter(name: str, dialect: str) -> Network:
    torch.manual_seed(0)
    return randomised(Network(plan(name, dialect=dialect, width=0.25))).double()


@pytest.mark.parametrize("size", [8, 7, 1])
@pytest.mark.parametrize(("name", "dialect"), DIALECTS)
def test_a_branch_gives_the_same_in_either_order(name: str, dialect: str, size: int):
    torch.manual_seed(1)
    for branch in map(deepcopy, rewritten(quarter(name, dialect))):
        (weight,) = (tensor for name, tensor in branch.named_parameters() if name.endswith("conv.weight"))
        x = torch.randn(4, weight.shape[1], size, size, dtype=torch.float64)
        other = plain(branch)
        (y, gradients), (expected, expected_gradients) = answer(branch, x), answer(other, x)
        assert apart(y, expected) <= 1e-12 * expected.abs().max()
        # A bias before a norm has no gradient but rounding, so the branch's largest is the measure.
        largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
        for key, gradient in gradients.items():
            assert apart(gradient, expected_gradients[key]) <= 1e-10 * largest, key
        for key, tensor in branch.state_dict().items():
            assert apart(tensor, other.state_dict()[key]) <= 1e-12, key


@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param("cifar_inception_v3_slim", 32, marks=pytest.mark.slow), ("cifar_inception_v3_slim", 31)],
)
@pytest.mark.slow
def test_a_whole_network_trains_the_same(name: str, size: int):
    torch.manual_seed(0)
    net = randomised(create(name, width=0.25, dropout=0.0)).double()
    other = plain(net)
    x = torch.randn(8, 3, size, size, dtype=torch.float64)
    (y, gradients), (expected, expected_gradients) = answer(net, x), answer(other, x)
    assert apart(y, expected) <= 1e-12 * expected.abs().max()
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
    assert all(apart(gradient, expected_gradients[key]) <= 1e-10 * largest for key, gradient in gradients.items())
    assert list(net.state_dict()) == list(other.state_dict())


def test_answers_keep_the_order_of_the_origin_to_the_last_bit():
    torch.manual_seed(0)
    net = randomised(create("cifar_inception_v3_slim", width=0.25)).eval()
    other, x = plain(net), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        found, expected = net.features(x), other.features(x)
        assert torch.equal(net(x), other(x))
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_training_takes_the_pool_on_the_narrow_side():
    net = create("cifar_inception_v3_slim", width=0.25)
    branch = net.get_submodule("Mixed_5b.branch3")
    channels = branch.get_submodule("0.conv").weight.shape
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        pool = torch.nn.functional.avg_pool2d
        patch.setattr("torch.nn.functional.avg_pool2d", lambda x, *rest: sizes.append(x.shape[1]) or pool(x, *rest))
        for mode in (True, False):
            branch.train(mode)(torch.randn(2, channels[1], 8, 8))
    assert sizes == [channels[0], channels[1]]
    assert channels[0] < channels[1]


def test_under_autocast_the_map_stays_in_the_narrow_type():
    branch = rewritten(Network(plan("bn_inception", width=0.25)))[0]
    seen = []
    branch.get_submodule("0.bn").register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    channels = branch.get_submodule("0.conv").weight.shape[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        branch(torch.randn(2, channels, 8, 8))
    assert seen == [torch.bfloat16]


AVERAGE = Pool("avg", 3)
NARROWING = Conv(8, (1, 1))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Pool("max", 3), NARROWING),
        (Pool("avg", 3, stride=2), NARROWING),
        (AVERAGE, Conv(8, (3, 3))),
        (AVERAGE, Conv(8, (1, 1), stride=2)),
        (AVERAGE, Conv(0, (1, 1), multiplier=1)),
        (AVERAGE, Conv(32, (1, 1))),
        (AVERAGE, Pool("avg", 3)),
        (None, NARROWING),
    ],
)
def test_what_would_change_the_answer_or_cost_more_is_left_alone(first, second):
    assert pools_late(AVERAGE, NARROWING, 32)
    assert not pools_late(first, second, 32)


def arrays(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


def without_norms(net: Network) -> Network:
    tree, tensors = folded(net.plan.tree, arrays(net))
    shapes = state_shapes(tree, net.plan.in_channels, net.plan.image)
    assert {name: array.shape for name, array in tensors.items()} == shapes
    lean = empty(replace(net.plan, tree=tree))
    lean.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, assign=True)
    return lean.eval()


def require_same_answers(name: str, **options: object) -> Network:
    """Equal logits, in 64 bits and in 32; gives the folded network of 64 bits."""
    torch.manual_seed(0)
    net = randomised(Network(plan(name, width=0.25, classes=10, **options))).eval()
    x = torch.rand(2, 3, net.minimum, net.minimum) * 2 - 1
    found = {}
    with torch.inference_mode():
        for kind, most in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
            lean, expected = without_norms(net.to(kind)), net(x.to(kind))
            found[kind] = lean(x.to(kind))
            assert found[kind].dtype == kind
            assert apart(found[kind], expected) <= most * expected.abs().max()
    return lean


FAST = {"googlenet", "inception_v2", "inception_resnet_v1", "xception", "cifar_inception_v3"}


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        pytest.param(name, each, marks=[] if name in FAST and not number else pytest.mark.slow)
        for name in catalogue()
        for number, each in enumerate(catalogue()[name].dialects)
    ],
)
def test_batch_norms_folded_into_convolutions_leave_the_answers_equal(name: str, dialect: str):
    lean = require_same_answers(name, dialect=dialect)
    assert all(part.bn is None for part in lean.modules() if isinstance(part, Layer))


@pytest.mark.parametrize("name", ["inception_v3", "inception_resnet_v2"])
def test_squeeze_and_excitation_is_kept_and_auxiliary_heads_are_dropped(name: str):
    lean = require_same_answers(name, se=True, aux=True)
    assert any(key.endswith("se.reduce.weight") for key in lean.state_dict())
    assert not lean.plan.tree.aux


def test_a_norm_without_a_convolution_stays():
    lean = require_same_answers("inception_resnet_v1", dialect="facenet")
    assert [name for name, part in lean.named_modules() if isinstance(part, BatchNorm)] == ["head.neck.1"]


def test_folding_computes_in_64_bits_keeps_each_type_and_changes_nothing_given():
    torch.manual_seed(0)
    net = randomised(Network(plan("cifar_inception_v3_slim", width=0.25)))
    for kind in (torch.float32, torch.float16):
        given = arrays(net.to(kind))
        before = deepcopy(given)
        exact = folded(net.plan.tree, {name: array.astype(np.float64) for name, array in given.items()})[1]
        tensors = folded(net.plan.tree, given)[1]
        assert all(np.array_equal(array, exact[name].astype(array.dtype)) for name, array in tensors.items())
        assert {array.dtype for array in tensors.values()} == {given["head.classifier.weight"].dtype}
        assert all(np.array_equal(before[name], array) for name, array in given.items())
