"""What a run does not go on with, and faults of numbers and disks: what was saved stays, and the run can go on."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.errors import ConfigError, DataError, MissingError, UsageError, WriteError
from inceptory.learn import state
from inceptory.learn.settings.folder import states_in
from inceptory.learn.settings.options import Options
from inceptory.system.files import Pending
from tests.conftest import paint
from tests.learn.running import MODEL, digests, start
from tests.learn.stopped import broken, third, unpainted, whole  # noqa: F401, fixtures


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
        ({"variant": Variant(width=0.5)}, "--width 0.25, not 0.5"),
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


def test_no_run_to_go_on_with(tmp_path):
    with pytest.raises(MissingError, match="holds no run"):
        inceptory.train(resume=tmp_path)
    with pytest.raises(UsageError, match="--resume RUN"):
        inceptory.train("digits")
    (tmp_path / "run.json").write_text('{"format": 1, "variant": 3}')
    with pytest.raises(DataError, match="damaged"):
        inceptory.train(resume=tmp_path)


def test_two_runs_in_one_folder_the_second_is_refused(broken):
    from inceptory.system.lock import locked

    with locked(broken), pytest.raises(ConfigError, match=rf"process {os.getpid()} on ") as caught:
        inceptory.train(resume=broken)
    assert caught.value.exit_code == 78


def test_another_machines_arithmetic_is_refused(broken, monkeypatch):
    monkeypatch.setattr("inceptory.engines.device.Device.__str__", lambda _: "cuda bf16")
    with pytest.raises(ConfigError, match="was computed on cpu fp32"):
        inceptory.train(resume=broken)


def test_a_loss_that_is_not_finite_names_step_rate_and_pictures(broken, monkeypatch, capsys):
    states = {path: path.read_bytes() for path in states_in(broken)}
    monkeypatch.setattr("inceptory.measure.losses.F.cross_entropy", lambda x, *_, **__: x.sum(1) * float("nan"))
    assert main(["train", "--resume", str(broken)]) == 65
    told = capsys.readouterr().err
    assert "step 4: a NaN or infinite loss at rate" in told
    assert ".png" in told
    assert "--lr" in told
    assert states == {path: path.read_bytes() for path in states_in(broken)}


def test_weights_that_are_not_finite_are_never_saved(broken, monkeypatch):
    states = {path: path.read_bytes() for path in states_in(broken)}

    def spoilt(self, *_):
        with torch.no_grad():
            self.parameters[0].fill_(float("inf"))
        return True

    monkeypatch.setattr("inceptory.learn.update.optim.Optimizer.step", spoilt)
    with pytest.raises(DataError, match="is NaN or infinite"):
        inceptory.train(resume=broken)
    assert states == {path: path.read_bytes() for path in states_in(broken)}


@pytest.mark.slow
def test_a_full_disk_ends_with_74_and_what_is_needed(broken, whole, monkeypatch, capsys):
    import errno

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    states = {path: path.read_bytes() for path in states_in(broken)}
    with monkeypatch.context() as patched:
        patched.setattr("inceptory.system.files.Pending.write", full)
        assert main(["train", "--resume", str(broken)]) == 74
    told = capsys.readouterr().err.splitlines()[-1]
    assert "no space left on device" in told
    assert "needed and" in told
    assert states == {path: path.read_bytes() for path in states_in(broken)}
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


@pytest.mark.slow
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


@pytest.mark.parametrize("n", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 5, 9))])
@pytest.mark.parametrize(
    "place", ["inceptory.system.files.Pending.write", "os.fsync", "os.replace", "tempfile.mkstemp"]
)
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
    owner = Pending if module == "inceptory.system.files.Pending" else importlib.import_module(module)
    real, calls = getattr(owner, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == n:
            raise OSError(5, "Input/output error")
        return real(*args, **kwargs)

    patched.setattr(owner, name, call)
