"""A network as an ONNX graph, written from its tree: uint8 pixels in, answers out. Without torch.

The value map and the softmax are inside, the batch is free, and the file says what it is in its metadata. The graph is
what ONNX Runtime and OpenVINO compute, and what `export` writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import LOGITS, PIXELS, PLANES, PROBABILITIES, VECTORS
from inceptory.nets.arithmetic import Shape, head_parts, join, leaf_shape, projection, same_padding, trace
from inceptory.nets.blocks import (
    LRN,
    SE,
    Act,
    Activation,
    Chain,
    Concat,
    Conv,
    Dropout,
    GridPool,
    Leaf,
    Linear,
    Node,
    Norm,
    Pool,
    Residual,
    Tree,
    children,
)
from inceptory.nets.rewrite import folded
from inceptory.system.outputs import MARK

OPSET = 17
"""What ONNX Runtime reads from 1.12 on, onnxruntime-web too."""
IR_VERSION = 8

Tensors = Mapping[str, NDArray[Any]]


def graph_of(
    tree: Tree,
    tensors: Tensors,
    preprocess: Preprocess,
    *,
    multi_label: bool = False,
    reverse: bool = False,
    planes: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """The graph from pixels (N, size, size, C) uint8 to probabilities (N, K), logits (N, K) and vectors (N, length).

    `tensors` holds those of the tree by their names in the torch module. Channels come in the order of `preprocess`;
    with `reverse` the network takes them in the opposite one; with `planes` pixels are (N, C, size, size). `metadata`
    are texts that the file keeps. Batch norms are folded: NNCF, which puts the scales of int8 between a convolution
    and its norm, needs it, and ONNX Runtime computes int8 2.6 times as fast.
    """
    tree, tensors = folded(tree, tensors)
    writer = _Writer(tensors)
    size, channels = preprocess.size, len(preprocess.mean)
    x, shape = writer.values(preprocess, reverse, planes), (channels, size, size)
    for stage in tree.stages:
        x, shape = writer.node(stage.body, x, shape, stage.name)
    x, shape = writer.add("GlobalAveragePool", x), (shape[0], 1, 1)
    parts = dict(head_parts(tree.head))
    if neck := parts.get("head.neck"):
        x, shape = writer.node(neck, x, shape, "head.neck")
    outputs = {VECTORS: writer.output(VECTORS, "Flatten", x, shape, axis=1)}
    if classifier := parts.get("head.classifier"):
        x, shape = writer.node(classifier, VECTORS, shape, "head.classifier")
        answer, more = ("Sigmoid", {}) if multi_label else ("Softmax", {"axis": 1})
        logits = writer.output(LOGITS, "Identity", x, shape)
        outputs = {
            PROBABILITIES: writer.output(PROBABILITIES, answer, LOGITS, shape, **more),
            LOGITS: logits,
            **outputs,
        }
    taken, sides = (PLANES, (channels, size, size)) if planes else (PIXELS, (size, size, channels))
    graph = helper.make_graph(
        writer.nodes,
        "inceptory",
        [helper.make_tensor_value_info(taken, TensorProto.UINT8, ["batch", *sides])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in outputs.items()],
        writer.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name=MARK)
    model.ir_version = IR_VERSION
    helper.set_model_props(model, dict(metadata or {}))
    return model


class _Writer:
    """Nodes and constants of a graph in the making. Every method gives the name of what it has added."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """One operation."""
        name = into or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def output(self, name: str, kind: str, x: str, shape: Shape, **attributes: Any) -> int:
        """One operation whose result leaves the graph; gives its length."""
        self.add(kind, x, into=name, **attributes)
        return prod(shape)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """An array of 32 bits under a name of its own."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def weight(self, name: str, shape: Sequence[int] | None = None) -> str:
        """A tensor of the network."""
        array = self.tensors[name]
        return self.constant(name, array if shape is None else array.reshape(shape))

    def values(self, preprocess: Preprocess, reverse: bool, planes: bool) -> str:
        """The value map, as `data.feed.batches.normalise` computes it."""
        x = PLANES if planes else self.add("Transpose", PIXELS, perm=[0, 3, 1, 2])
        x = self.add("Cast", x, to=TensorProto.FLOAT)
        numbers = {"divisor": (preprocess.divisor,), "mean": preprocess.mean, "std": preprocess.std}
        for kind, (name, value) in zip(("Div", "Sub", "Div"), numbers.items(), strict=True):
            x = self.add(kind, x, self.constant(f"preprocess.{name}", np.reshape(value, (1, -1, 1, 1))))
        if reverse:
            channels = np.arange(len(preprocess.mean))[::-1].copy()
            self.constants.append(numpy_helper.from_array(channels, "preprocess.channels"))
            x = self.add("Gather", x, "preprocess.channels", axis=1)
        return x

    def node(self, node: Node, x: str, before: Shape, path: str) -> tuple[str, Shape]:
        """(result, its shape) of any node on x of the shape `before`."""
        match node:
            case Chain():
                shape = before
                for name, child in children(node):
                    x, shape = self.node(child, x, shape, join(path, name))
                return x, shape
            case Concat(branches, se):
                names = [self.node(each, x, before, join(path, f"branch{i}"))[0] for i, each in enumerate(branches)]
                shape = trace(node, before)[0]
                joined = self.add("Concat", *names, axis=1)
                return joined if se is None else self.squeezed(se, joined, shape, join(path, "se")), shape
            case Residual():
                return self.residual(node, x, before, path)
            case _:
                return self.leaf(node, x, before, path), leaf_shape(node, before)

    def residual(self, node: Residual, x: str, before: Shape, path: str) -> tuple[str, Shape]:
        """act(shortcut(x) + scale * se(up(body(x))))."""
        kept, shape = x, before
        if node.shortcut is not None:
            kept, shape = self.node(node.shortcut, x, before, join(path, "shortcut"))
        branch, inner = self.node(node.body, x, before, join(path, "body"))
        if node.project:
            branch = self.convolved(projection(node, shape[0]), branch, inner, join(path, "up"))
        if node.se is not None:
            branch = self.squeezed(node.se, branch, shape, join(path, "se"))
        if node.scale != 1:
            branch = self.add("Mul", branch, self.constant(f"{path}.scale", np.asarray(node.scale)))
        total = self.add("Add", kept, branch)
        return (self.add("Relu", total) if node.act else total), shape

    def leaf(self, node: Leaf, x: str, before: Shape, path: str) -> str:
        """One leaf of the tree."""
        match node:
            case Conv():
                return self.convolved(node, x, before, path)
            case Pool():
                return self.pooled(node, x, before)
            case Norm():
                return self.normed(node, x, before[0], path)
            case Act(kind):
                return self.activated(kind, x)
            case LRN(size, alpha, beta, k):
                return self.add("LRN", x, size=size, alpha=alpha, beta=beta, bias=k)
            case SE():
                return self.squeezed(node, x, before, path)
            case Dropout():
                return x
            case Linear(_, bias):
                inputs = [self.weight(f"{path}.weight"), *([self.weight(f"{path}.bias")] if bias else [])]
                return self.add("Gemm", self.add("Flatten", x, axis=1), *inputs, transB=1)
            case GridPool():
                raise AssertionError(f"{path}: only auxiliary heads pool to a grid, and answers leave them out")

    def convolved(self, node: Conv, x: str, before: Shape, path: str) -> str:
        """Convolution, activation; its norm is folded."""
        inputs = [x, self.weight(f"{path}.conv.weight"), *([self.weight(f"{path}.conv.bias")] if node.bias else [])]
        sides = [
            _padding(size, side, node.stride, str(node.pad)) for size, side in zip(before[1:], node.kernel, strict=True)
        ]
        x = self.add(
            "Conv",
            *inputs,
            kernel_shape=node.kernel,
            strides=[node.stride] * 2,
            pads=_pads(sides),
            group=before[0] if node.multiplier else 1,
        )
        return self.activated(node.act, x) if node.act else x

    def activated(self, kind: Activation | bool | None, x: str) -> str:
        """ReLU, or SiLU by its formula, which engines recognise: opset 17 has no operation for it."""
        return self.add("Mul", x, self.add("Sigmoid", x)) if kind == "silu" else self.add("Relu", x)

    def normed(self, node: Norm, x: str, channels: int, path: str) -> str:
        """Batch norm by its running statistics."""
        gamma = self.weight(f"{path}.weight") if node.gamma else self.constant(f"{path}.weight", np.ones(channels))
        others = [self.weight(f"{path}.{name}") for name in ("bias", "running_mean", "running_var")]
        return self.add("BatchNormalization", x, gamma, *others, epsilon=float(node.eps or 0))

    def squeezed(self, node: SE, x: str, shape: Shape, path: str) -> str:
        """Each channel times a factor made from all channels' means."""
        channels, inside = shape[0], max(shape[0] // node.ratio, 1)
        mean = self.add("GlobalAveragePool", x)
        reduced = self.add(
            "Relu", self.add("Conv", mean, self.weight(f"{path}.reduce.weight", (inside, channels, 1, 1)))
        )
        factors = self.add("Conv", reduced, self.weight(f"{path}.expand.weight", (channels, inside, 1, 1)))
        return self.add("Mul", x, self.add("Sigmoid", factors))

    def pooled(self, node: Pool, x: str, before: Shape) -> str:
        """Max or average over windows."""
        sides = [_padding(size, node.kernel, node.stride, str(node.pad)) for size in before[1:]]
        window: dict[str, Any] = {"kernel_shape": [node.kernel] * 2, "strides": [node.stride] * 2, "pads": _pads(sides)}
        if node.kind == "max":
            return self.add("MaxPool", x, **window)
        if node.divisor == "real":
            return self.add("AveragePool", x, count_include_pad=0, **window)
        x = self.add("AveragePool", x, count_include_pad=1, **window)
        rows, columns = (_counted(node, size, pads[0]) for size, pads in zip(before[1:], sides, strict=True))
        if (rows == node.kernel).all() and (columns == node.kernel).all():
            return x
        factor = node.kernel**2 / np.outer(rows, columns)
        return self.add("Mul", x, self.constant(f"{x}.factor", factor[None, None]))


def _padding(size: int, kernel: int, stride: int, pad: str) -> tuple[int, int]:
    """Cells before and after a side of the map."""
    match pad:
        case "same":
            return same_padding(size, kernel, stride)
        case "symmetric":
            return kernel // 2, kernel // 2
        case "ceil":
            # As many as the last window stands out.
            last = leaf_shape(Pool("max", kernel, stride, "ceil"), (1, size, size))[1] - 1
            return 0, max(last * stride + kernel - size, 0)
        case _:
            return 0, 0


def _pads(sides: Sequence[tuple[int, int]]) -> list[int]:
    """As ONNX wants them: top, left, bottom, right."""
    (top, bottom), (left, right) = sides
    return [top, left, bottom, right]


def _counted(node: Pool, size: int, padding: int) -> NDArray[np.int64]:
    """(n,) cells by which torch divides along one side where the window counts: its padding, which lies before the
    beginning, is as long beyond the end; what `ceil_mode` or a side of its own adds there counts for nothing."""
    starts = np.arange(leaf_shape(node, (1, size, size))[1]) * node.stride - padding
    return np.minimum(starts + node.kernel, size + padding) - starts
