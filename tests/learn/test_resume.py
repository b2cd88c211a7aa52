"""A run that was stopped anywhere goes on to the very weights of the run that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

import inceptory
from inceptory.cli import main
from inceptory.data.feed.feed import Stream
from inceptory.errors import InterruptedRun
from inceptory.learn import state
from inceptory.learn.settings.folder import states_in
from tests.learn.running import MODEL, STEPS, TINY, digests, process, recipe, start
from tests.learn.stopped import broken, interrupted, stopped_after, third, unpainted, whole  # noqa: F401, fixtures

KILLS = int(os.environ.get("INCEPTORY_KILLS", "20"))
"""Of the slow test; `make endure` asks for more."""


@pytest.mark.parametrize("step", [1, *(pytest.param(step, marks=pytest.mark.slow) for step in (4, 5, 6, 9, 10))])
def test_a_run_stopped_after_any_step_goes_on_bit_for_bit(step, whole, colours, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stopped_after(step, patched)
        with pytest.raises(InterruptedRun, match="go on with inceptory train --resume") as caught:
            start(colours, tmp_path / "run")
    assert caught.value.exit_code == 75
    inceptory.train(resume=tmp_path / "run")
    assert f"resumed at step {step} of {STEPS}" in capsys.readouterr().err
    assert digests(tmp_path / "run") == digests(whole)
    assert not (tmp_path / "run" / "state").exists(), "a finished run keeps its results only"


CHANGES = {
    "accumulation, no average, alternating flips, balance": {
        "accumulate": 2,
        "batch": 8,
        "average": 0.0,
        "flip": "alternate",
        "balanced": True,
        "progressive": 0.5,
    },
    "keras momentum, penalty, plateau": {
        "momentum_rule": "keras",
        "penalty": 1e-4,
        "schedule": "plateau",
        "patience": 1,
        "moving_variance": "biased",
    },
    "adamw, clipping, every augmentation": {
        "optimizer": "adamw",
        "lr": 0.002,
        "clip": 1.0,
        "trivial": True,
        "colour": 0.4,
        "light": 0.1,
        "erase": 0.5,
        "cutmix": 1.0,
        "shift_kind": "continuous",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    CHANGES.values(),
    ids=CHANGES,
)
def test_every_kind_of_state_survives(changed, colours, tmp_path):
    start(colours, tmp_path / "whole", **changed)
    interrupted(colours, tmp_path / "run", 3, **changed)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


@pytest.mark.slow
def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(whole, colours, tmp_path):
    start(colours, tmp_path / "again")
    start(colours, tmp_path / "other", seed=1)
    assert digests(tmp_path / "again") == digests(whole)
    assert digests(tmp_path / "other") != digests(whole)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_pictures_streamed_by_workers_train_the_very_same_network(workers, whole, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.data.feed.feed.IN_MEMORY", 0)
    start(colours, tmp_path / "streamed", workers=workers)
    assert digests(tmp_path / "streamed") == digests(whole)


@pytest.mark.slow
def test_kept_states_hold_weights_average_and_momentum(colours, tmp_path, monkeypatch):
    for name in ("a", "b"):
        with monkeypatch.context() as patched:
            stopped_after(7, patched)
            with pytest.raises(InterruptedRun):
                start(colours, tmp_path / name)
    one, other = (states_in(tmp_path / name) for name in ("a", "b"))
    assert [path.name[:9] for path in one] == ["000000007", "000000006"], "the last two are kept"
    first, second = (load_file(paths[0]) for paths in (one, other))
    assert {name.split("/")[0] for name in first} == {"net", "average", "optimizer"}
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL; what it does have is tried below")
@pytest.mark.parametrize(
    "wanted",
    [pytest.param(5, marks=pytest.mark.slow), pytest.param(KILLS, marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_killed_at_random_moments_it_ends_where_the_unbroken_run_ends(wanted, colours, tmp_path):
    chance, kills = random.Random(0), 0
    folder, moments = tmp_path / "run", []
    # The unbroken run of another process is the measure: threads decide the last bits.
    process(colours, tmp_path / "whole").join()
    while kills < wanted:
        begun = process(colours, folder)
        moments.append(chance.uniform(0, 2))
        begun.join(moments[-1])
        if begun.is_alive():
            begun.kill()
            begun.join()
            kills += 1
        else:
            assert begun.exitcode == 0
            assert digests(folder) == digests(tmp_path / "whole"), moments
            folder, moments = tmp_path / f"run{kills}", []
    last = process(colours, folder)
    last.join()
    assert last.exitcode == 0
    assert digests(folder) == digests(tmp_path / "whole"), moments


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers no SIGTERM")
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT, getattr(signal, "SIGUSR1", None)]
)
@pytest.mark.slow
def test_a_signal_saves_the_step_and_ends_with_75(number, colours, tmp_path):
    begun = process(colours, tmp_path / "run", epochs=400)
    wait_for(lambda: states_in(tmp_path / "run"))
    os.kill(begun.pid, number)
    begun.join(30)
    assert begun.exitcode == 75
    found, notes = state.newest(tmp_path / "run")
    assert found is not None
    assert notes == []
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers no SIGTERM")
@pytest.mark.slow
def test_a_second_signal_ends_it_at_once_and_the_states_stay_whole(colours, tmp_path):
    begun = process(colours, tmp_path / "run", epochs=400)
    wait_for(lambda: states_in(tmp_path / "run"))
    for _ in range(2):
        os.kill(begun.pid, signal.SIGTERM)
    begun.join(30)
    assert begun.exitcode == 75
    found, notes = state.newest(tmp_path / "run")
    assert found is not None
    assert notes == []


def wait_for(there) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_is_resumable_from_its_creation(whole, colours, tmp_path):
    record = json.loads((whole / "run.json").read_text())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "finished": False}))
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(whole)


def test_a_finished_run_says_so_and_is_left_alone(whole, capsys):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    assert main(["train", "--resume", str(whole)]) == 0
    out, err = capsys.readouterr()
    assert "this run is finished" in err
    assert "top-1" in out
    assert before == {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_what_is_said_again_as_it_was_is_no_difference(broken, colours, whole):
    inceptory.train(str(colours), resume=broken, model=MODEL, variant=TINY, recipe=recipe())
    assert digests(broken) == digests(whole)


@pytest.mark.slow
def test_a_damaged_state_is_passed_over_and_named(broken, whole, capsys):
    newest = states_in(broken)[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    inceptory.train(resume=broken)
    told = capsys.readouterr().err
    assert f"{newest}: damaged" in told
    assert f"resumed at step 2 of {STEPS}" in told
    assert digests(broken) == digests(whole)


@pytest.mark.slow
def test_a_lock_that_was_left_behind_holds_nobody_up(broken, whole):
    (broken / "lock").write_text("process 1 on another-machine")
    inceptory.train(resume=broken)
    assert digests(broken) == digests(whole)


def test_another_number_of_threads_is_said(broken, monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr("torch.get_num_threads", lambda: threads + 1)
    stopped_after(4, monkeypatch)
    with pytest.raises(InterruptedRun):
        inceptory.train(resume=broken)
    assert f"not bit for bit the run without a break: threads {threads}, now {threads + 1}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_crops_go_on_bit_for_bit_in_the_middle_of_an_epoch(workers, whole, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.data.feed.feed.IN_MEMORY", 0)
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        with pytest.raises(InterruptedRun):
            start(colours, tmp_path / "run", workers=workers)
    asked, real = [], Stream.batches

    def noted(self, rows, draws=None):
        rows = list(rows)
        asked.append((len(rows), draws is not None))
        return real(self, rows, draws)

    monkeypatch.setattr(Stream, "batches", noted)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(whole), "whole is cropped in memory, by nobody but itself"
    assert [count for count, cropped in asked if cropped] == [5, 2, 5], "drawn (one of five), then what is left"
