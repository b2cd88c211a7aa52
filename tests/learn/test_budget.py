"""`--time`: how the steps of a run share a length of time. Every clock here is a plain number that the test moves."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, pairwise, repeat
from pathlib import Path

import pytest

from inceptory import Recipe, Variant
from inceptory.cli import application
from inceptory.learn.reasons import reserved
from inceptory.learn.settings.command import train_command
from inceptory.learn.settings.job import Job
from inceptory.learn.settings.options import AS_THE_RECIPE, Options, decided
from inceptory.learn.settings.recipes import document
from inceptory.learn.update.schedule import Budget, rate, timed_rate
from inceptory.measure.results import Ending
from inceptory.system import clock

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


def test_time_for_what_the_mistakes_rest_on_is_kept_free_too():
    assert budget(pace=1.0).left(10.0) - budget(pace=1.0, explaining=reserved(1000.0)).left(10.0) == 20
    assert reserved(1e6) == 60


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


def test_a_rate_that_decays_at_each_step_does_so_under_a_time_as_without_one():
    recipe = replace(RECIPE, schedule="inverse", decay=0.01, warmup=0.0)
    for step in (0, 1, 60, 500):
        plain = rate(replace(recipe, time=None), step, 100, 3)
        assert timed_rate(recipe, step / 1000, 0.001, step, 3) == pytest.approx(plain, rel=1e-12)


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
    recipe = replace(document("tutorial"), time="1h")
    assert [timed_rate(recipe, share, 0.01, 0, 50) for share in (0.0, 0.32, 0.34, 0.65, 0.67, 0.98)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )


# What is asked for


def test_epochs_limit_a_time_only_where_somebody_gave_them(tmp_path: Path):
    def epochs(recipe=None, **options):
        return decided(recipe, Options(**options), "xception").epochs

    (tmp_path / "c.toml").write_text("epochs = 7")
    assert (epochs(), epochs(recipe="tutorial"), epochs(epochs=3)) == (20, 300, 3)
    assert (epochs(time="1h"), epochs(recipe="tutorial", time="1h")) == (None, None)
    assert (epochs(time="1h", epochs=20), epochs(recipe=tmp_path / "c.toml", time="1h")) == (20, 7)
    assert (Recipe().epochs, Recipe(time="1h").epochs, Recipe(time="1h", epochs=20).epochs) == (20, None, 20)
    assert epochs(recipe=Recipe(epochs=5), time="1h") == 5, "a recipe of one's own says what it says"


@pytest.mark.parametrize("limit", [None, 20, 300, 4])
@pytest.mark.parametrize("recipe", ["quick", "tutorial"])
def test_line_record_and_card_know_which_it_was(limit, recipe, tmp_path: Path):
    wanted = decided(recipe, Options(time="20m", epochs=limit), "inception_v3")
    line = train_command("digits", "inception_v3", "x", Variant(), wanted)
    assert ("--epochs" in line) is (limit is not None)
    _, bound, _ = application().parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    asked = bound.kwargs
    assert decided(asked.get("recipe"), asked.get("options", AS_THE_RECIPE), "inception_v3") == wanted
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
        "from inceptory.system import clock\n"
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
