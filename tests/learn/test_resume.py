"""A run that was stopped anywhere goes on to the very weights of the run that was not."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.data.feed import Stream
from inceptory.errors import ConfigError, DataError, InterruptedRun, MissingError, UsageError, WriteError
from inceptory.files import Pending
from inceptory.learn import state
from inceptory.learn.options import Options
from inceptory.learn.signals import Stop
from inceptory.learn.train import Loop
from tests.conftest import paint
from tests.learn.running import MODEL, STEPS, TINY, digests, process, recipe, start

KILLS = int(os.environ.get("INCEPTORY_KILLS", "20"))
"""Of the slow test; `make endure` asks for more."""


@pytest.fixture(autouse=True)
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are written and not rendered here: over a quarter of a run, held by the tests of plots and reports."""
    monkeypatch.setattr("inceptory.learn.plots._png", lambda _: b"a picture")


@pytest.fixture(scope="module")
def whole(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a break."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(colours, folder)
    return folder


def stopped_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a run to stop after so many steps, as a signal would."""
    keep = Loop._keep

    def watched(self: Loop, stop: Stop) -> None:
        stop.asked = self.position.step == step
        keep(self, stop)

    monkeypatch.setattr(Loop, "_keep", watched)


@pytest.mark.parametrize("step", [1, 4, 5, 6, 9, 10])
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
        "erase": 0.5,
        "cutmix": 1.0,
        "shift_kind": "continuous",
    },
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_every_kind_of_state_survives(changed, colours, tmp_path, monkeypatch):
    start(colours, tmp_path / "whole", **changed)
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        with pytest.raises(InterruptedRun):
            start(colours, tmp_path / "run", **changed)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_two_runs_of_one_seed_are_equal_and_another_seed_is_not(whole, colours, tmp_path):
    start(colours, tmp_path / "again")
    start(colours, tmp_path / "other", seed=1)
    assert digests(tmp_path / "again") == digests(whole)
    assert digests(tmp_path / "other") != digests(whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_streamed_by_workers_train_the_very_same_network(workers, whole, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.data.feed.IN_MEMORY", 0)
    start(colours, tmp_path / "streamed", workers=workers)
    assert digests(tmp_path / "streamed") == digests(whole)


def test_kept_states_hold_weights_average_and_momentum(colours, tmp_path, monkeypatch):
    for name in ("a", "b"):
        with monkeypatch.context() as patched:
            stopped_after(7, patched)
            with pytest.raises(InterruptedRun):
                start(colours, tmp_path / name)
    one, other = (state.listed(tmp_path / name) for name in ("a", "b"))
    assert [path.name[:9] for path in one] == ["000000007", "000000006"], "the last two are kept"
    first, second = (load_file(paths[0]) for paths in (one, other))
    assert {name.split("/")[0] for name in first} == {"net", "average", "optimizer"}
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL; what it does have is tried below")
@pytest.mark.parametrize("wanted", [5, pytest.param(KILLS, marks=pytest.mark.slow)], ids=["few", "many"])
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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGUSR1", None)])
def test_a_signal_saves_the_step_and_ends_with_75(number, colours, tmp_path):
    begun = process(colours, tmp_path / "run", epochs=400)
    wait_for(lambda: state.listed(tmp_path / "run"))
    os.kill(begun.pid, number)
    begun.join(30)
    assert begun.exitcode == 75
    found, notes = state.newest(tmp_path / "run")
    assert found is not None
    assert notes == []
    assert not (tmp_path / "run" / "lock").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows delivers no SIGTERM")
def test_a_second_signal_ends_it_at_once_and_the_states_stay_whole(colours, tmp_path):
    begun = process(colours, tmp_path / "run", epochs=400)
    wait_for(lambda: state.listed(tmp_path / "run"))
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


@pytest.fixture(scope="module")
def third(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its third step, not to be touched."""
    folder = tmp_path_factory.mktemp("third") / "run"
    with pytest.MonkeyPatch.context() as patched:
        stopped_after(3, patched)
        with pytest.raises(InterruptedRun):
            start(colours, folder)
    return folder


@pytest.fixture
def broken(third: Path, tmp_path: Path) -> Path:
    """A run that was stopped after its third step."""
    return shutil.copytree(third, tmp_path / "broken")


def test_starting_in_the_folder_of_an_unfinished_run_tells_how_to_go_on(broken, colours):
    before = {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="train --resume"):
        start(colours, broken)
    assert before == {path: path.read_bytes() for path in broken.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"options": Options(batch=32)}, "--batch 16, not 32"),
        ({"options": Options(precision="bf16")}, "--precision fp32, not bf16"),
        ({"model": "cifar_inception_v3"}, "model cifar_inception_v2, not cifar_inception_v3"),
        ({"variant": Variant(width=0.5)}, "width=0.25"),
        ({"recipe": "tutorial"}, "--epochs 2, not 200"),
        ({"recipe": Recipe()}, "--epochs 2, not 20"),
    ],
)
def test_going_on_with_something_else_is_refused_with_the_differences(asked, told, broken):
    with pytest.raises(ConfigError, match=r"leave that out") as caught:
        inceptory.train(resume=broken, **asked)
    assert told in str(caught.value)
    assert caught.value.exit_code == 78


