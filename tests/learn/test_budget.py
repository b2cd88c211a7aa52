"""`--time`: how the steps of a run share a length of time. Every clock here is a plain number that the test moves."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, pairwise, repeat
from pathlib import Path

import pytest

import inceptory
from inceptory import Recipe, Variant, clock
from inceptory.cli import application, main
from inceptory.learn import fit, plots, report, state, train, validation
from inceptory.learn.command import train_command
from inceptory.learn.job import Job
from inceptory.learn.options import AS_THE_RECIPE, Options, decided
from inceptory.learn.recipes import TUTORIAL
from inceptory.learn.results import Ending
from inceptory.learn.schedule import Budget, rate, timed_rate
from inceptory.learn.step import Stepper

RECIPE = Recipe(lr=1.0, warmup=0.2, time="100s")


def went(
    lengths: Iterable[float], budget: Budget, *, recipe: Recipe = RECIPE, start: float = 0.0
) -> tuple[list[float], float]:
    """(rates, seconds used) of a run whose steps take these lengths, validations between them aside."""
    rates, used = [], start
    for step, length in enumerate(lengths):
        if (step and budget.over(used)) or step == budget.most:
            break
        ahead = budget.ahead(step, used)
        rates.append(timed_rate(recipe, budget.share, ahead, step, budget.per_epoch))
        budget.share += ahead
        used += length
        budget.took(length)
        if (step + 1) % budget.per_epoch == 0:
            used += 2.0
            budget.measured(0.0, 1.5, 0.5)
    return rates, used


def budget(**known) -> Budget:
    return Budget(**{"seconds": 1000.0, "per_epoch": 50, "pictures": (64, 150, 300, 0), **known})


COURSES = {
    "even": repeat(1.0, 5000),
    "a slow first step": chain([200.0], repeat(0.5, 5000)),
    "two slow steps": chain([200.0, 100.0], repeat(0.5, 5000)),
    "a pause": chain(repeat(1.0, 300), [200.0], repeat(1.0, 5000)),
    "ever slower": (0.5 + 0.002 * step for step in range(5000)),
    "in bursts": (2.0 if step % 8 == 0 else 0.1 for step in range(50_000)),
}


@pytest.mark.parametrize("lengths", COURSES.values(), ids=COURSES)
def test_the_rate_rises_and_falls_without_a_leap_whatever_the_steps_take(lengths):
    rates, _ = went(lengths, budget())
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert max(abs(after - before) for before, after in pairwise(rates)) < 0.05
    assert rates[0] < 0.02, "the first step is of the warm-up"
    assert 0 < rates[-1] < 0.01, "the last one ends it"


@pytest.mark.parametrize("lengths", [repeat(1.0, 5000), chain([200.0], repeat(0.5, 5000))])
def test_the_warm_up_takes_its_share_of_the_steps(lengths):
    rates, _ = went(lengths, budget())
    assert rates.index(max(rates)) / len(rates) == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("lengths", [[1.0] * 5000, [0.1] * 50 + [2.0] * 5000, [200.0] + [0.5] * 5000])
def test_the_time_is_used_and_what_comes_after_the_steps_is_kept_free(lengths):
    # A validation takes 1.5 s and its checkpoints 0.5; the final measurement 3 s, the report 7.
    plan = budget(drawing=7.0)
    rates, used = went(lengths, plan)
    end = used + (2.0 if len(rates) % plan.per_epoch else 0.0) + 3.0 + 0.5 + 7.0
    assert 1000 - 3 * max(lengths[1 : len(rates)]) - 3 < end <= 1000


def test_a_pause_is_no_measure_of_the_steps_to_come():
    plan = budget()
    for length in [99.0, *[1.0] * 40, 200.0]:
        plan.took(length)
    assert plan.pace == pytest.approx((40 + 10) / 41), "it counts as ten usual ones"


def test_before_a_validation_was_measured_half_of_the_training_counts():
    plan = budget(pace=2.0)
    assert plan.left(100.0) == 900 - 0.5 * 2.0 / 64 * 450
    plan.measured(0.0, 1.5, 0.5)
    assert plan.left(100.0) == 900 - 0.01 * 450 - 2 * 0.5


def test_statistics_cost_the_same_however_few_pictures_are_measured_after_them():
    """Ten validation pictures after 2,048 training ones, and a test split of 6,000."""
    plan = budget(pictures=(64, 10, 6000, 2048), pace=2.0, full=0.01)
    assert plan.left(0.0) == pytest.approx(1000 - 0.5 * 2.0 / 64 * 2058 - 60), "estimated before the first"
    plan.measured(20.0, 0.1, 0.5)
    assert plan.left(0.0) == pytest.approx(1000 - 20.1 - 60 - 2 * 0.5)
    assert budget(**plan.to_json()).renewing == 20.0


def test_a_rate_that_decays_by_epochs_does_so_under_a_time_as_without_one():
    recipe = replace(RECIPE, schedule="exponential", decay_rate=0.5, decay_epochs=4 / 3)
    for step in range(60, 100):
        plain = rate(replace(recipe, time=None, warmup=0.0), step, 100, 3)
        assert timed_rate(recipe, step / 100, 0.01, step, 3) == pytest.approx(plain)
    assert timed_rate(recipe, 0.1, 0.01, 30, 3) == pytest.approx(0.525, rel=1e-4), "rising, it does not decay yet"


def test_with_a_limit_of_steps_the_schedule_ends_at_whichever_comes_first():
    early, used = went(repeat(1.0, 5000), budget(most=100))
    assert (len(early), used) == (100, 104.0)
    assert early[-1] < 0.01, "the schedule was laid over the epochs"
    late, used = went(repeat(1.0, 5000), budget(most=5000))
    assert (late, used) == went(repeat(1.0, 5000), budget())


def test_a_resumed_budget_goes_on_where_it_was():
    first = budget(seconds=500.0)
    before, used = went(repeat(1.0, 200), first)
    again = budget(seconds=500.0, **first.to_json())
    # The start of the second command takes 30 s, and its first step compiles for 40.
    after, end = went(chain([40.0], repeat(1.0, 5000)), again, start=used + 30)
    assert abs(after[0] - before[-1]) < 0.02
    assert after == sorted(after, reverse=True)
    assert after[-1] < 0.01
    assert end <= 500


def test_drops_come_with_their_shares_of_the_time():
    recipe = replace(TUTORIAL, time="1h")
    assert [timed_rate(recipe, share, 0.01, 0, 50) for share in (0.0, 0.32, 0.34, 0.65, 0.67, 0.98)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )


# What is asked for


def test_epochs_limit_a_time_only_where_somebody_gave_them(tmp_path: Path):
    def epochs(recipe=None, config=None, **options):
        return decided(recipe, config, Options(**options), "xception").epochs

    (tmp_path / "c.toml").write_text("epochs = 7")
    assert (epochs(), epochs(recipe="tutorial"), epochs(epochs=3)) == (20, 300, 3)
    assert (epochs(time="1h"), epochs(recipe="tutorial", time="1h")) == (None, None)
    assert (epochs(time="1h", epochs=20), epochs(config=tmp_path / "c.toml", time="1h")) == (20, 7)
    assert (Recipe().epochs, Recipe(time="1h").epochs, Recipe(time="1h", epochs=20).epochs) == (20, None, 20)
    assert epochs(recipe=Recipe(epochs=5), time="1h") == 5, "a recipe of one's own says what it says"


@pytest.mark.parametrize("limit", [None, 20, 300, 4])
@pytest.mark.parametrize("recipe", ["quick", "tutorial"])
def test_line_record_and_card_know_which_it_was(limit, recipe, tmp_path: Path):
    wanted = decided(recipe, None, Options(time="20m", epochs=limit), "inception_v3")
    line = train_command("digits", "inception_v3", "x", Variant(), wanted)
    assert ("--epochs" in line) is (limit is not None)
    _, bound, _ = application().parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    asked = bound.kwargs
    assert decided(asked.get("recipe"), None, asked.get("options", AS_THE_RECIPE), "inception_v3") == wanted
    Job("digits", "inception_v3", Variant(), wanted, "", line).write(tmp_path)
    assert Job.read(tmp_path).recipe == wanted
    assert wanted.to_json()["epochs"] == limit


def test_what_ended_a_run_is_told():
    assert Ending("time", 487, 50).told("20m") == ("9 epochs and 37 of the 50 steps of another, stopped by --time 20m")
    assert Ending("time", 7, 50).told("20m").startswith("7 of the 50 steps of an epoch, stopped")
    assert Ending("epochs", 500, 50).told("20m") == ("10 epochs, stopped by --epochs before --time 20m")
    assert Ending("epochs", 50, 50).told(None) == "1 epoch"
    assert Ending("patience", 100, 50).told(None) == "2 epochs, stopped early: validation got no better (--stop-after)"


# The clock


def test_a_command_began_with_its_process_and_a_call_with_itself():
    script = (
        "import time; time.sleep(0.3)\n"
        "from inceptory import clock\n"
        "with clock.whole_process(): print(clock.now() - clock.began())\n"
        "before, start = clock.now(), clock.began()\n"
        "print(before <= start <= clock.now())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    command, call = done.stdout.split()
    assert call == "True"
    if sys.platform == "linux":
        assert float(command) >= 0.3, "what came before the first import of the package counts"


def test_where_the_system_does_not_tell_the_import_counts(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError))
    assert clock._process_began() == clock._LOADED


# Runs by a clock that only the work moves

STEP, LOOK = 1.0, 2.0


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch):
    """The clock, and the rates that steps took.

    Starting takes 5 s, drawing the first batch 4, a step 1 and the first 15, looking at a split 2, the report 10.
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
        hands[0] += 10.0
        return tell(*args, **kwargs)

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


