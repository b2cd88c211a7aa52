"""Answers to a folder of photographs: `predict --out X.parquet` against the network alone.

    python benchmarks/folder.py [PICTURES] [PRECISION] [NETWORK ...]

Networks with fresh weights at their native size (inception_v3 unless said), JPEGs of 500x375 made of enlarged noise,
in the fastest precision of the processor unless said. Each figure is the median of three rounds, in turns; the network
alone takes a batch of the same size out of memory. Time is that of the command up to the finished file, without the
loading of the network, which is timed by itself.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from features import in_turns, photographs, seconds

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


def compare(path: Path, folder: Path, count: int, precision: str) -> None:
    """Time a network."""
    with inceptory.open_model(path) as model:
        # The choice is measured here, once, and remembered for the commands that are timed.
        wish = Wish(machine.installed()[0], precision, "cpu")  # type: ignore[arg-type]
        engine, told = open_engine(model, wish, pictures=count)
        print(told or f"engine: {engine}")
        size = engine.preprocess.size
        pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, size, size), dtype=np.uint8)
        out = path.with_suffix(".parquet")

        def answer_all() -> None:
            inceptory.predict(path, folder, out=out, engine=wish.engine, precision=precision, force=True)  # type: ignore[arg-type]

        def whole() -> float:
            loading = seconds(lambda: open_engine(model, wish, pictures=count))
            return seconds(answer_all) - loading

        in_turns(path.stem, count, BATCH, lambda: engine.answers(pixels), whole)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    precision = sys.argv[2] if len(sys.argv) > 2 else fastest("cpu")
    print(f"{torch.get_num_threads()} threads, {precision}, {count} pictures, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photographs"
        folder.mkdir()
        photographs(folder, count)
        for name in sys.argv[3:] or ["inception_v3"]:
            compare(saved(name, Path(place)), folder, count, precision)


if __name__ == "__main__":
    main()
