"""int8 by NNCF: proved on pictures, layers put back where it costs too much, refused where that does not help."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines import quantise
from inceptory.engines.choice import LEAST
from inceptory.engines.graph import graph_of
from inceptory.engines.onnxruntime import OnnxRuntimeEngine
from inceptory.engines.openvino import OpenVinoEngine
from inceptory.engines.quantise import Quantised, quantised
from inceptory.errors import ConfigError
from inceptory.nets.blocks import Chain, Conv, Head, Linear, Stage, Tree
from inceptory.weights.model import open_model
from tests.conftest import COLOURS

COUNT = LEAST
LABELS = np.arange(COUNT) % len(COLOURS)
PREPROCESS = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)


def pictures(preprocess: Preprocess = PREPROCESS, seed: int = 0, count: int = COUNT) -> NDArray[np.uint8]:
    """Noisy pictures of the colours in turn: pixels (count, 3, size, size)."""
    means = np.asarray(list(COLOURS.values()))[LABELS[:count], :, None, None]
    noise = np.random.default_rng(seed).integers(-30, 30, (count, 3, preprocess.size, preprocess.size))
    return (means + noise).clip(0, 255).astype(np.uint8)


def graph(unused: float = 0.0) -> bytes:
    """Three layers that name the strongest of blue, green and red; a fourth channel, that many times as large as red,
    goes into the second and is not used there."""
    convolution = partial(Conv, pad="same", bias=True, norm=False, act=True)
    body = Chain((convolution(4, (1, 1)), convolution(3, (3, 3))))
    tree = Tree((Stage("a", (3, 8), body),), Head(Linear(3)))
    first, second = np.zeros((4, 3, 1, 1)), np.zeros((3, 4, 3, 3))
    first[:3, :, 0, 0], first[3, 0, 0, 0] = np.eye(3), unused
    second[:, :3] = np.eye(3)[:, :, None, None] / 9
    tensors = {
        "a.0.conv.weight": first,
        "a.0.conv.bias": np.zeros(4),
        "a.1.conv.weight": second,
        "a.1.conv.bias": np.zeros(3),
        "head.classifier.weight": np.eye(3)[::-1].copy(),
        "head.classifier.bias": np.zeros(3),
    }
    return graph_of(tree, tensors, PREPROCESS).SerializeToString()


def made(unused: float = 0.0, **options) -> Quantised:
    given = {"validation": pictures(seed=1), "reference": LABELS, "max_drop": 0.5, **options}
    return quantised(graph(unused), PREPROCESS, given.pop("calibration", pictures()), **given)


def labels(done: Quantised, pixels: NDArray[np.uint8], preprocess: Preprocess = PREPROCESS) -> NDArray[np.int64]:
    if isinstance(done.model, ov.Model):
        engine = OpenVinoEngine(done.model, preprocess, precision="int8", threads=1)
    else:
        engine = OnnxRuntimeEngine(done.model.SerializeToString(), preprocess, precision="int8", threads=1)
    return engine.answers(pixels).logits.argmax(1)


def content(model: ov.Model | onnx.ModelProto, folder: Path) -> bytes:
    if isinstance(model, onnx.ModelProto):
        return model.SerializeToString()
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
    return (folder / "model.xml").read_bytes() + (folder / "model.bin").read_bytes()


def weights_in_int8(model: ov.Model | onnx.ModelProto) -> int:
    """Kernels that lie there in int8, told from what the file holds."""
    if isinstance(model, ov.Model):
        constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
        return sum(op.get_element_type() == ov.Type.i8 for op in constants)
    return sum(each.data_type == onnx.TensorProto.INT8 and len(each.dims) > 1 for each in model.graph.initializer)


@pytest.mark.parametrize("to", ["openvino", "onnx"])
@pytest.mark.slow
def test_int8_has_its_weights_in_int8_and_names_what_fp32_names(to, tmp_path, capfd):
    done = made(to=to)
    assert (done.drop, done.put_back) == (0, 0)
    assert weights_in_int8(done.model) == 3
    assert (labels(done, pictures(seed=2)) == LABELS).all()
    assert content(done.model, tmp_path) == content(made(to=to).model, tmp_path), "the same input, the same bytes"
    out, error = capfd.readouterr()
    assert out == error == "", "NNCF's log and bars are not ours"


@pytest.mark.parametrize("to", ["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_layer_that_costs_too_much_is_put_back(to):
    done = made(unused=1e4, to=to)
    assert done.drop <= 0.5
    assert 0 < done.put_back < 3
    assert weights_in_int8(done.model) == 3 - done.put_back
    assert (labels(done, pictures(seed=2)) == LABELS).mean() >= 0.995


def test_the_drop_is_one_of_points_and_what_it_may_be_is_obeyed():
    lax = made(unused=1e4, max_drop=100)
    assert lax.put_back == 0
    wrong = 100 * (labels(lax, pictures(seed=1)) != LABELS).mean()
    assert lax.drop == pytest.approx(wrong)
    assert wrong > 50


def test_labels_of_fp32_itself_make_the_drop_one_of_agreement():
    others = (LABELS + 1) % 3  # as good a reference as any: what fp32 gets wrong already is no drop
    assert made(reference=others).drop == 0


def test_what_cannot_be_had_is_refused_with_its_figures():
    black = np.zeros_like(pictures())
    with pytest.raises(ConfigError, match=r"int8: top-1 falls by .* \(at most 0.5; .*bf16\)"):
        made(calibration=black)


def test_what_stays_worse_than_was_allowed_is_refused(monkeypatch):
    monkeypatch.setattr(quantise._Work, "controlled", lambda work, max_drop: work.plain())
    with pytest.raises(ConfigError, match=r"int8: top-1 falls by [\d.]+ points \(at most 0.5; "):
        made(unused=1e4)


@pytest.mark.parametrize(("few", "what"), [("calibration", "calibrate"), ("validation", "prove")])
def test_too_few_pictures_are_refused(few, what):
    with pytest.raises(ConfigError, match=rf"int8: 199 pictures are too few to {what} it by \(give 200 or more\)"):
        made(**{few: pictures(count=199)})


def test_without_nncf_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(quantise.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs NNCF, which is not installed \(pip install "inceptory\[fast\]"\)'):
        made()


@pytest.mark.slow
def test_a_trained_network_keeps_its_labels(run):
    with open_model(run) as model:
        preprocess = model.require_preprocess()
        fp32 = graph_of(model.plan.tree, model.arrays(), preprocess).SerializeToString()
    validation = pictures(preprocess, seed=1)
    reference = OpenVinoEngine(fp32, preprocess, threads=1).answers(validation).logits.argmax(1)
    done = quantised(fp32, preprocess, pictures(preprocess), validation=validation, reference=reference, max_drop=1.0)
    assert done.put_back == 0
    assert weights_in_int8(done.model) > 60
    assert (labels(done, validation, preprocess) == reference).mean() >= 0.99


@pytest.mark.slow
def test_nncf_reports_nothing_to_its_makers():
    """Seen outside of pytest, where NNCF keeps silent anyway."""
    code = (
        "from inceptory.engines.quantise import _quiet\nwith _quiet():\n    import nncf\n"
        "from nncf.telemetry.decorator import telemetry\nprint(type(telemetry).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MagicMock"
