"""Two processes do what one does that normalises each half by itself; what they do can go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inceptory.cli import main
from inceptory.learn import loop as train
from inceptory.learn import state, step
from inceptory.learn.loop import Loop
from inceptory.learn.pictures import Targets
from inceptory.learn.settings.folder import states_in
from inceptory.measure.calibration import Calibration
from inceptory.system import files
from inceptory.system.ranks import Ranks
from inceptory.system.signals import Stop
from inceptory.weights.card import read_card
from tests.learn.running import MODEL, begun, digests

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_available(), reason="gloo between processes is tried on Linux"
)
OPTIONS = [
    "--model",
    MODEL,
    "--width",
    "0.25",
    "--precision",
    "fp32",
    "--average",
    "0",
    "--no-tensorboard",
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def launch(processes: int, *words: str, **environment: str) -> subprocess.Popen[str]:
    """`torchrun --no-python inceptory train WORDS`, begun."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--master-addr=127.0.0.1", f"--master-port={free_port()}", "--no-python"]
    command += [str(Path(sysconfig.get_path("scripts"), "inceptory")), "train", *words]
    known = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known)


def finished(begun: subprocess.Popen[str]) -> str:
    """What it said on standard error, after a good end."""
    _, told = begun.communicate(timeout=300)
    assert begun.returncode == 0, told[-3000:]
    return told


