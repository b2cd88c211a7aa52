"""Seconds to a head for one's own pictures on Keras' Xception: `inceptory train --from` and Keras itself.

    python benchmarks/transfer.py [--keras-python PYTHON] [--rounds 3] [--tutorial EPOCHS] [--quick]

Xception's weights are drawn and saved by Keras; 200 JPEGs of 500x375 are of two classes. Each way is a command, begun
anew, timed by the clock from its start to its end (ours also to the file with the fitted head, before the report is
made), all in turns: ours with nothing cached, ours again with another
strength, Keras' transfer guide (frozen network, 5 epochs), Keras with vectors that were computed once, and once, with
--tutorial, the Xception tutorial's way (all layers learn) for so many epochs. PYTHON has Keras on TensorFlow (default:
INCEPTORY_KERAS_PYTHON; without it ours alone is measured, on weights drawn here).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

import inceptory
from inceptory.data.picture.preprocess import Preprocess

ROOT = Path(__file__).parent.parent
KERAS = ROOT / "tests/peers/keras_transfer.py"
PICTURES, SIZE, EPOCHS = 100, 299, 5
"""Of each class; in pixels; of the guide."""
FIRST, SECOND = "ours, nothing cached, to the fitted head", "ours again, another strength, to the fitted head"
WHOLE = "{}, to the end of the report"
GUIDE, ONCE = "Keras' guide, 5 epochs", "Keras, vectors computed once, 5 epochs"


def photographs(folder: Path, count: int) -> None:
    """Class folders with so many pictures each: smooth noise, coarse or fine."""
    chance = np.random.default_rng(0)
    for name, shape in {"coarse": (13, 17, 3), "fine": (25, 33, 3)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = Image.fromarray(chance.integers(0, 256, shape, dtype=np.uint8))
            noise.resize((500, 375), Image.Resampling.BICUBIC).save(folder / name / f"{number}.jpg", quality=90)


def seconds(command: list[object], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that a command takes; ends this program where it fails."""
    return timed(command, environment, None)[1]


def timed(command: list[object], environment: dict[str, str], file: Path | None) -> list[tuple[float, float]]:
    """The same until this file is there, and until the command ends; the processor's are those of the whole."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        child = subprocess.Popen(list(map(str, command)), env=environment, stdout=told, stderr=told, text=True)
        there = 0.0
        while child.poll() is None:
            if file is not None and not there and file.exists():
                there = time.perf_counter() - start
            time.sleep(0.01)
        taken, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        told.seek(0)
        text = told.read()
    if child.returncode:
        sys.exit(f"{command} ended with {child.returncode}:\n{text[-3000:]}")
    print(f"{there:7.1f} {taken:7.1f} s  {' '.join(map(str, command[2:]))}\n{text.strip()[-200:]}", file=sys.stderr)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [(there, processor), (taken, processor)]


def drawn(place: Path, keras: str | None, size: int) -> Path:
    """A file of Xception's weights, by Keras, or by us where there is no Keras."""
    if keras is not None:
        file = place / "xception.weights.h5"
        seconds([keras, KERAS, "save", file], dict(os.environ))
        return file
    net, file = inceptory.create("xception", classes=0, image=size), place / "xception.safetensors"
    steps = Preprocess(size, (0.5,) * 3, (0.5,) * 3, resize=size)
    inceptory.save(net, file, inceptory.Card.of(net.plan, preprocess=steps))
    return file


def one_round(place: Path, number: int, file: Path, keras: str | None, size: int) -> dict[str, tuple[float, float]]:
    """Every way once."""
    run, data = place / f"run-{number}", place / "photographs"
    environment = {**os.environ, "INCEPTORY_CACHE": str(place / f"cache-{number}")}
    ours = [sys.executable, "-P", "-m", "inceptory", "train", data, "--from", file, "--image", size, "--out"]
    taken = {}
    for name, out, more in ((FIRST, run, []), (SECOND, Path(f"{run}-again"), ["--strength", "0.01"])):
        # The file of a run's network is renamed to its name once it is whole.
        head, whole = timed([*ours, out, *more], environment, out / "model.safetensors")
        taken |= {name: head, WHOLE.format(name.removesuffix(", to the fitted head")): whole}
    if keras is not None:
        for name, way in ((GUIDE, "guide"), (ONCE, "once")):
            taken[name] = seconds([keras, KERAS, way, data, file, size, EPOCHS], dict(os.environ))
    return taken


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print rows for benchmarks/README.md."""
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("| way | seconds, median (range) | processor seconds | times the first | times the second | n |")
    print("|---|---|---|---|---|---|")
    for name, values in found.items():
        clock = [each[0] for each in values]
        # Values of one round were taken one after the other: their ratio outlives a noisy machine.
        ratios = [
            statistics.median(a / b[0] for a, b in zip(clock, found[ours], strict=False)) for ours in (FIRST, SECOND)
        ]
        middle, busy = statistics.median(clock), statistics.median(each[1] for each in values)
        told = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {name} | {middle:.2f} ({min(clock):.2f} to {max(clock):.2f}) | {busy:.1f} | {told} | {len(clock)} |")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--keras-python", default=os.environ.get("INCEPTORY_KERAS_PYTHON"), help="one with Keras")
    parser.add_argument("--rounds", type=int, default=3, help="values of each way")
    parser.add_argument("--tutorial", type=int, default=0, metavar="EPOCHS", help="of the tutorial's way, once")
    parser.add_argument("--quick", action="store_true", help="few small pictures, one round: whether all runs")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    keras, found = given.keras_python, dict[str, list[tuple[float, float]]]()
    size, count, rounds = (75, 10, 1) if given.quick else (SIZE, PICTURES, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        photographs(place / "photographs", count)
        file = drawn(place, keras, size)
        for number in range(rounds):
            for name, taken in one_round(place, number, file, keras, size).items():
                found.setdefault(name, []).append(taken)
        if given.tutorial and keras is not None:
            name = f"Keras, the tutorial's way (all layers), {given.tutorial} epoch{'s' * (given.tutorial > 1)}"
            command = [keras, KERAS, "tutorial", place / "photographs", file, size, given.tutorial]
            found[name] = [seconds(command, dict(os.environ))]
    report(found)


if __name__ == "__main__":
    main()
