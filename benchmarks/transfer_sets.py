"""What a small trained network is worth on other pictures: `train --from` it, and the same network from fresh weights.

    python benchmarks/transfer_sets.py BACKBONE [--sets NAME ...] [--seeds 3] [--pictures N]

For each set and seed a head is fitted on BACKBONE with nothing cached, then the same architecture is trained from fresh
weights with `--time` set to the seconds that the head took, both as commands begun anew. Sets: digits, fashion-mnist,
and 100 pictures a class of CIFAR-10's test part, which no backbone has seen: of all ten classes ("cifar10"), or of
those that BACKBONE was not trained on ("unseen", by the labels in its card). --pictures cuts the test part of the last
two.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import inceptory
from inceptory.data.sources.built_in import CIFAR10
from inceptory.data.sources.opening import open_source
from inceptory.weights.card import read_card

SETS = ("digits", "fashion-mnist", "unseen", "cifar10")
PER_CLASS = 100
LEAST = 20
"""Seconds that fresh weights have at least: a command of its own start would learn nothing in less."""


def unseen_by(backbone: Path) -> list[int]:
    """Numbers of CIFAR-10's classes that are not in a card's labels, which are names or numbers."""
    labels = read_card(backbone).labels
    return [number for number, name in enumerate(CIFAR10) if not {name, str(number)} & set(labels)]


def subset(folder: Path, classes: list[int], seed: int, most: int) -> None:
    """Class folders of CIFAR-10's test part: 100 pictures a class to learn from, up to `most` others to measure by."""
    part, chance = open_source("cifar10").split("test"), np.random.default_rng(seed)
    for number in classes:
        rows = chance.permutation(np.flatnonzero(np.asarray(part.labels) == number))
        ends = {"train": rows[:PER_CLASS], "test": rows[PER_CLASS:][: most // len(classes)]}
        for split, chosen in ends.items():
            (folder / split / CIFAR10[number]).mkdir(parents=True)
            for row in chosen.tolist():
                picture = Image.open(io.BytesIO(part.pictures[row]))
                picture.save(folder / split / CIFAR10[number] / f"{row}.png")


def trained(words: list[object], out: Path) -> tuple[float, float]:
    """(test top-1 in percent, seconds of the command)."""
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "inceptory", "train", *words, "--out", out]
    environment = {**os.environ, "INCEPTORY_CACHE": f"{out}-cache"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    seconds = time.perf_counter() - start
    return 100 * json.loads((out / "metrics.json").read_text())["top1"], seconds


def both(data: object, backbone: Path, seed: int, place: Path) -> list[tuple[float, float]]:
    """Top-1 and seconds of a head, and of fresh weights for the same seconds."""
    with inceptory.open_model(backbone) as model:
        plan = model.plan
    # A digit's mirror image is another sign.
    flip = ["--flip", "off"] if data == "digits" else []
    head = trained([data, "--from", backbone, "--seed", seed], place / "head")
    options = plan.options()
    alike = ["--model", plan.architecture, "--dialect", plan.dialect, "--width", options["width"]]
    alike += ["--image", model.require_preprocess().size, "--seed", seed, "--time", f"{max(head[1], LEAST):.0f}s"]
    return [head, trained([data, *alike, *flip], place / "fresh")]


def told(values: list[float], places: int) -> str:
    """Mean and deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{places}f} ± {deviation:.{places}f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("backbone", type=Path, help="a checkpoint")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each set")
    parser.add_argument("--pictures", type=int, default=2000, help="test pictures of a part of CIFAR-10")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    print("| set | head on the backbone: top-1, % | seconds | fresh weights: top-1, % | seconds | n |")
    print("|---|---|---|---|---|---|")
    for name in given.sets:
        rows = []
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                data: object = name
                if name in ("unseen", "cifar10"):
                    data = Path(folder) / "pictures"
                    classes = unseen_by(given.backbone) if name == "unseen" else list(range(len(CIFAR10)))
                    subset(data, classes, seed, given.pictures)
                rows.append(both(data, given.backbone, seed, Path(folder)))
                print(name, seed, rows[-1], file=sys.stderr, flush=True)
        (head, head_seconds), (fresh, fresh_seconds) = (zip(*way, strict=True) for way in zip(*rows, strict=True))
        cells = told(head, 1), told(head_seconds, 0), told(fresh, 1), told(fresh_seconds, 0)
        print(f"| {name} | {' | '.join(cells)} | {given.seeds} |", flush=True)


if __name__ == "__main__":
    main()