def test_a_timed_run_ends_in_time_with_a_slow_first_step_and_says_so(moved, colours, tmp_path, capsys):
    hands, rates = moved
    start = hands[0]
    assert main(["train", str(colours), *WORDS, "--time", "82s", "--out", str(tmp_path / "run")]) == 0
    # 9 s to start, 15 of the first step, 2 after every fifth step, and at the end 2 to measure and 10 to report.
    assert 82 - 2 * (STEP + LOOK) < hands[0] - start <= 82
    steps, seconds, by = told_steps(tmp_path / "run")
    assert (steps, by) == (len(rates), "time")
    assert seconds == pytest.approx(hands[0] - start - 10, abs=0.1), "told in the report, so without it"
    assert max(after - before for before, after in pairwise(rates)) < 0.02, "no leap after the slow first step"
    assert max(rates) > 0.04
    assert rates[-1] < 0.005
    whole, rest = divmod(steps, 5)
    assert rest, "the last epoch was cut"
    said = f"{whole} epochs and {rest} of the 5 steps of another, stopped by --time 82s"
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "run" / "report.html").read_text()
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        assert [float(row["lr"]) for row in csv.DictReader(file)][-1] == pytest.approx(rates[-1], rel=1e-4)


@pytest.mark.parametrize(("epochs", "by"), [(3, "epochs"), (300, "time")])
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

        def looked(net, pictures, preprocess, device, progress, ranks):
            progress(1, 1)
            return look(net, pictures, preprocess, device, progress, ranks)

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
    from inceptory.learn.ranks import Ranks

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
