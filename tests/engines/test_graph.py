"""A graph written from a tree answers as the network does, in OpenVINO and in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import LOGITS, PIXELS, PLANES, PROBABILITIES, VECTORS, Answers
from inceptory.engines.device import Device
from inceptory.engines.graph import graph_of
from inceptory.engines.onnxruntime import OnnxRuntimeEngine
from inceptory.engines.openvino import OpenVinoEngine
from inceptory.engines.torch import TorchEngine
from inceptory.nets import layers as modules
from inceptory.nets.arithmetic import output_size
from inceptory.nets.blocks import Act, Chain, Conv, Head, Node, Norm, Pool, Stage, Tree
from inceptory.nets.catalogue import plan
from inceptory.nets.network import Network, initialise
from inceptory.nets.transform import rebuild_tree
from tests.nets.test_trees import EVERY

RGB = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
FAST = {("googlenet", "caffe"), ("inception_v2", "slim"), ("inception_v3", "slim"), ("inception_resnet_v1", "facenet")}
FAST |= {("xception", "keras"), ("cifar_inception_v1", "keras"), ("cifar_inception_v3_slim", "keras")}
FEW = [pytest.param(*each, marks=[] if each in FAST else pytest.mark.slow) for each in EVERY]
EXACT = 1e-4
"""Of the largest value, the largest difference from eager PyTorch in 32 bits."""


def pictures(preprocess: Preprocess, count: int = 2) -> NDArray[np.uint8]:
    """Coarse noise, which survives the pools."""
    shape = (count, len(preprocess.mean), -(-preprocess.size // 4), -(-preprocess.size // 4))
    coarse = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, 2).repeat(4, 3)[:, :, : preprocess.size, : preprocess.size])


def lively(net: Network, preprocess: Preprocess) -> Network:
    """Weights, biases and statistics drawn at random, of the size of what its norms see.

    Centred statistics would enlarge what rounds from layer to layer, in PyTorch as elsewhere: 64 bits tell.
    """
    initialise(net)
    generator = torch.Generator().manual_seed(0)

    def near(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        size = inputs[0].transpose(0, 1).flatten(1).pow(2).mean(1).sqrt()
        size = size.clamp(min=float(size.mean()))  # what rounds in a dead channel would be enlarged
        norm.running_mean.copy_(0.3 * size * torch.randn(size.shape, generator=generator))
        norm.running_var.copy_(size**2 * (0.5 + torch.rand(size.shape, generator=generator)))

    with torch.inference_mode():
        for name, tensor in net.named_parameters():
            if tensor.ndim == 1 and name.endswith("weight"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim == 1:
                tensor.normal_(0, 0.3, generator=generator)
            else:  # some origins start so small that signals die without training
                nn.init.kaiming_normal_(tensor, generator=generator)
        hooks = [part.register_forward_pre_hook(near) for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
        net.eval()(torch.from_numpy(preprocess.values(pictures(preprocess, 4).transpose(0, 2, 3, 1))))
    for hook in hooks:
        hook.remove()
    return net


def eager(net: Network, preprocess: Preprocess, pixels: NDArray[np.uint8], *, multi_label: bool = False) -> Answers:
    """What the exact engine says, or of a network without a classifier what its embedding is."""
    engine = TorchEngine(net, preprocess, Device("cpu", "fp32"), multi_label)
    if net.head.classifier is not None:
        return engine.answers(pixels)
    nothing = np.empty((len(pixels), 0), dtype=np.float32)
    return Answers(engine.vectors(pixels), nothing, nothing)


def apart(answers: Answers, exact: Answers) -> float:
    """The largest difference, of the largest value."""
    assert [part.shape for part in answers] == [part.shape for part in exact]
    pairs = [(a, b) for a, b in zip(answers, exact, strict=True) if b.size]
    assert all(np.isfinite(b).all() and np.ptp(b) > 1e-3 for _, b in pairs), "the network must say something"
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def check(net: Network, preprocess: Preprocess, *, multi_label: bool = False) -> None:
    """Compare both engines of the graph with eager PyTorch."""
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    graph = graph_of(net.plan.tree, tensors, preprocess, multi_label=multi_label)
    onnx.checker.check_model(graph, full_check=True)
    pixels = pictures(preprocess)
    exact = eager(net, preprocess, pixels, multi_label=multi_label)
    for make in (OpenVinoEngine, OnnxRuntimeEngine):
        engine = make(graph.SerializeToString(), preprocess, multi_label=multi_label, threads=1)
        assert engine.classes == net.plan.classes
        assert apart(engine.answers(pixels), exact) <= EXACT, (str(engine), preprocess.size)


@lru_cache(maxsize=1)
def quarter(name: str, dialect: str) -> Network:
    torch.manual_seed(0)
    net = Network(plan(name, dialect=dialect, width=0.25))
    return lively(net, Preprocess(size=max(net.minimum, 32) + 9, **RGB))


@pytest.mark.parametrize(
    "more", [9, *(pytest.param(more, marks=pytest.mark.slow) for more in (14, 0))], ids=["odd", "even", "smallest"]
)
@pytest.mark.parametrize(("name", "dialect"), FEW)
def test_every_network_of_every_origin_answers_the_same(name: str, dialect: str, more: int):
    net = quarter(name, dialect)
    check(net, Preprocess(size=max(net.minimum, 32) + more if more else net.minimum, **RGB))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dialect"), EVERY)
def test_every_network_of_every_origin_answers_the_same_as_it_was_published(name: str, dialect: str):
    torch.manual_seed(0)
    net = Network(plan(name, dialect=dialect))
    preprocess = Preprocess(size=net.plan.image, **RGB)
    check(lively(net, preprocess), preprocess)


OPTIONS = [
    *[(name, {"se": True, "classes": 3}) for name in ("inception_v2", "cifar_inception_v3", "inception_resnet_v1")],
    *[("inception_resnet_v1", {"scale": scale, "classes": 3}) for scale in (0.2, "off")],
    *[(name, {"aux": True, "classes": 3}) for name in ("googlenet", "inception_v3")],
    *[(name, {"classes": 0}) for name in ("googlenet", "xception", "cifar_inception_v1")],
    ("inception_resnet_v1", {"dialect": "facenet", "classes": 4}),
    ("cifar_inception_v1", {"dropout": 0.5, "classes": 2}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda part: str(part))
def test_every_option_answers_the_same(name: str, options: dict):
    net = Network(plan(name, width=0.25, **options))
    preprocess = Preprocess(size=max(net.minimum, 32) + 3, **RGB)
    check(lively(net, preprocess), preprocess)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_every_activation_answers_the_same(activation: str):
    def changed(node: Node) -> Node:
        if isinstance(node, Conv) and node.act:
            return replace(node, act=activation)
        return replace(node, kind=activation) if isinstance(node, Act) else node

    decided = plan("cifar_inception_fast", width=0.25)
    net = Network(replace(decided, tree=rebuild_tree(decided.tree, changed)))
    preprocess = Preprocess(size=35, **RGB)
    check(lively(net, preprocess), preprocess)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(size=32, mean=(0.5,), std=(0.25,), order="L"),
        Preprocess(size=33, mean=(104.0, 117.0, 123.0), std=(58.0, 57.0, 1.0), order="BGR", divisor=1.0),
    ],
    ids=["grey", "BGR"],
)
def test_every_way_to_prepare_pixels_answers_the_same(preprocess: Preprocess, multi_label: bool):
    net = Network(plan("cifar_inception_v1", width=0.25, classes=3, in_channels=len(preprocess.mean)))
    check(lively(net, preprocess), preprocess, multi_label=multi_label)


def test_a_batch_may_hold_any_number_of_pictures_and_its_rows_do_not_mix():
    net, preprocess = quarter("cifar_inception_v1", "keras"), Preprocess(size=32, **RGB)
    graph = graph_of(net.plan.tree, {name: tensor.numpy() for name, tensor in net.state_dict().items()}, preprocess)
    pixels = pictures(preprocess, 5)
    for make in (OpenVinoEngine, OnnxRuntimeEngine):
        engine = make(graph.SerializeToString(), preprocess, threads=1)
        together = engine.answers(pixels)
        for count in (1, 2, 3, 4, 5):
            assert apart(engine.answers(pixels[:count]), Answers(*(part[:count] for part in together))) < 1e-5


def test_the_file_says_what_goes_in_and_out_and_keeps_its_texts():
    net, preprocess = quarter("cifar_inception_v1", "keras"), Preprocess(size=32, **RGB)
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    model = graph_of(net.plan.tree, tensors, preprocess, metadata={"labels": '["a", "ü"]'})
    assert [(each.key, each.value) for each in model.metadata_props] == [("labels", '["a", "ü"]')]
    (given,) = model.graph.input
    assert (given.name, given.type.tensor_type.elem_type) == (PIXELS, onnx.TensorProto.UINT8)
    axes = given.type.tensor_type.shape.dim
    assert [axis.dim_value for axis in axes][1:] == [32, 32, 3]
    assert axes[0].dim_param
    turned = graph_of(net.plan.tree, tensors, preprocess, planes=True).graph.input[0]
    assert (turned.name, [axis.dim_value for axis in turned.type.tensor_type.shape.dim][1:]) == (PLANES, [3, 32, 32])
    assert [output.name for output in model.graph.output] == [PROBABILITIES, LOGITS, VECTORS]
    assert (
        model.SerializeToString()
        == graph_of(net.plan.tree, tensors, preprocess, metadata={"labels": '["a", "ü"]'}).SerializeToString()
    ), "the same network, the same bytes"


WINDOWS = [
    (Pool(kind, kernel, stride, pad, divisor), size)
    for kind, divisor in (("max", "real"), ("avg", "real"), ("avg", "window"))
    for kernel, stride in ((2, 2), (3, 1), (3, 2), (5, 3))
    for pad in ("valid", "same", "symmetric", "ceil")
    for size in (5, 6, 7, 8)
]


def test_every_window_of_a_pool_is_that_of_the_network():
    for pool, size in WINDOWS:
        preprocess = Preprocess(size=size, mean=(0.1,), std=(1.0,), order="L")
        tree = Tree((Stage("pool", (1, 1), Chain((pool, Norm(eps=0.0, gamma=False)), ("norm",))),), Head(None))
        # A graph gives means of maps; each place of the map alone is a mean of its own, so weigh none away.
        height = output_size(size, pool.kernel, pool.stride, str(pool.pad))
        graph = graph_of(tree, {f"pool.norm.{n}": np.float32([v]) for n, v in IDENTITY.items()}, preprocess)
        graph.graph.output.append(onnx.helper.make_tensor_value_info("map", onnx.TensorProto.FLOAT, None))
        (last,) = (node for node in graph.graph.node if node.op_type == "BatchNormalization")
        graph.graph.node.append(onnx.helper.make_node("Identity", [last.output[0]], ["map"]))
        pixels = pictures(preprocess)
        session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(["map"], {PIXELS: pixels.transpose(0, 2, 3, 1)})
        expected = modules.Pool(pool)(torch.from_numpy(preprocess.values(pixels.transpose(0, 2, 3, 1)))).numpy()
        assert found.shape == (2, 1, height, height), (pool, size)
        assert np.abs(found - expected).max() < 1e-6, (pool, size)


IDENTITY = {"bias": 0, "running_mean": 0, "running_var": 1}
