"""The tutorials' networks one after another: what is asked for, how long it takes, stopped and taken up again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import inceptory
from inceptory.cli import application, main
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError, DataError, InterruptedRun
from inceptory.learn.loop import Loop
from inceptory.learn.pace import Pace, pace_of
from inceptory.learn.settings.job import Job
from inceptory.learn.validation import Validation
from inceptory.report.reproduced import TUTORIALS, WRITTEN, Tutorial
from inceptory.run.reproduction.forecast import DAY, Forecast, proposals, spent
from inceptory.run.reproduction.record import FILE, Reproduction, as_in_the_tutorials
from inceptory.system import clock
from inceptory.system.progress import duration
from inceptory.system.signals import Stop
from tests.data.tiny_cifar10 import TEST, TRAIN, written
from tests.learn.stopped import stopped_after, unpainted  # noqa: F401, a fixture

ONE, TWO = "cifar_inception_v1", "cifar_inception_v2"
SMALL = Reproduction(networks=(ONE, TWO), width=0.25, epochs=2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, beside few pictures as CIFAR-10."""
    monkeypatch.setenv("INCEPTORY_DATA", str(written(tmp_path / "data")))
    return tmp_path


def reproduce(out: Path, asked: Reproduction = SMALL):
    options = {"recipe": asked.recipe, "width": asked.width, "epochs": asked.epochs, "time": asked.time}
    return inceptory.reproduce("cifar10", networks=asked.networks, out=out, **options)


def pictures():
    return as_in_the_tutorials(open_source("cifar10"))


# What is asked for


def test_the_networks_have_as_many_parameters_as_the_tutorials_print(monkeypatch):
    totals = [5_984_936, 10_210_090, 23_397_866, 23_229_370, 21_215_770, 23_397_866]
    assert [tutorial.total for tutorial in TUTORIALS.values()] == totals
    Reproduction().check()
    monkeypatch.setitem(TUTORIALS, TWO, Tutorial(10_210_091, ""))
    with pytest.raises(AssertionError, match=r"cifar_inception_v2: 10,210,090 parameters"):
        Reproduction(width=0.25).check()


def test_the_line_that_goes_on_asks_for_the_same(tmp_path: Path):
    for asked in (Reproduction(), SMALL, Reproduction(recipe="quick", networks=(TWO,), time="20m")):
        words = shlex.split(asked.command(tmp_path / "my runs"))
        _, bound, _ = application().parse_args(words[1:], exit_on_error=False, print_error=False)
        given = bound.arguments
        assert (given.pop("data"), Path(given.pop("out"))) == ("cifar10", tmp_path / "my runs")
        assert Reproduction(**given) == asked


