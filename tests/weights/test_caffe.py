"""Caffe's GoogLeNet in the messages of both times, and ONNX models made of it."""

from __future__ import annotations

import numpy as np
import pytest

import inceptory
from inceptory.nets.catalogue import plan
from inceptory.weights.identify import shapes_of
from inceptory.weights.origins.caffe import GOOGLENET
from inceptory.weights.rules import names_there
from inceptory.weights.verify import inspect
from tests.weights.files.checkpoints import field, varint
from tests.weights.files.makers import fault_of


def tensors(*, aux: bool) -> dict[str, np.ndarray]:
    """Random weights of a GoogLeNet by Caffe's layer and role."""
    random = np.random.default_rng(0)
    shapes = shapes_of(plan("googlenet", dialect="caffe", aux=aux))
    named = names_there(GOOGLENET, shapes)
    return {str(named[ours]): random.normal(0, 0.05, shape).astype(np.float32) for ours, shape in shapes.items()}


def caffemodel(found: dict[str, np.ndarray], *, old: bool) -> bytes:
    """As Caffe writes it: since 2015 with shapes, before with four sizes."""
    layers: dict[str, list[np.ndarray]] = {}
    for name, array in found.items():
        layers.setdefault(name.rsplit(".", 1)[0], []).append(array)
    out = field(1, b"GoogleNet")
    for name, blobs in layers.items():
        number, named, blob = (2, 4, 6) if old else (100, 1, 7)
        inside = field(named, name.encode()) + field(5 if old else 2, 4 if old else b"Convolution")
        for array in blobs:
            sizes = (1,) * (4 - array.ndim) + array.shape
            shape = b"".join(varint(size) for size in array.shape)
            told = b"".join(field(i + 1, size) for i, size in enumerate(sizes)) if old else field(7, field(1, shape))
            inside += field(blob, told + field(5, array.tobytes()))
        out += field(number, inside)
    return out


def onnx(found: dict[str, np.ndarray]) -> bytes:
    graph = b""
    for name, array in found.items():
        layer, role = name.rsplit(".", 1)
        told = b"".join(field(1, size) for size in array.shape) + field(2, 1)
        graph += field(5, told + field(8, f"{layer}_{role[0]}_0".encode()) + field(9, array.tobytes()))
    shape = field(1, 2) + field(2, 7) + field(7, varint(1) + varint(1024)) + field(8, b"OC2_DUMMY_1")
    return field(1, 3) + field(2, b"onnx-caffe2") + field(7, graph + field(5, shape))


KINDS = {
    "caffe of 2014": lambda: caffemodel(tensors(aux=True), old=True),
    "caffe": lambda: caffemodel(tensors(aux=True), old=False),
    "onnx": lambda: onnx(tensors(aux=False)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_caffes_googlenet_is_read_with_its_heads_and_its_pictures(kind, tmp_path):
    (tmp_path / "w").write_bytes(KINDS[kind]())
    net = inceptory.load(tmp_path / "w")
    assert (net.plan.architecture, net.plan.dialect, net.plan.aux) == ("googlenet", "caffe", kind != "onnx")
    state, there = net.state_dict(), tensors(aux=kind != "onnx")
    assert np.array_equal(state["Mixed_4b.branch2.1.conv.weight"].numpy(), there["inception_4a/5x5.weight"])
    assert np.array_equal(state["head.classifier.bias"].numpy(), there["loss3/classifier.bias"])
    told = "central 87.5 % | squash 224x224 bilinear without antialias | BGR | (x - [104, 117, 123]) / 1"
    assert str(net.card.preprocess) == told
    certificate = inspect(tmp_path / "w")
    assert (certificate.origin, certificate.format) == ("caffe", "onnx model" if kind == "onnx" else "caffe model")
    assert certificate.dropped == (("OC2_DUMMY_1",) if kind == "onnx" else ())


FLOATS = field(1, 2) + field(2, 1) + field(8, b"a")
BAD = {
    "another length": (field(1, 3) + field(2, b"x") + field(7, field(5, FLOATS + field(9, bytes(7)))), "as long as it"),
    "values outside": (field(1, 3) + field(2, b"x") + field(7, field(5, FLOATS)), "is of a kind that is not read"),
    "a huge shape": (field(1, 3) + field(2, b"x") + field(7, field(5, field(1, 2**50) + FLOATS)), "kind that is not"),
    "a field beyond the end": (field(1, b"GoogleNet") + b"\xa2\x06\x7f\x0a", "damaged"),
    "a blob without numbers": (field(1, b"Net") + field(100, field(1, b"a") + field(7, b"")), "holds no numbers"),
    "no layers": (field(1, b"Net") + field(100, field(1, b"a")), "holds no tensors"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_model_that_lies_is_refused(kind, tmp_path):
    content, told = BAD[kind]
    assert told in str(fault_of(tmp_path, content))
