"""Answers to a folder of photographs: `predict --out X.parquet` against the network alone.

    python benchmarks/folder.py [PICTURES] [PRECISION] [NETWORK ...]

Networks with fresh weights at their native size (inception_v3 unless said), JPEGs of 500x375 made of enlarged noise,
in the fastest precision of the processor unless said. Each figure is the median of three rounds, in turns; the network
alone takes a batch of the same size out of memory. Time is that of the command up to the finished file, without the
loading of the network, which is timed by itself.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from features import ROUNDS, photographs

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines import machine
from inceptory.engines.device import fastest
from inceptory.engines.opening import Wish, open_engine
from inceptory.run.predict import BATCH


def saved(name: str, place: Path) -> Path:
    """A checkpoint of fresh weights that squashes pictures to its size and knows a thousand classes."""
    torch.manual_seed(0)
    net, size = inceptory.create(name).eval(), inceptory.plan(name).image
    preprocess = Preprocess(size, (0.5,) * 3, (0.5,) * 3, resize=size)
    labels = tuple(f"class {number}" for number in range(net.plan.classes))
    inceptory.save(
        net, place / f"{name}.safetensors", inceptory.Card.of(net.plan, preprocess=preprocess, labels=labels)
    )
    return place / f"{name}.safetensors"


def rates(path: Path, folder: Path, count: int, precision: str) -> tuple[list[float], list[float]]:
    """Pictures a second of (the network alone, the whole way), by rounds."""
    alone, whole = [], []
    with inceptory.open_model(path) as model:
        # The choice is measured here, once, and remembered for the commands that are timed.
        wish = Wish(machine.installed()[0], precision, "cpu")  # type: ignore[arg-type]
        engine, told = open_engine(model, wish, pictures=count)
        print(told or f"engine: {engine}")
        size = engine.preprocess.size
        pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, size, size), dtype=np.uint8)
        engine.answers(pixels)
        for number in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(count // BATCH):
                engine.answers(pixels)
            alone.append(count // BATCH * BATCH / (time.perf_counter() - start))
            start = time.perf_counter()
            open_engine(model, wish, pictures=count)
            loading = time.perf_counter() - start
            start = time.perf_counter()
            out = path.with_name(f"{number}.parquet")
            inceptory.predict(path, folder, out=out, engine=wish.engine, precision=precision, force=True)  # type: ignore[arg-type]
            whole.append(count / (time.perf_counter() - start - loading))
    return alone, whole


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    precision = sys.argv[2] if len(sys.argv) > 2 else fastest("cpu")
    print(f"{torch.get_num_threads()} threads, {precision}, {count} pictures, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photographs"
        folder.mkdir()
        photographs(folder, count)
        for name in sys.argv[3:] or ["inception_v3"]:
            alone, whole = rates(saved(name, Path(place)), folder, count, precision)
            share = statistics.median(b / a for a, b in zip(alone, whole, strict=True))
            told = [f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in (alone, whole)]
            print(f"{name}: network alone {told[0]}, whole way {told[1]} pictures/s, {100 * share:.0f} %")


if __name__ == "__main__":
    main()
