"""From a person's wish to an engine: what there is to choose from, what is refused; and all engines say the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inceptory.cli import main
from inceptory.data.feed.batches import normalise
from inceptory.engines import machine, openvino
from inceptory.engines.choice import FEW, Setting
from inceptory.engines.onnxruntime import OnnxRuntimeEngine
from inceptory.engines.opening import Maker, Wish, open_engine
from inceptory.errors import ConfigError, UnknownName, UsageError
from tests.conftest import COLOURS, paint
from tests.engines.conftest import PREPROCESS


def pixels(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "may_have_gpu", lambda: False)


def test_torch_in_fp32_is_the_eager_network_to_the_last_bit(model):
    engine, why = open_engine(model, Wish("torch", "fp32", "cpu"), pictures=10**6)
    assert why == "", "nobody had to choose"
    net = model.network().float().eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = net(normalise(torch.from_numpy(pixels(5)), PREPROCESS))
    answers = engine.answers(pixels(5))
    assert np.array_equal(answers.logits, expected.numpy())
    assert np.array_equal(answers.probabilities, expected.softmax(1).numpy())


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_every_engine_says_the_same_of_any_number_of_pictures(model, name):
    exact, _ = open_engine(model)
    engine, _ = open_engine(model, Wish(name, "fp32"))
    assert (engine.name, engine.precision, engine.classes) == (name, "fp32", 3)
    for count in (3, 1, 2, 5, 4):
        for found, expected in zip(engine.answers(pixels(count)), exact.answers(pixels(count)), strict=True):
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("streams", [2, 3])
def test_streams_say_what_one_says(model, streams):
    maker = Maker(model, Wish("openvino", "fp32"))
    one, several = (maker.make(Setting("openvino", "fp32", 1, count)) for count in (1, streams))
    for count in (1, 2, 5):
        for found, expected in zip(several.answers(pixels(count)), one.answers(pixels(count)), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("setting", [Setting("torch"), Setting("onnxruntime"), Setting("openvino", streams=2)], ids=str)
def test_threads_may_share_an_engine(model, setting):
    engine = Maker(model, Wish(setting.engine, "fp32")).make(setting)
    batches = [pixels(20)[start : start + 1 + start % 3] for start in range(16)] * 4
    expected = [engine.answers(batch).logits for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: engine.answers(batch).logits, batches))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("setting", [Setting("torch"), Setting("onnxruntime"), Setting("openvino")], ids=str)
def test_answers_stay_as_they_were_given(model, setting):
    engine = Maker(model, Wish(setting.engine, "fp32")).make(setting)
    given = engine.answers(pixels(2))
    before = [part.copy() for part in given]
    engine.answers(255 - pixels(2))
    assert all(np.array_equal(one, two) for one, two in zip(given, before, strict=True))


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    present = tuple(name for name in ("openvino", "onnxruntime", "torch") if name not in names)
    monkeypatch.setattr(machine, "installed", lambda: present)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_engine_that_is_not_installed_is_told_with_the_line_that_installs_it(
    checkpoint, name, tmp_path, monkeypatch, capsys
):
    without(monkeypatch, name)
    paint(tmp_path / "a.png", COLOURS["red"], seed=0)
    assert main(["predict", str(checkpoint), str(tmp_path / "a.png"), "--engine", name]) == 78
    assert f'error: --engine {name}: is not installed (pip install "inceptory[fast]")' in capsys.readouterr().err


def test_without_the_extra_torch_answers(model, monkeypatch):
    without(monkeypatch, "openvino", "onnxruntime")
    engine, _ = open_engine(model, Wish("auto", "auto", "cpu"))
    assert (engine.name, engine.precision) == ("torch", "fp32")


def test_bf16_is_refused_where_the_processor_lacks_it(model, monkeypatch):
    monkeypatch.setattr(openvino, "_capable", lambda core: ["FP32", "INT8"])
    with pytest.raises(ConfigError, match=r"--precision bf16: .*\(take fp32"):
        open_engine(model, Wish("openvino", "bf16"))
    assert {setting.precision for setting in Maker(model, Wish("openvino")).settings()} == {"fp32"}


def test_bf16_is_among_the_candidates_where_the_processor_has_it(model, monkeypatch):
    monkeypatch.setattr(openvino, "_capable", lambda core: ["FP32", "BF16"])
    assert {setting.precision for setting in Maker(model, Wish("openvino")).settings()} == {"fp32", "bf16"}
    assert {setting.precision for setting in Maker(model, Wish("openvino", "bf16")).settings()} == {"bf16"}


@pytest.mark.parametrize(
    ("wish", "kind", "told"),
    [
        (Wish("openvnio"), UnknownName, "'openvnio': no such engine .*openvino"),
        (Wish("auto", "int8"), ConfigError, "--precision int8: needs pictures to calibrate by .*inceptory export"),
        (Wish("openvino", "auto", "cuda"), UsageError, "--engine openvino: computes on the processor"),
        (Wish("onnxruntime", "bf16"), ConfigError, r"--precision bf16: .*\(take fp32"),
    ],
    ids=lambda part: "",
)
def test_what_cannot_be_is_told(model, wish, kind, told):
    with pytest.raises(kind, match=told):
        open_engine(model, wish)


@pytest.mark.slow
def test_the_real_engines_are_measured_once_and_the_choice_is_said(model, monkeypatch):
    engine, why = open_engine(model, Wish(), pictures=FEW)
    assert why.startswith("engine: ")
    assert f"{engine}" in why
    monkeypatch.setattr("inceptory.engines.choice.Choice._measured", lambda self: pytest.fail("it is remembered"))
    again, same = open_engine(model, Wish(), pictures=FEW)
    assert (str(again), same) == (str(engine), why)


def test_a_graph_is_written_once_for_all_engines(model, monkeypatch):
    maker = Maker(model, Wish("auto", "fp32"))
    first = maker.make(Setting("onnxruntime"))
    monkeypatch.setattr("inceptory.engines.graph.graph_of", lambda *_, **__: pytest.fail("it is there already"))
    assert isinstance(first, OnnxRuntimeEngine)
    maker.make(Setting("openvino"))
