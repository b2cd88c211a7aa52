"""`bench`: who takes part, in which order, what is printed, and that nothing is left running. No time is asserted."""

from __future__ import annotations

import itertools
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import inceptory
from inceptory.cli import main
from inceptory.run.timing import rounds, talk
from inceptory.run.timing.models import checked, drawn
from inceptory.run.timing.rounds import Contestant, in_rounds, interval
from inceptory.run.timing.rows import Row
from inceptory.run.timing.talk import Child, Left, busy_process
from inceptory.weights.model import open_model

MODEL = "cifar_inception_v1"
KEYS = ["model", "engine", "precision", "batch", "image", "threads", "peer"]
KEYS += ["ms_median", "ms_min", "images_per_s", "agreement"]
FAKE = """#!{python}
import json, sys
print("a peer is chatty", file=sys.stderr)
for number, line in enumerate(sys.stdin):
    question = json.loads(line)
    kind = question.get("kind", "")
    if kind == "keras":
        answer = {{"absent": "tensorflow"}}
    elif question.get("do") == "export":
        answer = {{"fault": "RuntimeError: no\\ngraph"}}
    else:
        answer = {{}} if not number else {{"seconds": [0.5, 0.25]}} if question["do"] == "turn" else {{"seconds": 0.5}}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A Python that has timm and torchvision, so it says."""
    path = tmp_path / "fake"
    path.write_text(FAKE.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def short(monkeypatch):
    """One round."""
    monkeypatch.setattr(rounds, "MOST", 1)


def children() -> set[str]:
    listed = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
    return {line for line in listed.stdout.splitlines() if "child.py" in line or "threading" in line}


@pytest.mark.slow
def test_json_has_these_keys_and_standard_output_nothing_else(short, capfd):
    words = ["bench", MODEL, "--engines", "openvino", "--precisions", "fp32", "--batch", "1,2", "--threads", "1"]
    assert main([*words, "--busy", "--json"]) == 0
    out, err = capfd.readouterr()
    rows = json.loads(out)
    assert [list(row) for row in rows] == [KEYS] * 4
    # Those beside the busy process come last, in the same order.
    assert [(row["batch"], row["engine"], row["precision"]) for row in rows] == [
        (batch, "openvino", "fp32") for batch in (1, 2, 1, 2)
    ]
    assert {(row["model"], row["image"], row["threads"], row["peer"], row["agreement"]) for row in rows} == {
        (MODEL, 32, 1, None, None)
    }
    assert all(row["ms_min"] <= row["ms_median"] for row in rows)
    assert "beside a busy process" in err
    assert "fresh weights" in err
    assert children() == set()


@pytest.mark.slow
def test_peers_take_part_and_what_is_absent_is_left_out(fake, short, monkeypatch, capfd):
    from inceptory.run.timing import entrants

    monkeypatch.setattr(entrants, "PEERS", {name: {MODEL: "net"} for name in ("timm", "torchvision", "keras")})
    words = ["bench", MODEL, "--engines", "onnxruntime", "--batch", "1", "--threads", "1", "--peers", "--json"]
    assert main([*words, "--peers-python", str(fake)]) == 0
    out, err = capfd.readouterr()
    rows = {row["peer"]: row for row in json.loads(out)}
    assert set(rows) == {None, "timm", "torchvision"}
    assert (rows["timm"]["engine"], rows["timm"]["ms_median"], rows["timm"]["ms_min"]) == ("torch", 375.0, 250.0)
    assert "left out: timm: RuntimeError: no graph" in err
    assert "left out: keras: tensorflow is not installed" in err
    assert children() == set()


class Told:
    """A child that answers at once and keeps what it was asked."""

    versions = ""

    def __init__(self, name: str, asked: list[str], faults: int = 0) -> None:
        self.name, self.asked, self.faults = name, asked, faults

    def ask(self, do: str, **question: object) -> dict[str, object]:
        self.asked.append(self.name)
        if self.faults:
            raise Left("died")
        return {"seconds": [0.002, 0.001, 0.004]}


def three(asked: list[str], broken: str = "") -> list[Contestant]:
    told = [Told(name, asked, name == broken) for name in "abc"]
    return [Contestant(None, each.name, "fp32", 1, 1, each, {}) for each in told]  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "expected"), [(0.0, 15), (2.0, 6), (30.0, 3)], ids=["quick", "slow", "very slow"])
def test_each_is_timed_once_a_round_in_an_order_drawn_anew(step, expected, monkeypatch):
    clock = itertools.count(0, step)
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: next(clock))
    asked, faults = list[str](), list[str]()
    lasted = in_rounds(three(asked), 20.0, faults.append, lambda: None)
    orders = ["".join(asked[start : start + 3]) for start in range(0, len(asked), 3)]
    assert len(orders) == expected
    assert all(sorted(order) == list("abc") for order in orders)
    assert len(set(orders)) > 1 or expected == 3
    assert [(each.medians, each.fastest) for each in lasted] == [([0.002] * expected, 0.001)] * 3
    assert faults == []


