"""Two processes do what one does that normalises each half by itself; what they do can go on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptory import files
from inceptory.learn import state
from inceptory.learn.ranks import Ranks
from tests.learn.running import digests

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_available(), reason="gloo between processes is tried on Linux"
)
OPTIONS = [
    "--model",
    "cifar_inception_v3",
    "--width",
    "0.25",
    "--precision",
    "fp32",
    "--average",
    "0",
    "--no-tensorboard",
]


def launch(processes: int, *words: str, **environment: str) -> subprocess.Popen[str]:
    """`torchrun -m inceptory train WORDS`, begun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}", "-m", "inceptory", "train", *words]
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


@pytest.fixture(scope="module")
def pair(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two processes, and what they said."""
    folder = tmp_path_factory.mktemp("pair") / "run"
    words = [str(colours), "--out", str(folder), "--batch", "16", "--epochs", "2", *OPTIONS]
    return folder, finished(launch(2, *words))


def test_two_processes_leave_one_run(pair):
    folder, told = pair
    assert told.count("training cifar_inception_v3") == 1, "one of them speaks"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 6, "each picture once"
    assert json.loads((folder / "run.json").read_text())["finished"]


LOSSES = """
import sys, json, torch
from pathlib import Path
from inceptory.learn import step
losses, real = [], step.Stepper.step
def noted(self, *arguments):
    found = real(self, *arguments)
    losses.append(found.losses / found.seen)
    return found
step.Stepper.step = noted
from inceptory.cli import main
code = main(["train", *sys.argv[2:]])
Path(sys.argv[1] + "." + __import__("os").environ.get("RANK", "alone")).write_text(json.dumps(losses))
sys.exit(code)
"""


def test_fifty_steps_lose_what_one_process_with_two_halves_loses(colours: Path, tmp_path: Path):
    """The one process takes batches of half the size and makes a step of every two of them."""
    (tmp_path / "noted.py").write_text(LOSSES)
    # Without chance in the pictures: two processes draw from two generators.
    # 48 of the 72 pictures are for training, three steps of 16.
    plain = ["--epochs", "17", "--validation", "0.334", "--flip", "off", "--shift", "0", "--dropout", "0", *OPTIONS]
    both = launch_script(tmp_path, 2, "two", str(colours), "--out", str(tmp_path / "a"), "--batch", "16", *plain)
    finished(both)
    single = ["--batch", "8", "--accumulate", "2", *plain]
    finished(launch_script(tmp_path, 1, "one", str(colours), "--out", str(tmp_path / "b"), *single))
    two = [json.loads((tmp_path / f"two.{rank}").read_text()) for rank in range(2)]
    one = json.loads((tmp_path / "one.0").read_text())
    assert two[0] == two[1], "both know the loss of all pictures"
    assert len(one) == 51
    assert one[0] - one[-1] > 0.1, "it learns"
    assert np.abs(np.subtract(one, two[0])).max() <= 1e-4


def launch_script(folder: Path, processes: int, name: str, *words: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}", str(folder / "noted.py"), str(folder / name)]
    known = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known)


def test_a_stopped_pair_goes_on_bit_for_bit(pair, colours: Path, tmp_path: Path):
    folder = tmp_path / "run"
    words = [str(colours), "--out", str(folder), "--batch", "16", "--epochs", "2", *OPTIONS]
    begun = launch(2, *words, "--checkpoint-every", "1steps")
    deadline = time.monotonic() + 120
    while not state.listed(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    begun.send_signal(signal.SIGTERM)  # torchrun hands it to every process
    begun.communicate(timeout=120)
    found, notes = state.newest(folder)
    assert found is not None
    assert notes == []
    told = finished(launch(2, "--resume", str(folder)))
    assert f"resumed at step {found.position.step} of 8" in told
    assert digests(folder) == digests(pair[0])


def test_another_number_of_processes_goes_on_and_says_that_it_is_another(colours: Path, tmp_path: Path):
    folder = tmp_path / "run"
    words = [str(colours), "--out", str(folder), "--batch", "16", "--epochs", "2", *OPTIONS]
    begun = launch(2, *words, "--checkpoint-every", "1steps")
    deadline = time.monotonic() + 120
    while not state.listed(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    begun.send_signal(signal.SIGTERM)
    begun.communicate(timeout=120)
    told = finished(launch(1, "--resume", str(folder)))
    assert "not bit for bit" in told
    assert "processes 2, now 1" in told


SPOILT = """
import os, sys
from inceptory.learn import train
real, calls = train.prepared, []
def prepared(*arguments):
    values, targets = real(*arguments)
    calls.append(values)
    return values * float("nan") if os.environ["RANK"] == "1" and len(calls) == 3 else values, targets
train.prepared = prepared
from inceptory.cli import main
sys.exit(main(["train", *sys.argv[2:]]))
"""


def test_a_loss_that_is_no_number_in_one_ends_both_at_the_same_step(colours: Path, tmp_path: Path):
    (tmp_path / "noted.py").write_text(SPOILT)
    words = [str(colours), "--out", str(tmp_path / "run"), "--batch", "16", "--checkpoint-every", "1steps", *OPTIONS]
    begun = launch_script(tmp_path, 2, "unused", *words)
    _, told = begun.communicate(timeout=300)
    lines = [line for line in told.splitlines() if line.startswith("error: step 3: the loss is not a finite number")]
    assert sum("with pictures of another process" in line for line in lines) == 1
    assert sum(".png" in line for line in lines) == 1
    assert state.newest(tmp_path / "run")[0].position.step == 2


def test_files_are_written_by_the_first_process_only(pair):
    folder, _ = pair
    assert not list(folder.glob(f"{files.TEMPORARY}*"))
    assert not (folder / "lock").exists()
