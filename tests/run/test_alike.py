"""`predict` and `evaluate` compute alike: the same device, the same arithmetic, the same numbers; results say which."""

from __future__ import annotations

import csv
import inspect
import json
import math
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.errors import ConfigError
from inceptory.measure.multi_label import MultiMetrics
from inceptory.measure.single_label import SingleMetrics
from inceptory.weights.card import read_card
from tests.conftest import COLOURS


@pytest.fixture(scope="module")
def tested(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of `colours` as a test split."""
    root = tmp_path_factory.mktemp("tested")
    shutil.copytree(colours, root / "test")
    return root


def by_predict(run: Path, data: Path, **options) -> tuple[float, float]:
    """(top-1, log-loss) out of the probabilities that `predict` gives."""
    losses, right = [], 0
    for one in inceptory.predict(run, data / "test", top=3, **options):
        truth = Path(one.picture).parent.name
        losses.append(-math.log(dict(zip(one.labels, one.probabilities, strict=True))[truth]))
        right += one.labels[0] == truth
    return right / len(losses), sum(losses) / len(losses)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_numbers_come_out_of_both(precision, run, tested):
    options = {"device": "cpu", "precision": precision}
    measured, (top1, log_loss) = inceptory.evaluate(run, str(tested), **options), by_predict(run, tested, **options)
    assert measured.n == 24 * len(COLOURS)
    assert top1 == measured.top1
    # Other batches round otherwise: in the seventh digit, or of bf16 in the third.
    assert log_loss == pytest.approx(measured.log_loss, rel=1e-5 if precision == "fp32" else 1e-2)


@pytest.mark.slow
def test_both_are_in_full_precision_until_another_is_proved_or_wished(run, tested):
    for word in (inceptory.evaluate, inceptory.predict):
        known = inspect.signature(word).parameters
        assert (known["device"].default, known["precision"].default) == ("auto", "auto")
    plain, half = by_predict(run, tested), by_predict(run, tested, precision="bf16")
    assert plain == by_predict(run, tested, precision="fp32")
    assert plain != half
    measured = inceptory.evaluate(run, str(tested))
    assert measured == inceptory.evaluate(run, str(tested), precision="fp32")
    assert measured.log_loss != inceptory.evaluate(run, str(tested), precision="bf16").log_loss


@pytest.mark.parametrize("word", [inceptory.evaluate, inceptory.predict])
def test_a_device_that_is_not_there_is_told(word, run, tested, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^--device cuda: not on this machine"):
        word(run, str(tested / "test"), device="cuda")


def test_results_of_an_evaluation_say_their_precision(run, tested, tmp_path, capsys):
    for precision, told in (("fp32", False), ("bf16", True)):
        out = tmp_path / f"{precision}.json"
        assert main(["evaluate", str(run), str(tested), "--precision", precision, "--out", str(out)]) == 0
        assert ("computed in bf16" in capsys.readouterr().out) is told
        assert json.loads(out.read_text()).get("precision") == ("bf16" if told else None)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_results_of_a_prediction_say_their_precision(ending, run, tested, tmp_path, capsys):
    for precision, told in (("fp32", None), ("bf16", "bf16")):
        out = tmp_path / f"{precision}{ending}"
        picture = tested / "test" / "red" / "0.png"
        assert main(["predict", str(run), str(picture), "--precision", precision, "--out", str(out)]) == 0
        assert ("computed in bf16" in capsys.readouterr().out) is bool(told)
        match ending:
            case ".csv":
                rows = list(csv.DictReader(out.read_text().splitlines()))
            case ".jsonl":
                rows = [json.loads(line) for line in out.read_text().splitlines()]
            case _:
                rows = pq.read_table(out).to_pylist()
        assert {row.get("precision") for row in rows} == {told}


@pytest.mark.slow
def test_a_run_in_half_precision_is_measured_in_full_as_evaluate_does(colours, tmp_path):
    found = inceptory.train(
        str(colours),
        model="cifar_inception_v1",
        out=tmp_path / "run",
        variant=Variant(width=0.25),
        recipe=Recipe(epochs=1, batch=32, precision="bf16"),
        tensorboard=False,
    )
    assert inceptory.evaluate(tmp_path / "run", str(colours)).log_loss == pytest.approx(
        found.metrics.log_loss, rel=1e-6
    )
    assert found.metrics.precision == "fp32"
    assert read_card(tmp_path / "run" / "model.safetensors").metrics["precision"] == "bf16", "validation's, on the way"


@pytest.mark.parametrize(
    "metrics", [SingleMetrics(0.5, 1.0, 0.7, 4, (0.1, 0.9)), MultiMetrics(0.5, 0.5, 0.5, 0.5, 0.7, 4, (0.1, 0.9))]
)
def test_metrics_in_json_come_back(metrics):
    for precision in ("fp32", "fp16"):
        known = type(metrics)(**{**vars(metrics), "precision": precision})
        plain = json.loads(json.dumps(known.to_json()))
        assert ("precision" in plain) is (precision != "fp32")
        assert type(metrics).from_json(plain) == known
        assert ("computed in fp16" in str(known)) is (precision != "fp32")
