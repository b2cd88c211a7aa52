"""Networks start training as their origins do."""

from __future__ import annotations

import math

import pytest
import torch

from inceptory.nets.blocks import Init
from inceptory.nets.initialisation import start
from inceptory.nets.network import create

SHAPE = (256, 128, 3, 3)
FAN_IN, FAN_OUT = 128 * 9, 256 * 9


@pytest.mark.parametrize(
    ("init", "std", "largest"),
    [
        (Init("he_normal"), math.sqrt(2 / FAN_IN), 2 * math.sqrt(2 / FAN_IN) / 0.8796),
        (Init("he_normal_out"), math.sqrt(2 / FAN_OUT), None),
        (Init("glorot_uniform"), math.sqrt(2 / (FAN_IN + FAN_OUT)), math.sqrt(6 / (FAN_IN + FAN_OUT))),
        (Init("xavier_caffe"), math.sqrt(1 / FAN_IN), math.sqrt(3 / FAN_IN)),
        (Init("truncated_normal", std=0.1), 0.1 * 0.8796, 0.2),
        (Init("normal", std=0.1), 0.1, None),
        (Init("torch"), 1 / math.sqrt(3 * FAN_IN), 1 / math.sqrt(FAN_IN)),
    ],
    ids=lambda value: value.kind if isinstance(value, Init) else "",
)
def test_a_start_has_the_deviation_and_the_limit_of_its_definition(init, std, largest):
    torch.manual_seed(0)
    weight = torch.empty(SHAPE)
    start(weight, None, init)
    assert abs(weight.mean().item()) < 0.01 * std * 3
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    if largest is not None:
        assert 0.95 * largest < weight.abs().max().item() <= largest * 1.0001
    else:
        assert weight.abs().max().item() > 4 * std, "a normal without a cut has tails"


@pytest.mark.parametrize(("filters", "handed"), [(6, 4), (3, 3)])
def test_kernels_that_begin_as_the_identity_hand_on_their_inputs(filters, handed):
    weight = torch.empty(filters, 4, 3, 3)
    start(weight, None, Init("identity"))
    x = torch.randn(1, 4, 5, 5)
    y = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(y[:, :handed], x[:, :handed])
    assert (weight[handed:] != 0).all(), "the others are drawn"
    point = torch.empty(6, 4, 1, 1)
    start(point, None, Init("identity"))
    assert (point != 0).all(), "and so is a 1x1"


def test_keras_he_normal_equals_keras_own_formula():
    # keras/src/initializers: stddev = sqrt(scale / fan_in) / .87962566103423978, cut at two of these.
    torch.manual_seed(0)
    weight = torch.empty(SHAPE)
    start(weight, None, Init("he_normal"))
    assert weight.abs().max().item() <= 2 * math.sqrt(2 / FAN_IN) / 0.87962566103423978


@pytest.mark.parametrize(
    ("name", "dialect", "weight", "std"),
    [
        ("inception_v3", "torchvision", "Mixed_5b.branch0.0.conv.weight", 0.1),
        ("inception_v3", "torchvision", "head.classifier.weight", 0.1),
        ("inception_v3", "torchvision", "AuxLogits.body.1.conv.weight", 0.01 * 0.8796),
        ("inception_v3", "torchvision", "AuxLogits.classifier.weight", 0.001 * 0.8796),
        ("googlenet", "torchvision", "Mixed_5c.branch0.0.conv.weight", 0.01),
        ("googlenet", "slim", "Mixed_5c.branch0.0.conv.weight", 0.01 * 0.8796),
        ("googlenet", "caffe", "Mixed_5c.branch0.0.conv.weight", math.sqrt(1 / 832)),
        ("xception", "timm", "block4.shortcut.conv.weight", math.sqrt(2 / 728)),
    ],
)
def test_each_origin_starts_in_its_own_way(name, dialect, weight, std):
    torch.manual_seed(0)
    net = create(name, dialect=dialect, aux=name != "xception")
    assert net.state_dict()[weight].std().item() == pytest.approx(std, rel=0.02)


def test_caffes_convolutions_start_with_a_bias_of_a_fifth():
    net = create("googlenet", dialect="caffe", width=0.25)
    assert (net.state_dict()["Mixed_3b.branch0.0.conv.bias"] == 0.2).all()
    assert (net.state_dict()["head.classifier.bias"] == 0).all()


def test_batch_norm_starts_as_the_identity():
    state = create("xception", width=0.25).state_dict()
    assert (state["block1_conv1.bn.weight"] == 1).all()
    assert (state["block1_conv1.bn.bias"] == 0).all()
    assert (state["block1_conv1.bn.running_mean"] == 0).all()
    assert (state["block1_conv1.bn.running_var"] == 1).all()