def test_recipe_epochs_and_time_are_those_of_train():
    def asked(name: str = TWO, **options):
        recipe = Reproduction(**options).recipe_of(name)
        return recipe.epochs, recipe.time

    assert (asked(ONE), asked("cifar_inception_v3")) == ((200, None), (300, None))
    assert asked(recipe="quick") == (20, None)
    assert (asked(time="20m"), asked(epochs=3), asked(epochs=3, time="1h")) == ((None, "20m"), (3, None), (3, "1h"))


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    SMALL.write(tmp_path)
    assert Reproduction.read(tmp_path) == SMALL
    for damaged in ("", "[]", "{}", '{"format": 1, "width": "x"}', "[" * 100_000):
        (tmp_path / FILE).write_text(damaged)
        with pytest.raises(DataError, match=FILE):
            Reproduction.read(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_test_pictures_are_validation_and_that_and_copies_are_said_in_the_name(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("INCEPTORY_DATA", str(written(tmp_path, kind)))
    source = pictures()
    assert source.sizes == {"train": TRAIN, "validation": TEST}
    assert list(source.splits["validation"].names) == list(open_source("cifar10").split("test").names)
    assert source.name == f"cifar10{' (JPEG copies)' * (kind == 'JPEG')}, its test pictures as validation"


# How long


def test_a_pace_counts_the_steps_and_pictures_of_the_whole_data(place, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])

    def went(seconds: float) -> float:
        now[0] += seconds
        return seconds

    lengths = list[float]()
    monkeypatch.setattr(Loop, "objectives", lambda *_: ((went(length), 0.0) for length in lengths))
    monkeypatch.setattr(Validation, "measure", lambda *_: went(4.0))
    for recipe, looked in (("tutorial", TEST), ("quick", TEST + 8 * 8)):
        lengths[:] = [0.9, 0.3, 0.5, 0.4, 7, 8] if recipe == "tutorial" else [3.0, 9.0]
        job = replace(SMALL, recipe=recipe).job(ONE, pictures(), "")
        job = replace(job, recipe=replace(job.recipe, batch=8))
        pace = pace_of(job, pictures(), place / "out", Stop())
        assert pace.steps == TRAIN / 8
        # The median of those after the first, of so many as take two seconds.
        assert pace.step == pytest.approx(0.4 if recipe == "tutorial" else 3.0)
        assert pace.measuring == pytest.approx(looked * 4.0 / 8), "timed on a batch of 8"
        assert pace.epoch == pytest.approx(5 * pace.step + pace.measuring)
    assert not (place / "out").exists()


def test_a_signal_while_steps_are_timed_names_the_line_that_goes_on(place):
    stop = Stop()
    stop.asked = True
    with pytest.raises(InterruptedRun, match=r"before the first step \(go on with inceptory reproduce cifar10\)"):
        pace_of(SMALL.job(ONE, pictures(), "inceptory reproduce cifar10"), pictures(), place / "out", stop)


PACES = {ONE: Pace(1.0, 100, 20.0), TWO: Pace(2.0, 100, 40.0)}
"""Epochs of 120 and 240 s."""


def test_a_forecast_adds_up_epochs_or_times_without_what_is_done():
    def seconds(before=(), **asked):
        return Forecast(Reproduction(networks=(ONE, TWO), **asked), PACES, dict(before)).seconds

    assert seconds() == 200 * 360
    assert seconds([(ONE, 4000.0)]) == 200 * 360 - 4000
    assert seconds(epochs=3) == 3 * 360
    assert seconds(time="20m") == 2 * 1200
    assert seconds([(ONE, 1300.0)], time="20m") == 1200, "a run that took longer than its time leaves nothing"
    assert seconds(time="5m", epochs=2) == 240 + 300
    told = str(Forecast(Reproduction(networks=(ONE, TWO), time="20m"), PACES, {}))
    assert [line.split()[-3] for line in told.splitlines()[2:4]] == ["10.0", "5.0"]
    assert told.endswith("in all 40 min")


def test_seconds_that_are_behind_a_run_are_those_of_its_epochs(tmp_path: Path):
    assert spent(tmp_path) == 0
    for text, seconds in (("epoch,seconds\n1,2.5\n2,3\n", 5.5), ("epoch\n1\n", 0), ("epoch,seconds\n1,x\n", 0)):
        (tmp_path / "history.csv").write_text(text)
        assert spent(tmp_path) == seconds


def test_what_is_proposed_takes_less_than_a_day():
    slow = {name: replace(pace, step=10 * pace.step, measuring=10 * pace.measuring) for name, pace in PACES.items()}
    asked = Reproduction(networks=(ONE, TWO))
    assert Forecast(asked, slow, {}).seconds > 8 * DAY
    some = f"--networks {ONE} {TWO}"
    assert proposals(asked, {1.0: slow, 0.25: PACES}) == [
        (f"{some} --epochs 20", 20 * 3600),
        (f"{some} --width 0.25", 200 * 360),
        (f"{some} --width 0.25 --time 20m", 2400),
    ]
    narrow = replace(asked, width=0.25)
    assert proposals(narrow, {0.25: slow})[0] == (f"{some} --width 0.25 --epochs 20", 20 * 3600)
    assert proposals(replace(narrow, time="13h"), {0.25: slow}) == [
        (f"{some} --width 0.25 --epochs 20", 20 * 3600),
        (f"{some} --width 0.25 --time 20m", 2400),
    ]


@pytest.mark.parametrize(("each", "said"), [(1.0, False), (1e4, True)])
def test_days_are_told_before_they_begin_with_what_would_take_less(place, monkeypatch, capsys, each, said):
    monkeypatch.setattr("inceptory.learn.pace.pace_of", lambda *_: Pace(each, 10, 0.0))
    monkeypatch.setattr(
        "inceptory.run.reproduction.reproduce._train", lambda *_: (_ for _ in ()).throw(InterruptedRun("stopped"))
    )
    with pytest.raises(InterruptedRun):
        reproduce(place / "out", replace(SMALL, width=1.0))
    told = capsys.readouterr().err
    assert f"in all {duration(2 * 2 * 10 * each)}" in told
    assert ("--width 0.25 --time 20m: 40 min" in told) is said
    assert Reproduction.read(place / "out").width == 1.0


# Stopped and taken up again


def test_a_signal_between_two_networks_names_the_line_that_goes_on(place, monkeypatch):
    def pace(job, source, folder, stop):
        stop.asked = True
        return PACES[ONE]

    monkeypatch.setattr("inceptory.learn.pace.pace_of", pace)
    with pytest.raises(InterruptedRun) as caught:
        reproduce(place / "out")
    assert str(caught.value).endswith(f"(go on with {SMALL.command(place / 'out')})")
    assert not (place / "out").exists(), "nothing has begun"


def test_a_signal_before_a_network_begins_is_not_lost(place):
    """In a process of its own, which the signal may end."""
    code = """if True:
        import signal, sys
        from pathlib import Path
        from inceptory.run.reproduction.reproduce import _Work
        from tests.run.test_reproduce import InterruptedRun, reproduce

        _Work.say_how_long = lambda *_: signal.raise_signal(signal.SIGTERM)
        try:
            reproduce(Path(sys.argv[1]))
        except InterruptedRun as fault:
            print(fault)
    """
    words = [sys.executable, "-c", code, str(place / "out")]
    child = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert child.returncode == 0, child.stderr[-2000:]
    assert "before the first step" in child.stdout
    assert child.stdout.strip().endswith(f"(go on with {SMALL.command(place / 'out')})")


@pytest.mark.parametrize("name", [ONE, "cifar_inception_v3", *WRITTEN])
def test_what_lies_in_the_folder_is_not_replaced(place, name, capsys):
    (place / "out").mkdir()
    (place / "out" / name).write_text("mine")
    assert main(["reproduce", "cifar10", "--networks", ONE, "--out", str(place / "out")]) == 78
    assert "would be replaced" in capsys.readouterr().err
    assert (place / "out" / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"width": 0.5}, "--width 0.25, not 0.5"),
        ({"networks": (ONE,)}, f"--networks {ONE} {TWO}, not {ONE}"),
        ({"recipe": "quick"}, "--recipe tutorial, not quick"),
        ({"epochs": None, "time": "20m"}, "--epochs 2, not none; --time none, not 20m"),
    ],
    ids=str,
)
def test_other_options_in_the_same_folder_are_refused_with_the_line_that_goes_on(tmp_path, monkeypatch, other, words):
    (tmp_path / "cifar10").mkdir()
    monkeypatch.setenv("INCEPTORY_DATA", str(tmp_path))  # refused before any picture is looked for
    SMALL.write(tmp_path)
    with pytest.raises(ConfigError) as caught:
        reproduce(tmp_path, replace(SMALL, **other))
    remedy = f"(choose another --out, or go on with {SMALL.command(tmp_path)})"
    assert str(caught.value) == f"{tmp_path}: was begun with {words} {remedy}"
    assert caught.value.exit_code == 78