def test_parts_make_the_whole_again():
    rows = torch.arange(13)
    parts = [Ranks(rank, 4).part(rows) for rank in range(4)]
    assert torch.equal(torch.cat(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# Processes without torchrun's start, which imports torch three times: its environment is all that the package asks for.


def rank_of(
    rank: int, world: int, port: int, folder: Path, watch: Callable[[int, Path], None], words: list[str]
) -> None:
    """One process of several: `inceptory train WORDS` under `watch`; what it says is left in `told.RANK`."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(number) for name, number in place.items()}})
    torch.set_num_threads(1)
    sys.stderr = open(folder / f"told.{rank}", "w", encoding="utf-8")  # noqa: SIM115
    watch(rank, folder)
    code = main(["train", *words])
    threads = [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]
    (folder / f"threads.{rank}").write_text(json.dumps(threads))
    raise SystemExit(code)


def together(world: int, folder: Path, watch: Callable[[int, Path], None], *words: str) -> tuple[list[int], list[str]]:
    """Exit codes and what was said on standard error, of each process."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    ranks = [begun(rank_of, rank, world, port, folder, watch, list(words)) for rank in range(world)]
    for each in ranks:
        each.join(300)
        each.kill()  # one that waits for another which is gone
        each.join()
    told = [(folder / f"told.{rank}").read_text(encoding="utf-8") for rank in range(world)]
    return [each.exitcode for each in ranks], told


def unwatched(rank: int, folder: Path) -> None:
    """Nothing is changed."""


CHANGING = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
"""Events of the interpreter; an `open` counts where it is not for reading only."""


def writing(rank: int, folder: Path) -> None:
    """What is changed in the run's folder is written down, a line for each change."""
    log = open(folder / f"wrote.{rank}", "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    run = str(folder / "run")

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGING or not str(arguments[0]).startswith(run):
            return
        if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            log.write(f"{event} {' '.join(map(str, arguments[:2]))}\n")

    sys.addaudithook(note)


def noted(rank: int, folder: Path) -> None:
    """The loss of every step is written down."""
    losses, real = [], step.Stepper.step

    def watched(self: step.Stepper, *arguments: Any) -> step.Outcome:
        found = real(self, *arguments)
        losses.append(found.losses / found.seen)
        (folder / f"losses.{rank}").write_text(json.dumps(losses))
        return found

    step.Stepper.step = watched


def stopped(rank: int, folder: Path) -> None:
    """The second process is asked to stop after its third step, the first is not."""
    keep = Loop._keep

    def watched(self: Loop, stop: Stop) -> None:
        stop.asked = rank == 1 and self.position.step == 3
        keep(self, stop)

    Loop._keep = watched


def spoilt(rank: int, folder: Path) -> None:
    """The second process's third batch is not a number."""
    real, calls = train.prepared, []

    def prepared(*arguments: Any) -> tuple[torch.Tensor, Targets]:
        values, targets = real(*arguments)
        calls.append(values)
        return values * float("nan") if rank == 1 and len(calls) == 3 else values, targets

    train.prepared = prepared


@pytest.fixture(scope="module")
def pair(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two processes, and what they said."""
    folder = tmp_path_factory.mktemp("pair")
    words = [str(colours), "--out", str(folder / "run"), "--batch", "16", "--epochs", "2", *OPTIONS]
    codes, told = together(2, folder, writing, *words)
    assert codes == [0, 0], told
    return folder / "run", "".join(told)


@pytest.mark.slow
def test_two_processes_leave_one_run(pair):
    folder, told = pair
    assert told.count(f"training {MODEL}") == 1, "one of them speaks"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 6, "each picture once"
    assert json.loads((folder / "run.json").read_text())["finished"]


@pytest.mark.parametrize("run", [pytest.param("pair", marks=pytest.mark.slow), "broken"])
@pytest.mark.slow
def test_the_threads_between_processes_end_with_the_run(run: str, request: pytest.FixtureRequest):
    """One that lives on may abort the process at its very end, when all has been written."""
    made = request.getfixturevalue(run)
    folder = (made[0] if run == "pair" else made).parent
    for rank in range(2):
        threads = json.loads((folder / f"threads.{rank}").read_text())
        assert threads, "they are listed"
        assert [name for name in threads if "gloo" in name] == []


@pytest.mark.parametrize(
    "epochs",
    [pytest.param(5, marks=pytest.mark.slow), pytest.param(17, marks=pytest.mark.slow)],
    ids=["15 steps", "51 steps"],
)
def test_every_step_loses_what_one_process_with_two_halves_loses(epochs, colours: Path, tmp_path: Path):
    """The one process takes batches of half the size and makes a step of every two of them."""
    # Without chance in the pictures: two processes draw from two generators.
    # 48 of the 72 pictures are for training, three steps of 16.
    plain = ["--validation", "0.334", "--flip", "off", "--shift", "0", "--dropout", "0", *OPTIONS]
    plain += ["--epochs", str(epochs)]
    both = together(2, tmp_path / "two", noted, str(colours), "--out", str(tmp_path / "a"), "--batch", "16", *plain)
    single = [str(colours), "--out", str(tmp_path / "b"), "--batch", "8", "--accumulate", "2", *plain]
    alone = together(1, tmp_path / "one", noted, *single)
    assert both[0] + alone[0] == [0, 0, 0], both[1] + alone[1]
    two = [json.loads((tmp_path / "two" / f"losses.{rank}").read_text()) for rank in range(2)]
    one = json.loads((tmp_path / "one" / "losses.0").read_text())
    assert two[0] == two[1], "both know the loss of all pictures"
    assert len(one) == 3 * epochs
    assert one[0] - one[-1] > 0.1, "it learns"
    assert np.abs(np.subtract(one, two[0])).max() <= 1e-4


@pytest.fixture(scope="module")
def broken(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that was stopped after its third step, not to be touched."""
    folder = tmp_path_factory.mktemp("broken")
    words = [str(colours), "--out", str(folder / "run"), "--batch", "16", "--epochs", "2", *OPTIONS]
    codes, told = together(2, folder, stopped, *words, "--checkpoint-every", "1steps")
    assert codes == [75, 75], told
    found, notes = state.newest(folder / "run")
    assert found is not None
    assert notes == []
    assert found.position.step == 3
    return folder / "run"


@pytest.mark.slow
def test_a_stopped_pair_goes_on_bit_for_bit(broken, pair, tmp_path: Path):
    folder = shutil.copytree(broken, tmp_path / "run")
    codes, told = together(2, tmp_path, unwatched, "--resume", str(folder))
    assert codes == [0, 0], told
    assert "resumed at step 3 of 8" in told[0]
    assert digests(folder) == digests(pair[0])


@pytest.mark.slow
def test_the_calibration_is_of_the_pictures_of_both(tmp_path: Path):
    words = ["digits", "--validation", "0.2", "--epochs", "1", *OPTIONS]
    codes, told = together(2, tmp_path, unwatched, *words, "--batch", "64", "--out", str(tmp_path / "run"))
    assert codes == [0, 0], told
    assert "".join(told).count("of 287 validation pictures 144 choose") == 1, "one of them speaks"
    found = Calibration.from_json(read_card(tmp_path / "run" / "model.safetensors").calibration)
    assert found.n == len(found.lac) == 143


@pytest.mark.slow
def test_torchrun_leaves_the_same_run(pair, colours: Path, tmp_path: Path):
    words = [str(colours), "--out", str(tmp_path / "run"), "--batch", "16", "--epochs", "2", *OPTIONS]
    told = finished(launch(2, *words))
    assert told.count(f"training {MODEL}") == 1, "one of them speaks"
    assert digests(tmp_path / "run") == digests(pair[0])


@pytest.mark.slow
def test_a_pair_that_torchrun_stops_and_starts_again_goes_on_bit_for_bit(pair, colours: Path, tmp_path: Path):
    folder = tmp_path / "run"
    words = [str(colours), "--out", str(folder), "--batch", "16", "--epochs", "2", *OPTIONS]
    begun = launch(2, *words, "--checkpoint-every", "1steps")
    deadline = time.monotonic() + 120
    while not states_in(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    begun.send_signal(signal.SIGTERM)  # torchrun hands it to every process
    begun.communicate(timeout=120)
    found, notes = state.newest(folder)
    assert found is not None
    assert notes == []
    told = finished(launch(2, "--resume", str(folder)))
    assert f"resumed at step {found.position.step} of 8" in told
    assert digests(folder) == digests(pair[0])


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_says_that_it_is_another(broken, tmp_path: Path):
    folder = shutil.copytree(broken, tmp_path / "run")
    codes, told = together(1, tmp_path, unwatched, "--resume", str(folder))
    assert codes == [0], told
    assert "not bit for bit" in told[0]
    assert "processes 2, now 1" in told[0]


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_ends_both_at_the_same_step(colours: Path, tmp_path: Path):
    words = [str(colours), "--out", str(tmp_path / "run"), "--batch", "16", "--checkpoint-every", "1steps", *OPTIONS]
    codes, told = together(2, tmp_path, spoilt, *words)
    assert codes == [65, 65], told
    lines = [line for each in told for line in each.splitlines()]
    lines = [line for line in lines if line.startswith("error: step 3: a NaN or infinite loss")]
    assert sum("with pictures of another process" in line for line in lines) == 1
    assert sum(".png" in line for line in lines) == 1
    assert state.newest(tmp_path / "run")[0].position.step == 2


@pytest.mark.slow
def test_files_are_written_by_the_first_process_only(pair):
    folder, _ = pair
    first, second = ((folder.parent / f"wrote.{rank}").read_text(encoding="utf-8") for rank in range(2))
    for name in ("run.json", "history.csv", "last.safetensors", "model.safetensors", "metrics.json"):
        assert name in first
    assert second == ""
    assert not list(folder.glob(f"{files.TEMPORARY}*"))
    assert not (folder / "lock").exists()
