"""What it costs to save the state of a run, beside writing the same bytes to the same disk.

    python benchmarks/checkpoint.py [rounds] [folder]

Every round writes, in turn, the raw bytes (write, fsync) and the state of a run of
cifar_inception_v3_slim (weights, average, momentum). Prints medians and ranges of wall-clock seconds,
their ratio, and the share of the time that a save each minute takes.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

from inceptory import Recipe, create
from inceptory.engines.device import choose
from inceptory.learn import state
from inceptory.learn.pictures import Targets
from inceptory.learn.state import Position, State
from inceptory.learn.step import Stepper

ROUNDS = 9


def moment() -> State:
    """The state after one step."""
    net = create("cifar_inception_v3_slim", classes=10).to(memory_format=torch.channels_last)
    stepper = Stepper(net, Recipe(), choose())
    labels = torch.tensor([0, 1])
    stepper.step(0, 0.01, [(torch.randn(2, 3, 32, 32), Targets(labels))])
    return State(Position(step=1), stepper.tensors(), {})


def raw(folder: Path, blocks: list[memoryview]) -> None:
    with open(folder / "raw", "wb", buffering=0) as file:
        for block in blocks:
            file.write(block)
        os.fsync(file.fileno())


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(rounds: int, place: str | None) -> None:
    found = moment()
    size = sum(tensor.nbytes for tensor in found.tensors.values())
    taken: dict[str, list[float]] = {"raw write and fsync": [], "state.save": []}
    with tempfile.TemporaryDirectory(dir=place) as folder:
        blocks = [memoryview(bytearray(os.urandom(size)))]
        for number in range(rounds):
            taken["raw write and fsync"].append(timed(lambda: raw(Path(folder), blocks)))
            found.position.step = number
            taken["state.save"].append(timed(lambda: state.save(Path(folder), found)))
    print(f"{platform.machine()}, torch {torch.__version__}, {date.today()}, {size:,} bytes, {rounds} rounds")
    for name, seconds in taken.items():
        told = f"{min(seconds):.3f} to {max(seconds):.3f}"
        print(f"{name:22} median {statistics.median(seconds):.3f} s ({told})")
    save = statistics.median(taken["state.save"])
    print(f"ratio {save / statistics.median(taken['raw write and fsync']):.2f}")
    print(f"share of the time, one save a minute: {100 * save / 60:.2f} %")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS, sys.argv[2] if len(sys.argv) > 2 else None)
