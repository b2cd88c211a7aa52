"""The benchmarks run; what they measure is for a quiet machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from tests.data.tiny_cifar10 import TEST, written

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_every_way_of_ours_makes_its_steps_and_is_reported(tmp_path: Path):
    path = tmp_path / "steps.json"
    environment = {key: value for key, value in os.environ.items() if key != "INCEPTORY_KERAS_PYTHON"}
    command = [sys.executable, ROOT / "benchmarks/train_step.py", "--quick", "--json", path]
    child = subprocess.run(
        command, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(path.read_text())
    assert {"plain PyTorch, fp32", "ours, eager", "ours, compiled"} == set(found["how"]) <= set(found["values"])
    assert all(len(values) == 2 and min(values) > 0 for values in found["values"].values())
    assert all(f"| {name}" in child.stdout for name in found["values"])


@pytest.mark.slow
def test_the_cost_of_crops_is_told_for_every_way():
    command = [sys.executable, ROOT / "benchmarks/crops.py", "64", "1"]
    child = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    rows = [line for line in child.stdout.splitlines() if line.startswith(("| 299", "| 32"))]
    assert len(rows) == 7
    assert all(float(row.split("|")[2]) >= 0 for row in rows)


@pytest.mark.slow
def test_a_head_is_timed_with_features_computed_and_with_features_kept():
    environment = {key: value for key, value in os.environ.items() if key != "INCEPTORY_KERAS_PYTHON"}
    command = [sys.executable, ROOT / "benchmarks/transfer.py", "--quick"]
    child = subprocess.run(
        command, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    rows = [line.split("|") for line in child.stdout.splitlines() if line.startswith("| ours")]
    assert [row[1].strip() for row in rows] == [
        f"{way}, to the {end}"
        for way in ("ours, nothing cached", "ours again, another strength")
        for end in ("fitted head", "end of the report")
    ]
    assert all(float(row[2].split()[0]) > 0 for row in rows)


@pytest.mark.slow
def test_a_backbone_and_fresh_weights_are_trained_for_the_same_time(tmp_path: Path):
    net = inceptory.create("cifar_inception_v1", width=0.25, classes=3)
    card = inceptory.Card.of(net.plan, labels=("a", "b", "c"), preprocess=Preprocess(32, (0.5,) * 3, (0.5,) * 3))
    inceptory.save(net, tmp_path / "backbone.safetensors", card)
    command = [sys.executable, ROOT / "benchmarks/transfer_sets.py", tmp_path / "backbone.safetensors"]
    child = subprocess.run(
        [*command, "--sets", "digits", "--seeds", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    head, spent, fresh, given = (float(cell.split()[0]) for cell in child.stdout.splitlines()[-1].split("|")[2:6])
    assert min(head, fresh) > 5
    assert given >= min(spent, 15)


@pytest.mark.slow
def test_the_port_of_airbench_trains_to_its_last_step_and_is_measured(tmp_path: Path):
    command = [sys.executable, ROOT / "benchmarks/airbench.py", "--epochs", "1.5", "--batch", "16"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INCEPTORY_DATA": str(written(tmp_path))}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    rows = [json.loads(line) for line in child.stdout.splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 3)], (
        "two whole batches of 40 pictures, then half"
    )
    assert "plain" not in rows[0], "measured once, after the last step"
    assert all(rows[1][view] * TEST == pytest.approx(round(rows[1][view] * TEST)) for view in ("plain", "moved"))


def run_twice(command: list, data: Path) -> None:
    """Run a resumable benchmark and run it again: what is done is not done again."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INCEPTORY_DATA": str(data)}
    told = []
    for _ in range(2):
        child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr[-2000:]
        told.append(child.stdout)
    assert told[0] == told[1]


@pytest.mark.slow
def test_our_network_has_as_long_as_the_whole_port_and_rows_are_kept(tmp_path: Path):
    command = [sys.executable, ROOT / "benchmarks/cifar10_fast.py", tmp_path / "out", "--seeds", "1"]
    command += ["--epochs", "1.5", "--batch", "16"]
    run_twice(command, written(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["network"] for row in rows] == ["airbench94", "cifar_inception_fast"]
    assert rows[0]["seconds"] == rows[1]["seconds"] > rows[0]["steps"]
    assert all(
        row[view] * TEST == pytest.approx(round(row[view] * TEST)) for row in rows for view in ("plain", "mirrored")
    )


@pytest.mark.slow
def test_a_changed_network_and_a_changed_recipe_are_trained_measured_and_drawn(tmp_path: Path):
    names = ["early", "relu", "no smoothing"]
    command = [sys.executable, ROOT / "benchmarks/cifar10_study.py", tmp_path / "out", "--time", "2s", "--only", *names]
    command += ["--picture", tmp_path / "study.png"]
    run_twice(command, written(tmp_path))
    early, relu, plain = (json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines())
    assert [row["name"] for row in (early, relu, plain)] == names
    assert relu["macs"] == plain["macs"]
    assert plain["macs"] == inceptory.plan("cifar_inception_fast").numbers()["macs"]
    assert early["macs"] == pytest.approx(plain["macs"], rel=0.05)
    assert early["width"] > 1.5, "what a quarter of the cells saves goes into filters"
    assert json.loads((tmp_path / "out" / "no-smoothing" / "run.json").read_text())["recipe"]["label_smoothing"] == 0
    with Image.open(tmp_path / "study.png") as drawn:
        assert drawn.width > 1000


def test_the_table_of_speed_has_the_newest_rows_of_a_quiet_machine(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("engines_table", ROOT / "benchmarks/engines_table.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    head = "model,engine,precision,batch,image,threads,peer,ms_median,ms_min,images_per_s,agreement,busy,date,machine"
    rows = [
        "net,torch,fp32,16,299,2,,1,1,10.0,,False,2026-01-01,old",
        "net,torch,fp32,16,299,2,,1,1,20.0,,False,2026-02-01,new",
        "net,openvino,fp32,16,299,2,,1,1,30.0,,False,2026-02-01,new",
        "net,openvino,fp32,16,299,2,openvino,1,1,25.0,,False,2026-02-01,new",
        "net,openvino,fp32,16,299,2,,1,1,5.0,,True,2026-02-01,new",
        'net,openvino,fp32,16,299,2,,1,1,99.0,,False,2026-02-01,"new, limited to AVX2"',
    ]
    (tmp_path / "results.csv").write_text("\n".join([head, *rows, ""]))
    monkeypatch.setattr(made, "RESULTS", tmp_path / "results.csv")
    rates, where = made.read()
    assert rates == {("net", 16): {"Inceptory fp32": 30.0, "OpenVINO fp32": 25.0}}
    assert where == {"net": ["2026-02-01", "new"]}
    table = made.table(rates, where).splitlines()
    assert table[2] == "| net | 16 |  |  |  | 25.0 |  |  | **30.0** |  |  | 2026-02-01 |"
    assert made.picture(rates).count("<svg") == 1
