"""Layers are torch's own classes: what other people's code does with those, it does with every network."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import inceptory
from inceptory import Recipe
from inceptory.engines.device import Device
from inceptory.errors import ConfigError
from inceptory.learn.step import Stepper
from inceptory.nets import blocks
from inceptory.nets.arithmetic import output_size, state_shapes, steps
from inceptory.nets.catalogue import catalogue, plan
from inceptory.nets.layers import Kernel
from inceptory.nets.network import Network, create, empty
from tests.nets.test_trees import EVERY

KINDS = [("googlenet", "caffe"), ("inception_v3", "keras"), ("xception", "keras"), ("cifar_inception_v1", "keras")]
"""Biases and ceil pools without norms; pools taken late and no gamma; padding that follows the map, and gamma; a
norm that is a stage of its own."""


def each(fast: list[tuple[str, str]]) -> list[object]:
    """Every network in every dialect; those that are not `fast` show nothing new and are slow."""
    return [pytest.param(pair, marks=[] if pair in fast else pytest.mark.slow, id="-".join(pair)) for pair in EVERY]


@pytest.fixture(scope="module", params=each(KINDS))
def net(request: pytest.FixtureRequest) -> Network:
    """A thin network whose norms remember something, in eval mode; a test that changes it takes a copy."""
    name, dialect = request.param
    torch.manual_seed(0)
    made = create(name, dialect=dialect, width=0.25, classes=3, dropout=0.0)
    with torch.no_grad():
        for key, buffer in made.named_buffers():
            buffer.uniform_(0.5, 1.5) if key.endswith("running_var") else buffer.normal_(0, 0.1)
    return made.eval()


def values(net: Network, extra: int = 0) -> Tensor:
    """Four pictures near the smallest that the network takes, of unequal sides."""
    size = net.minimum + 16 + extra
    return torch.rand(4, 3, size, size + 3, generator=torch.Generator().manual_seed(extra))


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks hold the same tensors under the same names, to the last bit."""
    one, other = a.state_dict(), b.state_dict()
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def copied(net: Network) -> Network:
    return copy.deepcopy(net)


@pytest.mark.parametrize("name", catalogue())
def test_every_convolution_norm_and_linear_layer_is_one_of_torchs(name: str):
    net = empty(plan(name, width=0.25, se=True, aux=catalogue()[name].aux))
    kinds = Counter(shape for shape in map(len, (value.shape for value in net.state_dict().values())))
    parts = list(net.modules())
    assert sum(isinstance(part, nn.Conv2d) for part in parts) == kinds[4]
    assert sum(isinstance(part, nn.Linear) for part in parts) == kinds[2]
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == sum(key.endswith("running_mean") for key in net.state_dict())
    assert all(norm.num_batches_tracked is None for norm in norms)
    assert not any("num_batches" in key for key in net.state_dict())
    for part in parts:
        if isinstance(part, nn.Conv2d):
            assert part.weight.shape == (part.out_channels, part.in_channels // part.groups, *part.kernel_size)
        if isinstance(part, nn.Linear):
            assert part.weight.shape == (part.out_features, part.in_features)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (5, 5), (1, 7), (7, 1), (3, 2)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pad", ["same", "symmetric", "valid"])
def test_what_a_convolution_says_of_itself_gives_its_map(kernel, stride, pad):
    init = blocks.Init("he_normal")
    layer = Kernel(blocks.Conv(4, kernel, stride, pad, bias=False, norm=False, init=init), 2)
    layer.reset_parameters()
    assert (layer.kernel_size, layer.stride) == (kernel, (stride, stride))
    for size in (8, 9, 10, 11):
        sides = [output_size(size, side, stride, pad) for side in kernel]
        assert list(layer(torch.rand(1, 2, size, size)).shape[2:]) == sides
        if not layer.follows_map:
            assert sides == [
                (size + 2 * padding - side) // stride + 1 for side, padding in zip(kernel, layer.padding, strict=True)
            ]
    period = range(1, stride + 1)
    same = {(size, side): blocks_same(size, side, stride) for size in period for side in kernel}
    varies = pad == "same" and any(len({same[size, side] for size in period}) > 1 for side in kernel)
    uneven = pad == "same" and any(before != after for before, after in same.values())
    assert layer.follows_map == (varies or uneven)
    assert ("padding as TensorFlow's same" in repr(layer)) == layer.follows_map


def blocks_same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's definition in its own words: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2."""
    total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
    return total // 2, total - total // 2


def test_a_freezing_loop_freezes_every_norm(net: Network):
    mine = copied(net).train()
    before = {name: buffer.clone() for name, buffer in mine.named_buffers()}
    for part in mine.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    mine.heads(values(mine))
    assert all(torch.equal(buffer, before[name]) for name, buffer in mine.named_buffers())
    mine.train().heads(values(mine))
    assert not any(torch.equal(buffer, before[name]) for name, buffer in mine.named_buffers())


def test_synchronised_norms_keep_all_that_they_replace(net: Network):
    plain, other = copied(net), copied(net)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(other)
    norms = [part for part in plain.modules() if isinstance(part, nn.BatchNorm2d)]
    replaced = [part for part in converted.modules() if isinstance(part, nn.SyncBatchNorm)]
    assert len(norms) == len(replaced)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in converted.modules())
    for old, new in zip(norms, replaced, strict=True):
        assert (old.eps, old.momentum, old.weight is None) == (new.eps, new.momentum, new.weight is None)
    assert same(plain, converted)
    x = values(net)
    with torch.no_grad():
        assert torch.equal(plain(x), converted(x))
        assert torch.equal(plain.train()(x), converted.train()(x))
    assert same(plain, converted)
    # As a file of tensors gives them, which knows no versions of torch's classes.
    assert not any(converted.load_state_dict(dict(net.state_dict())))
    assert same(net, converted)


