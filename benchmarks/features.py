"""Features of photographs: the whole way from JPEGs against the network alone, and the fit of a head.

    python benchmarks/features.py [PICTURES]

Networks with fresh weights at their native size, pictures of 500x375 made of enlarged noise (JPEG, quality 90), no
cache, bf16 where the processor has it. Each figure is the median of three rounds, in turns; the network alone takes the
same batches out of memory. The head: 10,000 vectors of 2,048 numbers of ten overlapping classes, 1,000 held back.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import fastest
from inceptory.engines.opening import Maker, Wish
from inceptory.learn.transfer.head import ARRIVED, Fitter, path

ROUNDS, BATCH = 3, 16


def photographs(folder: Path, count: int) -> None:
    chance = np.random.default_rng(0)
    for number in range(count):
        noise = chance.integers(0, 256, (25, 33, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(name: str, count: int, batch: int, answer: Callable[[], object], whole: Callable[[], float]) -> None:
    """Print pictures a second of the network alone, a batch by `answer`, and of `whole`, which gives its seconds."""
    answer()
    alone, complete = [], []
    for _ in range(ROUNDS):
        batches = count // batch
        alone.append(batches * batch / sum(seconds(answer) for _ in range(batches)))
        complete.append(count / whole())
    share = statistics.median(b / a for a, b in zip(alone, complete, strict=True))
    told = [f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in (alone, complete)]
    print(f"{name}: network alone {told[0]}, whole way {told[1]} pictures/s, {100 * share:.0f} %")


def compare(name: str, folder: Path, count: int, place: Path) -> None:
    """Time a network."""
    torch.manual_seed(0)
    net, size = inceptory.create(name, classes=0).eval(), inceptory.plan(name).image
    card = inceptory.Card.of(net.plan, preprocess=Preprocess(size, (0.5,) * 3, (0.5,) * 3, resize=size))
    inceptory.save(net, place / f"{name}.safetensors", card)
    with inceptory.open_model(place / f"{name}.safetensors") as model:
        maker = Maker(model, Wish(precision=fastest("cpu")))
        engine = maker.make(maker.fastest())
        pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, size, size), dtype=np.uint8)

        def extract() -> None:
            inceptory.extract_features(model, str(folder), cache=False, precision=fastest("cpu"))

        in_turns(name, count, BATCH, lambda: engine.vectors(pixels), lambda: seconds(extract))


def head() -> float:
    """Seconds of the whole path and of the last fit."""
    chance = np.random.default_rng(0)
    centres, labels = chance.normal(size=(10, 2048)).astype(np.float32) * 0.06, chance.integers(0, 10, 11_000)
    vectors = np.maximum(centres[labels] + chance.normal(size=(11_000, 2048)).astype(np.float32), 0)
    start = time.perf_counter()
    every = path(vectors[:10_000, None], labels[:10_000], vectors[10_000:], labels[10_000:])
    strength = min(every, key=lambda one: one.metrics.log_loss).strength
    Fitter(vectors[:10_000, None], labels[:10_000]).fit(strength, ARRIVED * strength)
    return time.perf_counter() - start


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    print(f"{torch.get_num_threads()} threads, {fastest('cpu')}, {count} pictures, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photographs"
        folder.mkdir()
        photographs(folder, count)
        for name in ("inception_v3", "xception"):
            compare(name, folder, count, Path(place))
    print(f"head, 10,000 x 2,048 x 10: {head():.1f} s")


if __name__ == "__main__":
    main()
