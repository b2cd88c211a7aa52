"""The published numbers, exact."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import pytest
from torch import Tensor

from inceptory.nets.arithmetic import steps
from inceptory.nets.blocks import SE, Conv, Linear
from inceptory.nets.catalogue import catalogue, plan
from inceptory.nets.network import empty

# name, dialect, classes, parameters, total with batch norm statistics, multiply-adds in 10^9
PUBLISHED = [
    ("googlenet", "torchvision", 1000, 6_624_904, 6_639_464, 1.498),
    ("googlenet", "caffe", 1000, 6_998_552, 6_998_552, 1.583),
    ("bn_inception", "cadene", 1000, 11_295_240, 11_315_272, 2.033),
    ("inception_v2", "slim", 1000, 11_188_224, None, 1.935),
    ("inception_v3", "torchvision", 1000, 23_834_568, None, 5.713),
    ("inception_v3", "keras", 1000, 23_817_352, 23_851_784, 5.713),
    ("inception_v3", "fid", 1008, 23_850_960, None, None),
    ("inception_v4", "timm", 1000, 42_679_816, None, 12.254),
    ("inception_resnet_v1", "paper", 1000, 22_756_328, None, 6.21),
    ("inception_resnet_v1", "facenet", 0, 23_482_624, 23_512_224, 1.418),
    ("inception_resnet_v1", "facenet", 8631, 27_910_327, None, None),
    ("inception_resnet_v1", "facenet", 10575, 28_907_599, None, None),
    ("inception_resnet_v2", "timm", 1000, 55_843_464, None, 13.156),
    ("inception_resnet_v2", "keras", 1000, 55_813_192, 55_873_736, 13.156),
    ("inception_resnet_v2", "paper", 1000, 32_433_928, None, None),
    ("xception", "keras", 1000, 22_855_952, 22_910_480, 8.357),
    ("xception41", "timm", 1000, 26_969_560, None, 9.204),
    ("xception65", "timm", 1000, 39_916_312, None, 13.853),
    ("xception71", "timm", 1000, 42_338_736, None, 17.947),
    ("cifar_inception_v1", "keras", 10, 5_984_424, 5_984_936, None),
    ("cifar_inception_v2", "keras", 10, 10_190_186, 10_210_090, None),
    ("cifar_inception_v3", "keras", 10, 23_359_978, 23_397_866, 0.0819),
    ("cifar_inception_v3_slim", "keras", 10, 23_192_282, 23_229_370, 4.191),
    ("cifar_inception_v3_slim_352", "keras", 10, 21_180_538, 21_215_770, 3.687),
    ("cifar_inception_v3_stem_slim", "keras", 10, 23_359_978, 23_397_866, 4.362),
    ("cifar_inception_fast", "inceptory", 10, 1_415_330, 1_418_082, 0.0527),  # ours: the weights that ship have these
]

WITH_AUXILIARY_HEADS = [
    ("googlenet", "torchvision", 13_004_888),
    ("googlenet", "caffe", 13_378_280),
    ("inception_v3", "torchvision", 27_161_264),
    ("inception_v4", "timm", 46_039_280),
    ("inception_resnet_v2", "timm", 59_211_120),
]


@pytest.mark.parametrize(("name", "dialect", "classes", "parameters", "total", "gmacs"), PUBLISHED)
def test_counts_equal_the_published_ones(name, dialect, classes, parameters, total, gmacs):
    numbers = plan(name, dialect=dialect, classes=classes).numbers()
    assert numbers["parameters"] == parameters
    if total is not None:
        assert numbers["total"] == total
    if gmacs is not None:
        decimals = len(str(gmacs).split(".")[1])
        assert round(numbers["macs"] / 1e9, decimals) == gmacs


@pytest.mark.parametrize(("name", "dialect", "parameters"), WITH_AUXILIARY_HEADS)
def test_auxiliary_heads_count_as_published(name, dialect, parameters):
    with_heads, without = (plan(name, dialect=dialect, aux=aux).numbers() for aux in (True, False))
    assert with_heads["parameters"] == parameters
    assert with_heads["macs"] == without["macs"], "an answer does not compute them"


def test_squeeze_and_excitation_adds_its_published_count():
    assert plan("inception_v3", se=True).numbers()["parameters"] == 25_485_512


def test_gamma_is_all_that_separates_two_counts_of_inception_v2():
    from dataclasses import replace

    from inceptory.nets.arithmetic import rows
    from inceptory.nets.papers.bn_inception import SLIM, bn_inception
    from inceptory.nets.transform import inherit

    bare = inherit(bn_inception(SLIM), replace(SLIM.defaults, gamma=False))
    assert sum(row.parameters for row in rows(bare, 3, 224)) == 11_178_336


@pytest.mark.parametrize("name", catalogue())
def test_the_numbers_of_every_stage_are_those_of_its_module(name):
    decided = plan(name, aux=catalogue()[name].aux, se=True)
    net, numbers = empty(decided), decided.numbers()
    for stage in numbers["stages"]:
        assert stage["parameters"] == held(net.get_submodule(stage["name"]).parameters()), stage["name"]
    assert numbers["parameters"] == held(net.parameters())
    assert numbers["statistics"] == held(net.buffers())
    assert numbers["total"] == held(net.state_dict().values())


@pytest.mark.parametrize("name", catalogue())
def test_every_weight_of_a_kernel_costs_a_multiply_add_for_each_cell_of_its_map(name):
    decided = plan(name, aux=catalogue()[name].aux, se=True)
    net, numbers = empty(decided), decided.numbers()
    costs = {
        part: sum(
            held(value for value in net.get_submodule(step.path).parameters() if value.ndim > 1)
            * (prod(step.after[1:]) if isinstance(step.node, Conv) else 1)
            for step in inside
            if isinstance(step.node, Conv | Linear | SE)
        )
        for part, _, inside in steps(decided.tree, 3, decided.image, decided.image)
    }
    assert {stage["name"]: stage["macs"] for stage in numbers["stages"]} == costs
    training_only = {aux.name for aux in decided.tree.aux}
    assert numbers["macs"] == sum(cost for part, cost in costs.items() if part not in training_only)


def held(tensors: Iterable[Tensor]) -> int:
    """Values in all of them."""
    return sum(tensor.numel() for tensor in tensors)