def test_gradient_checkpointing_takes_a_batch_in_once_by_synchronised_norms_too():
    torch.manual_seed(0)
    plain = create("inception_v2", width=0.25, image=32, classes=3, dropout=0.0).train()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copied(plain))
    converted.checkpointing = True
    for each in (plain, converted):
        each(values(plain)).sum().backward()
    assert same(plain, converted)


def test_the_biased_variance_which_synchronised_norms_do_not_know_is_refused():
    recipe = Recipe(moving_variance="biased")
    net = create("cifar_inception_v2", width=0.25, classes=3)
    Stepper(net, recipe, Device("cpu"))
    names = [type(part).__name__ for part in net.modules()]
    with pytest.raises(ConfigError, match=r"^moving variance biased: SyncBatchNorm knows the unbiased .*\)$"):
        nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert names == [type(part).__name__ for part in net.modules()], "nothing was exchanged"
    Stepper(net, Recipe(), Device("cpu"))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    with pytest.raises(ConfigError, match=r"^--moving-variance biased: SyncBatchNorm knows the unbiased .*\)$"):
        Stepper(converted, recipe, Device("cpu"))


def test_fx_traces_a_graph_for_every_size_and_mode(net: Network):
    mine = copied(net)
    traced = torch.fx.symbolic_trace(mine)
    called = Counter(
        type(mine.get_submodule(str(node.target))) for node in traced.graph.nodes if node.op == "call_module"
    )
    wanted = Counter(type(part) for part in mine.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.Linear))
    assert {kind: called[kind] for kind in wanted} == wanted
    with torch.no_grad():
        for extra in (0, 7):
            assert torch.equal(traced(values(mine, extra)), mine(values(mine, extra)))
    before = {name: buffer.clone() for name, buffer in mine.named_buffers()}
    traced.train()(values(mine))
    assert not any(torch.equal(buffer, before[name]) for name, buffer in mine.named_buffers())


@pytest.mark.parametrize("name", ["cifar_inception_v3", pytest.param("xception", marks=pytest.mark.slow)])
def test_fx_traces_training_too(name: str):
    torch.manual_seed(0)
    net = create(name, width=0.25, classes=3, dropout=0.0).train()
    for part in net.modules():
        if hasattr(part, "drop"):
            part.drop = 0.5
    other = copied(net)
    traced = torch.fx.symbolic_trace(other)
    answers = []
    for each in (net, traced):
        torch.manual_seed(1)
        answers.append(each(values(net)))
    assert torch.equal(*answers)
    assert same(net, other)