@pytest.mark.slow
def test_the_same_line_goes_on_until_all_are_finished(place, monkeypatch, capsys):
    out = place / "out"
    again = SMALL.command(out)
    for stopped in (ONE, TWO):
        with monkeypatch.context() as patched:
            stopped_after(1, patched)
            with pytest.raises(InterruptedRun, match="step 1 of 2, saved") as caught:
                reproduce(out)
        assert str(caught.value).startswith(str(out / stopped))
        assert str(caught.value).endswith(f"(go on with {again})")
        with pytest.raises(ConfigError, match="go on with inceptory reproduce"):
            inceptory.train(resume=out / stopped)
        assert (out / "reproduced.html").exists() is (stopped == TWO)
    first = (out / ONE / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    reproduced = reproduce(out)
    assert "resumed at step 1 of 2" in capsys.readouterr().err
    assert (out / ONE / "model.safetensors").stat().st_mtime_ns == first, "a finished network is kept"
    assert [len(run.history) for run in reproduced.runs] == [2, 2]
    assert [run.n for run in reproduced.runs] == [TEST, TEST]
    monkeypatch.delenv("INCEPTORY_DATA")
    assert reproduce(out) == reproduced, "the pictures are not needed any more"
    assert "nothing is left to do" in capsys.readouterr().err


def test_other_pictures_than_those_it_began_with_are_refused(place):
    SMALL.write(place)
    (place / ONE).mkdir()
    SMALL.job(ONE, pictures(), SMALL.command(place)).write(place / ONE)
    written(place / "data", train=TRAIN + 1)
    with pytest.raises(ConfigError, match="other pictures"):
        reproduce(place)
    assert json.loads((place / ONE / "run.json").read_text())["finished"] is False
    assert Job.read(place / ONE).going_on(place) == SMALL.command(place)
