"""Runs with `--time`, by a clock that only the work moves."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.learn import fit, state, validation
from inceptory.learn import loop as train
from inceptory.learn.step import Stepper
from inceptory.measure.vectors import NOTHING
from inceptory.report import folder as report
from inceptory.report import plots
from inceptory.system import clock

STEP, LOOK = 1.0, 2.0


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch):
    """The clock, and the rates that steps took.

    Starting takes 5 s, drawing the first batch 4, a step 1 and the first 15, looking at a split 2, the report 16;
    explaining takes all that it may.
    """
    hands = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: hands[0])
    rates: list[float] = []
    step, look, feeds, draw, tell = Stepper.step, validation.logits_of, fit._feeds, plots.pictures, report.write_run

    def stepped(self, number, rate, parts, *others):
        hands[0] += STEP if rates and hands[0] != hands[1] else 15.0
        rates.append(rate)
        return step(self, number, rate, parts, *others)

    def looked(*args, **kwargs):
        hands[0] += LOOK
        return look(*args, **kwargs)

    def fed(*args, **kwargs):
        hands[0] += 5.0
        return feeds(*args, **kwargs)

    def drawn(*args, **kwargs):
        hands[0] += 4.0
        hands[1:] = [hands[0]]  # the moment of the first step
        return draw(*args, **kwargs)

    def told(*args, **kwargs):
        hands[0] += 16.0
        return tell(*args, **kwargs)

    def explained(*args):
        hands[0] = max(hands[0], args[-1].end)
        return NOTHING

    monkeypatch.setattr(fit, "explained", explained)
    monkeypatch.setattr(plots, "pictures", drawn)
    monkeypatch.setattr(report, "write_run", told)
    monkeypatch.setattr(Stepper, "step", stepped)
    monkeypatch.setattr(validation, "logits_of", looked)
    monkeypatch.setattr(fit, "logits_of", looked)
    monkeypatch.setattr(fit, "_feeds", fed)
    return hands, rates


WORDS = ["--model", "cifar_inception_v1", "--width", "0.25", "--batch", "16", "--precision", "fp32", "--no-tensorboard"]


def told_steps(folder: Path) -> tuple[int, float, str]:
    found = json.loads((folder / "metrics.json").read_text())
    return found["steps"], 60 * found["minutes"], found["ended_by"]


@pytest.mark.slow
def test_a_timed_run_ends_in_time_with_a_slow_first_step_and_says_so(moved, colours, tmp_path, capsys):
    hands, rates = moved
    start = hands[0]
    assert main(["train", str(colours), *WORDS, "--time", "90s", "--out", str(tmp_path / "run")]) == 0
    # 9 s to start, 15 for the first step, 2 after every fifth; at the end 2 to measure, 1.8 to explain, 16 to report.
    assert 90 - 2 * (STEP + LOOK) < hands[0] - start <= 90
    steps, seconds, by = told_steps(tmp_path / "run")
    assert (steps, by) == (len(rates), "time")
    assert seconds == pytest.approx(hands[0] - start - 16, abs=0.1), "told in the report, so without it"
    assert max(after - before for before, after in pairwise(rates)) < 0.02, "no leap after the slow first step"
    assert max(rates) > 0.04
    assert rates[-1] < 0.005
    whole, rest = divmod(steps, 5)
    assert rest, "the last epoch was cut"
    said = f"{whole} epochs and {rest} of the 5 steps of another, stopped by --time 90s"
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "run" / "report.html").read_text()
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        assert [float(row["lr"]) for row in csv.DictReader(file)][-1] == pytest.approx(rates[-1], rel=1e-4)


@pytest.mark.parametrize(("epochs", "by"), [pytest.param(3, "epochs", marks=pytest.mark.slow), (300, "time")])
@pytest.mark.slow
def test_beside_epochs_whichever_comes_first_ends_the_run(epochs, by, moved, colours, tmp_path, capsys):
    words = [str(colours), *WORDS, "--time", "75s", "--epochs", str(epochs), "--out", str(tmp_path / "run")]
    assert main(["train", *words]) == 0
    assert told_steps(tmp_path / "run")[2] == by
    told = capsys.readouterr().err
    assert f"{epochs} epochs or 75s, whichever comes first" in told
    assert ("3 epochs, stopped by --epochs before --time 75s" in told) is (by == "epochs")
    assert ("stopped by --time 75s" in told) is (by == "time")
    assert f"--epochs {epochs}" in json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert moved[1][-1] < 0.005, "the schedule ended with it"


def stopped(monkeypatch, step: int, during: str = "_keep") -> None:
    real = getattr(train.Loop, during)

    def asked(self, *args):
        args[-1].asked = self.position.step == step
        return real(self, *args)

    monkeypatch.setattr(train.Loop, during, asked)


@pytest.mark.slow
def test_a_timed_run_is_resumed_by_the_command_line_and_gets_what_is_left(
    moved, colours, tmp_path, monkeypatch, capsys
):
    hands, rates = moved
    start = hands[0]
    with monkeypatch.context() as patched:
        stopped(patched, 17)
        words = [str(colours), *WORDS, "--time", "130s", "--out", str(tmp_path / "run")]
        assert main(["train", *words]) == 75
    found, _ = state.newest(tmp_path / "run")
    assert found.position.used == hands[0] - start
    assert f"stopped after step 17, with {hands[0] - start:.0f} s of 130s used" in capsys.readouterr().err
    hands[0] += 10_000  # nobody counts the night between
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert "resumed at step 17, with 51 s of 130s used" in capsys.readouterr().err
    assert hands[0] - start - 10_000 <= 130
    assert 120 - 3 * (STEP + LOOK) < told_steps(tmp_path / "run")[1] <= 120
    assert abs(rates[17] - rates[16]) < 0.005, "the rate goes on where it was"
    assert rates[-1] < 0.01


@pytest.mark.slow
def test_a_timed_run_stopped_in_its_last_validation_is_measured_on_resume(moved, colours, tmp_path, monkeypatch):
    words = [str(colours), *WORDS, "--time", "68s", "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        cut = []
        late = train.Loop._too_late

        def too_late(self):
            cut.append(late(self))
            return cut[-1]

        real = train.Loop._validated

        def validated(self, *others):
            others[1].asked = cut[-1]
            return real(self, *others)

        look = validation.logits_of

        def looked(engine, pictures, progress, *others):
            progress(1, 1)
            return look(engine, pictures, progress, *others)

        patched.setattr(train.Loop, "_too_late", too_late)
        patched.setattr(train.Loop, "_validated", validated)
        patched.setattr(validation, "logits_of", looked)
        assert main(["train", *words]) == 75
    step = state.newest(tmp_path / "run")[0].position.step
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert told_steps(tmp_path / "run")[0] == step, "no further step"
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == -(-step // 5), "the cut epoch has its row"


def test_a_validation_that_is_quicker_than_expected_adds_no_steps_to_a_cut_epoch(moved, colours, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "LOOK", 0.1)
    small = ["4" if word == "16" else word for word in WORDS]
    words = [str(colours), *small, "--validation", "0.5", "--time", "48s", "--out", str(tmp_path / "run")]
    assert main(["train", *words]) == 0
    steps, _, by = told_steps(tmp_path / "run")
    assert (steps, by) == (3, "time"), "of nine"


def test_a_time_that_is_over_before_the_first_step_still_leaves_a_run(moved, colours, tmp_path):
    run = inceptory.train(
        str(colours),
        model="cifar_inception_v1",
        out=tmp_path / "run",
        variant=Variant(width=0.25),
        recipe=Recipe(time="1s", batch=16, precision="fp32"),
    )
    assert len(run.epochs) == 1
    assert told_steps(tmp_path / "run")[0] == 1


def test_of_several_processes_the_first_ones_clock_counts(monkeypatch):
    from inceptory.system.ranks import Ranks

    asked = []
    monkeypatch.setattr(Ranks, "total", lambda self, *numbers: asked.append(numbers) or [7.0] * len(numbers))
    assert Ranks(0, 2).of_first(1.0, 2.0) == [7.0, 7.0]
    assert Ranks(1, 2).of_first(1.0, 2.0) == [7.0, 7.0]
    assert asked == [(1.0, 2.0), (0.0, 0.0)], "the others add nothing"


@pytest.mark.slow
def test_twenty_seconds_are_twenty_seconds(tmp_path):
    """With the real clock, torch's import included; loosely, since other processes share the machine."""
    words = [
        sys.executable,
        "-m",
        "inceptory",
        "train",
        "digits",
        *WORDS,
        "--time",
        "20s",
        "--out",
        str(tmp_path / "run"),
    ]
    start = time.time()
    subprocess.run(words, check=True, capture_output=True)
    last = max(path.stat().st_mtime for path in (tmp_path / "run").iterdir())
    assert 8 < last - start < 30
    assert told_steps(tmp_path / "run")[1] < 21