def test_going_on_with_other_data_is_refused(broken, colours, tmp_path):
    with pytest.raises(ConfigError, match="not digits"):
        inceptory.train("digits", resume=broken)
    extra = colours / "red" / "extra.png"
    paint(extra, (210, 50, 40), seed=7)
    try:
        with pytest.raises(ConfigError, match="as they were"):
            inceptory.train(resume=broken)
    finally:
        extra.unlink()


def test_what_is_said_again_as_it_was_is_no_difference(broken, colours, whole):
    inceptory.train(str(colours), resume=broken, model=MODEL, variant=TINY, recipe=recipe())
    assert digests(broken) == digests(whole)


def test_no_run_to_go_on_with(tmp_path):
    with pytest.raises(MissingError, match="holds no run"):
        inceptory.train(resume=tmp_path)
    with pytest.raises(UsageError, match="--resume RUN"):
        inceptory.train("digits")
    (tmp_path / "run.json").write_text('{"format": 1, "variant": 3}')
    with pytest.raises(DataError, match="damaged"):
        inceptory.train(resume=tmp_path)


def test_a_damaged_state_is_passed_over_and_named(broken, whole, capsys):
    newest = state.listed(broken)[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    inceptory.train(resume=broken)
    told = capsys.readouterr().err
    assert f"{newest}: damaged" in told
    assert f"resumed at step 2 of {STEPS}" in told
    assert digests(broken) == digests(whole)


def test_two_runs_in_one_folder_the_second_is_refused(broken):
    from inceptory.learn.lock import locked

    with locked(broken), pytest.raises(ConfigError, match=rf"process {os.getpid()} on ") as caught:
        inceptory.train(resume=broken)
    assert caught.value.exit_code == 78


def test_a_lock_that_was_left_behind_holds_nobody_up(broken, whole):
    (broken / "lock").write_text("process 1 on another-machine")
    inceptory.train(resume=broken)
    assert digests(broken) == digests(whole)


def test_another_machines_arithmetic_is_refused(broken, monkeypatch):
    monkeypatch.setattr("inceptory.learn.device.Device.__str__", lambda _: "cuda bf16")
    with pytest.raises(ConfigError, match="was computed on cpu fp32"):
        inceptory.train(resume=broken)


def test_another_number_of_threads_is_said(broken, monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr("torch.get_num_threads", lambda: threads + 1)
    stopped_after(4, monkeypatch)
    with pytest.raises(InterruptedRun):
        inceptory.train(resume=broken)
    assert f"not bit for bit the run without a break: threads {threads}, now {threads + 1}" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_names_step_rate_and_pictures(broken, monkeypatch, capsys):
    states = {path: path.read_bytes() for path in state.listed(broken)}
    monkeypatch.setattr("inceptory.learn.tasks.F.cross_entropy", lambda x, *_, **__: x.sum() * float("nan"))
    assert main(["train", "--resume", str(broken)]) == 65
    told = capsys.readouterr().err
    assert "step 4: the loss is not a finite number at rate" in told
    assert ".png" in told
    assert "--lr" in told
    assert states == {path: path.read_bytes() for path in state.listed(broken)}


def test_weights_that_are_not_finite_are_never_saved(broken, monkeypatch):
    states = {path: path.read_bytes() for path in state.listed(broken)}

    def spoilt(self, *_):
        with torch.no_grad():
            self.parameters[0].fill_(float("inf"))
        return True

    monkeypatch.setattr("inceptory.learn.optim.Optimizer.step", spoilt)
    with pytest.raises(DataError, match="not finite any more"):
        inceptory.train(resume=broken)
    assert states == {path: path.read_bytes() for path in state.listed(broken)}


def test_a_full_disk_ends_with_74_and_what_is_needed(broken, whole, monkeypatch, capsys):
    import errno

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    states = {path: path.read_bytes() for path in state.listed(broken)}
    with monkeypatch.context() as patched:
        patched.setattr("inceptory.files.Pending.write", full)
        assert main(["train", "--resume", str(broken)]) == 74
    told = capsys.readouterr().err.splitlines()[-1]
    assert "no space left on device" in told
    assert "needed and" in told
    assert states == {path: path.read_bytes() for path in state.listed(broken)}
    inceptory.train(resume=broken)
    assert digests(broken) == digests(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_really_is_full_ends_with_74_and_room_lets_it_go_on(small_disk, colours, whole, capsys):
    words = [str(colours), "--model", MODEL, "--width", "0.25", "--out", str(small_disk / "run")]
    words += ["--epochs", "2", "--batch", "16", "--precision", "fp32", "--crop", "0.5", "--mixup", "0.2"]
    assert main(["train", *words, "--checkpoint-every", "1steps", "--no-tensorboard"]) == 74
    told = capsys.readouterr().err.splitlines()[-1]
    assert "no space left on device" in told
    assert "bytes or more needed and" in told
    found, notes = state.newest(small_disk / "run")
    assert found is not None
    assert notes == []
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    inceptory.train(resume=small_disk / "run")
    assert digests(small_disk / "run") == digests(whole)


@pytest.mark.parametrize("n", [1, 3, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5))])
@pytest.mark.parametrize("place", ["inceptory.files.Pending.write", "os.fsync", "os.replace", "tempfile.mkstemp"])
def test_the_nth_call_of_the_writer_may_fail(place, n, broken, whole, monkeypatch):
    """A state's write is tried twice; another file's fault ends the run, which then goes on."""
    with monkeypatch.context() as patched:
        failing(patched, place, n)
        with contextlib.suppress(WriteError):
            inceptory.train(resume=broken)
    found, notes = state.newest(broken)
    assert notes == []
    if not json.loads((broken / "run.json").read_text())["finished"]:
        assert found is not None
        assert found.position.step >= 3
        inceptory.train(resume=broken)
    assert digests(broken) == digests(whole)


def failing(patched: pytest.MonkeyPatch, place: str, n: int) -> None:
    """Let the nth call of a function fail as a bad disk does."""
    module, _, name = place.rpartition(".")
    owner = Pending if module == "inceptory.files.Pending" else importlib.import_module(module)
    real, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == n:
            raise OSError(5, "Input/output error")
        return real(*args, **kwargs)

    patched.setattr(owner, name, call)


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_crops_go_on_bit_for_bit_in_the_middle_of_an_epoch(workers, whole, colours, tmp_path, monkeypatch):
    monkeypatch.setattr("inceptory.data.feed.IN_MEMORY", 0)
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
