"""`export`: what is proved of the answers on pictures, and int8, which pictures calibrate and other pictures prove."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import inceptory
from inceptory.engines.exported import FILES, open_exported
from inceptory.errors import ConfigError, DataError
from inceptory.weights.model import Model
from tests.report.test_page import check_alone
from tests.run.test_export import eager, metadata, smooth, squares
from tests.small import CLASSES, PREPROCESS, saved

EXTRA = 'not installed: pip install "inceptory[fast]"'


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures without labels, one of which cannot be read."""
    (tmp_path / "photos").mkdir()
    for i in range(6):
        smooth(tmp_path / "photos" / f"{i}.png", (40, 36), seed=i)
    (tmp_path / "photos" / "7.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_pictures_without_labels_prove_agreement(small, photos, tmp_path, exports, capsys):
    exported = inceptory.export(small, to="onnx", out=tmp_path / "out", data=photos)
    proof = exported.proof
    assert (proof.pictures, proof.agreed, proof.before) == (6, 6, None)
    assert proof.to_json()["agreement"]["interval"][0] == pytest.approx(0.61, abs=0.01)
    assert "same first label as PyTorch in fp32 on 6 of 6 pictures" in str(exported)
    assert "7.png" in capsys.readouterr().err


def test_labelled_pictures_prove_accuracy_too(run, colours, tmp_path, exports):
    proof = inceptory.export(run, to="openvino", out=tmp_path / "out", data=colours).proof
    expected = inceptory.evaluate(run, colours, engine="torch", precision="fp32")
    assert proof.before == expected
    assert proof.after.top1 == expected.top1
    assert proof.agreed == proof.pictures == expected.n
    html = (tmp_path / "out" / "proof.html").read_text("utf-8")
    check_alone(html)
    assert "Before and after" in html
    assert "95 % interval" in html
    written = json.loads((tmp_path / "out" / "proof.json").read_text())
    assert written["before"]["interval"] == list(expected.interval)


def test_an_export_that_answers_otherwise_is_refused(small, tmp_path, exports, monkeypatch):
    whole = Model.arrays
    monkeypatch.setattr(Model, "arrays", lambda self: {name: 2 * array for name, array in whole(self).items()})
    with pytest.raises(DataError, match=r"answers differ from PyTorch's by .* once exported"):
        inceptory.export(small, to="onnx", out=tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_bf16_is_a_hint_to_openvino(small, photos, tmp_path, exports, capsys):
    from inceptory.engines.openvino import precisions

    if "bf16" not in precisions():
        pytest.skip("this processor has no bf16")
    proof = inceptory.export(small, to="openvino", precision="bf16", out=tmp_path / "out", data=photos).proof
    assert 1e-6 < proof.largest_difference < 0.1
    assert '"INFERENCE_PRECISION_HINT": "bf16"' in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert inceptory.predict(tmp_path / "out", photos / "0.png").precision == "bf16"
    fp32, bf16 = (proved / "model.bin" for proved in (exports["openvino"], tmp_path / "out"))
    assert fp32.read_bytes() == bf16.read_bytes()


# int8


def labelled(count: int) -> tuple[np.ndarray, list[str]]:
    """Pictures of squares, each under one of CLASSES in turn."""
    return squares(count), [CLASSES[k % 3] for k in range(count)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, exports: dict[str, Path]) -> dict[str, object]:
    """What NNCF is asked to make int8 of; it gives the graph back as it was, or what stands under "instead"."""
    calls: dict[str, object] = {}

    def quantised(graph, preprocess, calibration, *, to, **others):
        import onnx
        import openvino

        calls.update(others, calibration=calibration, to=to)
        graph = calls.get("instead", graph)
        return Quantised(onnx.load_from_string(graph) if to == "onnx" else openvino.Core().read_model(graph), 0.0, 0)

    quantise = pytest.importorskip("inceptory.engines.quantise", reason=EXTRA)
    Quantised = quantise.Quantised  # noqa: N806
    monkeypatch.setattr(quantise, "quantised", quantised)
    return calls


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_pictures_that_calibrate_do_not_prove(small, tmp_path, asked, to):
    exported = inceptory.export(small, to=to, precision="int8", out=tmp_path / "out", data=labelled(20), max_drop=3)
    assert (asked["to"], asked["max_drop"], exported.proof.pictures) == (to, 3, 10)
    assert asked["reference"].tolist() == [k % 3 for k in range(1, 20, 2)]
    calibration, validation = ({each.tobytes() for each in asked[name]} for name in ("calibration", "validation"))
    assert (len(calibration), len(validation), len(calibration | validation)) == (10, 10, 20)
    assert open_exported(tmp_path / "out").export.precision == "int8"


def test_a_split_of_the_data_calibrates_where_there_is_one(small, tmp_path, asked):
    data = {"train": labelled(15), "test": labelled(6)}
    assert inceptory.export(small, to="onnx", precision="int8", out=tmp_path / "out", data=data).proof.pictures == 6
    assert (len(asked["calibration"]), len(asked["validation"])) == (12, 6), "a fifth of each class is for validation"


def test_without_labels_int8_is_held_to_what_fp32_answers(small, photos, tmp_path, asked):
    inceptory.export(small, to="openvino", precision="int8", out=tmp_path / "out", data=photos)
    pixels = asked["validation"].transpose(0, 2, 3, 1)
    assert asked["reference"].tolist() == eager(small, pixels)[1].argmax(1).tolist()


def test_int8_that_costs_too_much_on_all_pictures_is_refused(tmp_path, asked):
    from inceptory.engines.graph import graph_of

    model, data = saved(tmp_path.parent / "plain.safetensors", replace(PREPROCESS, resize=None)), squares(20)
    truth = [CLASSES[k] for k in eager(model, data)[1].argmax(1)]
    with inceptory.open_model(model) as opened:
        arrays = {name: -array if "classifier" in name else array for name, array in opened.arrays().items()}
        asked["instead"] = graph_of(opened.plan.tree, arrays, PREPROCESS).SerializeToString()
    with pytest.raises(
        ConfigError, match=r"int8: top-1 falls by 100\.00 points on 10 pictures \(at most 0\.5; allow more"
    ):
        inceptory.export(model, to="onnx", precision="int8", out=tmp_path / "out", data=(data, truth))
    assert os.listdir(tmp_path) == []


def test_too_few_pictures_for_int8_are_refused(small, tmp_path, exports):
    pytest.importorskip("nncf", reason=EXTRA)
    with pytest.raises(ConfigError, match="pictures are too few to calibrate it by"):
        inceptory.export(small, to="onnx", precision="int8", out=tmp_path / "out", data=labelled(20))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_network_becomes_int8(tmp_path, exports, to):
    pytest.importorskip("nncf", reason=EXTRA)
    model, data = saved(tmp_path / "plain.safetensors", replace(PREPROCESS, resize=None)), squares(420)
    truth = [CLASSES[k] for k in eager(model, data)[1].argmax(1)]
    proof = inceptory.export(
        model, to=to, precision="int8", out=tmp_path / "out", data=(data, truth), max_drop=10
    ).proof
    assert proof.before.top1 == 1
    assert proof.after.top1 >= 0.9
    assert proof.file_bytes < 0.5 * sum((exports[to] / name).stat().st_size for name in FILES[to])
    assert {"classes", "card"} <= metadata(tmp_path / "out").keys()