def test_flop_counters_count_the_multiply_adds_of_the_arithmetic(net: Network):
    size = net.minimum + 16
    made = plan(net.plan.architecture, **{**net.plan.options(), "dialect": net.plan.dialect, "image": size})
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(2, 3, size, size))
    numbers = made.numbers()
    assert counter.get_total_flops() == 2 * 2 * numbers["macs"], "two pictures, two operations"
    counted = counter.get_flop_counts()
    for stage in numbers["stages"]:
        assert sum(counted.get(f"Network.{stage['name']}", {}).values()) == 2 * 2 * stage["macs"], stage["name"]


@pytest.mark.parametrize("net", each(KINDS[-1:]), indirect=True)
def test_export_keeps_the_answer(net: Network):
    x = values(net)
    exported = torch.export.export(net, (x,)).module()
    with torch.no_grad():
        assert torch.equal(exported(x), net(x))


# What timm's users ask a network


def test_features_are_described_as_timm_describes_them():
    """The tables of timm 1.0.31, by the names of ours."""
    known = {
        "inception_v3": [(64, 2), (192, 4), (288, 8), (768, 16), (2048, 32)],
        "inception_resnet_v2": [(64, 2), (192, 4), (320, 8), (1088, 16), (1536, 32)],
        "xception": [(64, 2), (128, 4), (256, 8), (728, 16), (2048, 32)],
    }
    for name, expected in known.items():
        net = empty(plan(name))
        assert [(level["num_chs"], level["reduction"]) for level in net.feature_info] == expected
        assert net.num_features == expected[-1][0]
    modules = [level["module"] for level in empty(plan("inception_v3")).feature_info]
    assert modules == ["Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"]


@pytest.mark.parametrize("pair", each([(name, next(iter(found.dialects))) for name, found in catalogue().items()]))
def test_features_are_the_last_map_of_each_resolution(pair: tuple[str, str]):
    """Of a large picture, where borders matter little, a map shows by its size how many pixels a cell steps over."""
    net, size = empty(plan(pair[0], dialect=pair[1], width=0.25)), 8192
    shapes = {part: shape for part, shape, _ in steps(net.plan.tree, 3, size, size)}
    last = {round(size / shapes[stage][1]): stage for stage in net.stage_names}
    assert [(level["reduction"], level["module"]) for level in net.feature_info] == list(last.items())
    assert [level["num_chs"] for level in net.feature_info] == [shapes[stage][0] for stage in last.values()]
    assert net.num_features == shapes[net.stage_names[-1]][0]


# A plan is decided once


def test_a_network_is_made_of_a_plan_as_of_its_name(monkeypatch: pytest.MonkeyPatch):
    decided = plan("cifar_inception_v2", width=0.25, classes=3)
    nets = []
    for given in ((decided, {}), ("cifar_inception_v2", {"width": 0.25, "classes": 3})):
        torch.manual_seed(0)
        nets.append(inceptory.create(given[0], **given[1]))
    assert nets[0].plan is decided
    assert nets[0].plan == nets[1].plan
    assert same(*nets)
    with pytest.raises(ConfigError, match=r"^classes, width: a plan has decided every option \(.*\)$"):
        create(decided, classes=3, width=0.25)


def test_checking_an_input_never_asks_the_tree_for_its_hash(monkeypatch: pytest.MonkeyPatch):
    """A cache by the tree would walk through all of it at every call."""
    net, asked, real = empty(plan("inception_v3")), [], blocks.Tree.__hash__

    def counting(tree: blocks.Tree) -> int:
        asked.append(1)
        return real(tree)

    monkeypatch.setattr(blocks.Tree, "__hash__", counting)
    x = torch.empty(1, 3, 299, 299, device="meta")
    for _ in range(1000):
        net._check(x)
    assert not asked
    assert state_shapes(net.plan.tree, 3, 299)
    assert asked, "whoever asks is counted"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_reach_the_branches_of_a_module_in_one_piece(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    net = create("cifar_inception_fast", width=0.25).to(memory_format=layout)
    arrived: list[bool] = []

    def watch(branch: nn.Module, inputs: object, answer: Tensor) -> None:
        assert answer.grad_fn is not None
        answer.grad_fn.register_prehook(lambda grads: arrived.append(grads[0].is_contiguous(memory_format=layout)))

    for path, module in net.named_modules():
        if path.rpartition(".")[2].startswith("branch"):
            module.register_forward_hook(watch)
    net(values(net).to(memory_format=layout)).square().sum().backward()
    assert arrived == [True] * 16, "three modules with four branches, two reductions with two"