def test_one_that_dies_is_left_out_and_the_others_go_on():
    asked, faults = list[str](), list[str]()
    lasted = in_rounds(three(asked, broken="b"), 20.0, faults.append, lambda: None)
    assert [each.engine for each in lasted] == ["a", "c"]
    assert asked.count("b") == 1
    assert faults == ["left out: b fp32, batch 1: died"]


def test_an_interval_is_of_95_percent_by_order_statistics():
    assert interval([1.0, 2, 3, 4, 5]) is None  # 2 / 2^5 lies outside of the lowest and highest
    assert interval([6.0, 5, 4, 3, 2, 1]) == (1, 6)
    # n = 15: P(X <= 3) = 0.0176 for X of B(15, 1/2), so from the fourth to the twelfth.
    assert interval(list(map(float, range(1, 16)))) == (4, 12)


def test_a_pair_is_of_the_rounds_in_which_both_were_timed():
    def row(peer: str | None, precision: str, *ms: float) -> Row:
        return Row("m", "openvino", precision, 1, 32, 1, peer, ms[0], ms[0], 1.0, None, False, ms)

    rows = row(None, "fp32", 1, 2, 4), row(None, "bf16", 1, 1, 1), row("openvino", "fp32", 2, 4, 12)
    bench = inceptory.run.timing.rows.Bench((*rows, row("timm", "fp32", 5, 5, 5)), ())
    pairs = {(pair.ours.precision, pair.peer.peer): pair.times[0] for pair in bench.pairs()}
    # The peer's graph stands beside ours in its own precision only.
    assert pairs == {("fp32", "openvino"): 2, ("fp32", "timm"): 2.5, ("bf16", "timm"): 5}
    assert "bf16, unproved" in bench.table()


def test_fresh_weights_are_the_same_each_time_and_a_run_is_benched_with_its_own(run, tmp_path):
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        paths.append(Path(drawn(checked(MODEL, 32), tmp_path / name).path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    own = checked(str(run), None)
    assert not own.fresh
    assert drawn(own, tmp_path) == own
    with open_model(own.path) as opened:
        assert opened.path == run / "model.safetensors"


@pytest.mark.slow
def test_agreement_is_measured_on_pictures(run, short, capfd):
    words = ["bench", str(run), "--engines", "torch,openvino", "--precisions", "fp32", "--batch", "1", "--json"]
    assert main([*words, "--data", "digits"]) == 0
    out, err = capfd.readouterr()
    assert {(row["engine"], row["agreement"]) for row in json.loads(out)} == {("torch", 1.0), ("openvino", 1.0)}
    assert "its own weights" in err


def test_a_child_that_dies_hangs_or_cannot_be_started_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(talk, "PATIENCE", 0.2)
    script = tmp_path / "child.py"
    monkeypatch.setattr(talk, "SCRIPT", script)
    for source, why in (("import time; time.sleep(60)", "took too long"), ("raise SystemExit(3)", "died (3)")):
        script.write_text(source)
        monkeypatch.setattr(talk, "PATIENCE", 0.5 if "sleep" in source else 60)
        with pytest.raises(Left, match=why.replace("(", r"\(").replace(")", r"\)")):
            Child(sys.executable, {"threads": 1})
    with pytest.raises(Left, match="cannot be started"):
        Child(str(tmp_path / "none"), {"threads": 1})
    assert children() == set()


def test_the_busy_process_runs_inside_only():
    with busy_process():
        assert len(children()) == 1
    assert children() == set()


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ([], 64, "needs a model"),
        (["inceptio_v3"], 66, "inceptio_v3"),
        ([MODEL, "--batch", "0"], 64, "--batch 0: out of range"),
        ([MODEL, "--batch", "1,x"], 64, "--batch x: of the wrong kind"),
        ([MODEL, "--threads", "9999"], 64, "--threads 9999: out of range"),
        ([MODEL, "--engines", "openvin"], 64, "--engines openvin: unknown (choose torch"),
        (["inception_v3", "--image", "74"], 64, "75"),
        ([MODEL, "--engines", "onnxruntime", "--precisions", "bf16"], 78, "--precisions bf16: not with onnxruntime"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_one_line(words, code, named, capsys):
    assert main(["bench", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert (err.startswith("error: "), err.count("\n")) == (True, 1)
    assert named in err


def test_an_engine_or_a_precision_that_is_not_here_is_refused(monkeypatch, capsys):
    from inceptory.engines import machine, openvino

    monkeypatch.setattr(openvino, "precisions", lambda: ())
    assert main(["bench", MODEL, "--engines", "openvino", "--precisions", "bf16"]) == 78
    assert "--precisions bf16: not with openvino on this machine" in capsys.readouterr().err
    monkeypatch.setattr(machine, "installed", lambda: ("torch",))
    assert main(["bench", MODEL, "--engines", "openvino"]) == 78
    assert 'pip install "inceptory[fast]"' in capsys.readouterr().err
