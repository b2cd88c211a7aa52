"""A GoogLeNet in Caffe's messages, computed by OpenCV's own reader of them: the same answers here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from tests.peers.proof import compare
from tests.weights.test_caffe import caffemodel, tensors

cv2 = pytest.importorskip("cv2")
SIDE = 224
STAGES = ("3a", "3b", "P", "4a", "4b", "4c", "4d", "4e", "P", "5a", "5b")


def layer(kind: str, name: str, below: list[str], **parts: str) -> str:
    bottoms = " ".join(f'bottom: "{each}"' for each in below)
    inside = " ".join(f"{key} {{ {value} }}" for key, value in parts.items())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{name}" {inside} }}'


def prototxt(found: dict[str, np.ndarray]) -> Iterator[str]:
    """bvlc_googlenet's graph without its auxiliary heads, with the filters that the weights have."""

    def conv(name: str, below: str, *, stride: int = 1) -> Iterator[str]:
        outputs, _, side, _ = found[f"{name}.weight"].shape
        told = f"num_output: {outputs} kernel_size: {side} stride: {stride} pad: {side // 2}"
        yield layer("Convolution", name, [below], convolution_param=told)
        yield layer("ReLU", f"{name}/relu", [name])

    def pool(name: str, below: str, how: str = "kernel_size: 3 stride: 2") -> str:
        return layer("Pooling", name, [below], pooling_param=f"pool: MAX {how}")

    norm = "local_size: 5 alpha: 0.0001 beta: 0.75"
    yield f'name: "GoogleNet" input: "data" input_dim: 1 input_dim: 3 input_dim: {SIDE} input_dim: {SIDE}'
    yield from conv("conv1/7x7_s2", "data", stride=2)
    yield pool("pool1", "conv1/7x7_s2/relu")
    yield layer("LRN", "norm1", ["pool1"], lrn_param=norm)
    yield from conv("conv2/3x3_reduce", "norm1")
    yield from conv("conv2/3x3", "conv2/3x3_reduce/relu")
    yield layer("LRN", "norm2", ["conv2/3x3/relu"], lrn_param=norm)
    yield pool("pool2", "norm2")
    last = "pool2"
    for i, stage in enumerate(STAGES):
        if stage == "P":
            yield pool(f"pool_{i}", last)
            last = f"pool_{i}"
            continue
        here = f"inception_{stage}"
        yield from conv(f"{here}/1x1", last)
        for side in ("3x3", "5x5"):
            yield from conv(f"{here}/{side}_reduce", last)
            yield from conv(f"{here}/{side}", f"{here}/{side}_reduce/relu")
        yield pool(f"{here}/pool", last, "kernel_size: 3 stride: 1 pad: 1")
        yield from conv(f"{here}/pool_proj", f"{here}/pool")
        last = f"{here}/output"
        yield layer("Concat", last, [f"{here}/{end}/relu" for end in ("1x1", "3x3", "5x5", "pool_proj")])
    yield layer("Pooling", "pool5", [last], pooling_param="pool: AVE kernel_size: 7 stride: 1")
    yield layer("InnerProduct", "loss3/classifier", ["pool5"], inner_product_param="num_output: 1000")


@pytest.mark.parametrize("old", [False, True])
def test_a_caffe_model_answers_as_opencv_has_it_answer(old, tmp_path: Path):
    found = tensors(aux=False)
    found = {
        name: array * (np.sqrt(2 / array[0].size) / 0.05 if array.ndim > 1 else 1) for name, array in found.items()
    }
    found = {name: array.astype(np.float32) for name, array in found.items()}
    (tmp_path / "w.caffemodel").write_bytes(caffemodel(found, old=old))
    (tmp_path / "w.prototxt").write_text("\n".join(prototxt(found)))
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "w.prototxt"), str(tmp_path / "w.caffemodel"))
    x = np.random.default_rng(1).normal(0, 50, (2, 3, SIDE, SIDE)).astype(np.float32)
    expected = []
    for picture in x:
        theirs.setInput(picture[None])
        expected.append(theirs.forward("loss3/classifier").reshape(-1))
    with torch.inference_mode():
        answers = inceptory.load(tmp_path / "w.caffemodel")(torch.from_numpy(x))
    compare("caffe googlenet", {"logits": np.stack(expected)}, {"logits": answers}, 1e-5)
