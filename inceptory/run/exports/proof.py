"""What an exported network answers, beside eager PyTorch in fp32 on the same pictures, and how fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.feed import Batch, feed
from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.built_in import SETS
from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.given import source_of
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.data.sources.source import Split
from inceptory.engines.answers import Answers, Engine
from inceptory.engines.torch import torch_engine
from inceptory.errors import ConfigError, DataError
from inceptory.measure.classes import matched
from inceptory.measure.evaluate import logits_of
from inceptory.measure.results import Metrics
from inceptory.measure.single_label import SingleMetrics
from inceptory.measure.tasks import task_of
from inceptory.report.proof import Proof, Speed
from inceptory.run.evaluate import measured, relabelled
from inceptory.run.exports.targets import Pictures, Work
from inceptory.run.pictures import pictures_meant
from inceptory.system import files
from inceptory.system.progress import meter
from inceptory.weights.card import Card

DRAWN, SIZES = 32, 7
"""Random pictures that stand in where there are no others, and in how many sizes their squares come."""
BATCH = 16
SINGLE, SECONDS = 100, 5.0
"""Answers to one picture that are timed, and the seconds after which no further one is."""
CLOSE = 1e-3
"""Difference from which on an export in fp32 is wrong: rounding leaves a hundredth of it."""


def pictures_of(data: object, card: Card, layout: Layout = AUTO) -> Pictures:
    """The part of labelled data that `evaluate` would measure, or all pictures that lie in a folder without labels.

    Raises what opening the data raises, and ConfigError for classes that are not the model's.
    """
    if _is_flat(data):
        paths = pictures_meant([str(data)], "export")
        line = f"proving on {len(paths):,} pictures of {data}, which have no labels"
        return Pictures(_unlabelled(paths), str(data), line, labelled=False)
    source, chosen, line = measured(source_of(data, layout=layout), card, None)
    rest = source.splits.get("train") if chosen != "train" else None
    part = source.split(chosen)
    if not card.labels:
        return Pictures(_unlabelled(part.pictures, part.names), source.name, line, labelled=False, calibration=rest)
    matching = matched(source.name, source.classes, card)
    labels = relabelled(source, card, chosen, matching)
    return Pictures(replace(part, labels=labels), source.name, line, calibration=rest)


def _unlabelled(pictures: Any, names: Any = None) -> Split:
    return Split(pictures, np.zeros(len(pictures), dtype=np.int64), names or [str(path) for path in pictures])


def _is_flat(data: object) -> bool:
    """Whether this is a folder in which pictures lie and no folders."""
    if not isinstance(data, str | Path) or str(data) in SETS or not files.is_folder(data):
        return False
    listing = Listing(Path(data))
    return not listing.folders() and any(Path(name).suffix.lower() in ENDINGS for name in listing.folder().files)


class Comparison:
    """Answers of an export, and how far they are from those of its model in PyTorch."""

    def __init__(self, work: Work, engine: Engine) -> None:
        self.work, self.engine = work, engine
        self.largest = 0.0
        self.exact: list[NDArray[np.float32]] = []
        """Logits (n, K) of PyTorch, a batch each."""
        self._exact = torch_engine(work.model, "cpu", "fp32")

    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        """Of the export, to pixels (N, C, H, W)."""
        exact = self._exact.answers(pixels[:, ::-1].copy() if self.work.reverse else pixels)
        answers = self.engine.answers(pixels)
        pairs = [(exact.probabilities, answers.probabilities), (exact.vectors, answers.vectors)]
        one, other = pairs[0] if self.engine.classes else pairs[1]
        # NaN must not pass for no difference.
        self.largest = float(np.maximum(self.largest, np.abs(one - other).max()))
        self.exact.append(exact.logits)
        return answers


def proved(work: Work, engine: Engine, given: Pictures | None, file_bytes: int) -> Proof:
    """Compare the written network with its model. Raises DataError where fp32 is not what it must be."""
    comparison, agreed = Comparison(work, engine), None
    before: Metrics | None = None
    after: Metrics | None = None
    if given is None:
        count = work.preprocess.at_a_time(DRAWN)
        comparison.answers(drawn(work.preprocess, count))
    else:
        logits, rows, labels = _answered(comparison, given)
        exact, count = np.concatenate(comparison.exact), len(rows)
        agreed = int((exact.argmax(1) == logits.argmax(1)).sum()) if engine.classes else None
        if given.labelled:
            task = task_of(work.card.multi_label)
            before, after = task.measure(exact, labels), task.measure(logits, labels, work.precision)
    if work.precision == "fp32" and not comparison.largest <= CLOSE:
        problem = f"answers differ from PyTorch's by {comparison.largest:.2g}"
        raise DataError(f"{work.model.path}: its {problem} once exported (please report it, or take another --to)")
    if work.precision == "int8" and given is not None:
        _check_drop(work, agreed or 0, count, before, after)
    data = None if given is None else given.data
    return Proof(count, data, comparison.largest, agreed, before, after, file_bytes, speed_of(engine))


def _check_drop(work: Work, agreed: int, count: int, before: Metrics | None, after: Metrics | None) -> None:
    """Raise ConfigError where int8 costs more on all of the pictures than it did on those that it was made by."""
    drop = 100 * (1 - agreed / count)
    if isinstance(before, SingleMetrics) and isinstance(after, SingleMetrics):
        drop = 100 * (before.top1 - after.top1)
    if drop > work.max_drop:
        problem = f"top-1 falls by {drop:.2f} points on {count:,} pictures (at most {work.max_drop:g}"
        raise ConfigError(f"int8: {problem}; allow more with --max-drop, or take fp32 or bf16)")


def _answered(comparison: Comparison, given: Pictures) -> tuple[NDArray[np.float32], NDArray[np.int64], Any]:
    """(logits (N, K) of the export, rows (N,), their labels) of the pictures that can be read."""
    part, preprocess = given.part, comparison.work.preprocess
    with meter(f"decoding {given.data}", len(part)) as bar:
        pictures = feed(part, comparison.work.card.labels or ("",), preprocess, progress=bar)
        bar.say_skipped(pictures.skipped, len(pictures))

    def answer(batch: Batch) -> Tensor:
        return torch.from_numpy(comparison.answers(batch.pixels.numpy()).logits)

    with meter("proving", len(part)) as bar:
        logits, rows = logits_of(comparison.engine, pictures, bar, answer=answer)
    pictures.close()
    return logits.numpy(), rows.numpy(), part.labels[rows.numpy()]


def drawn(preprocess: Preprocess, count: int) -> NDArray[np.uint8]:
    """Random pixels (count, C, H, W), the same each time: squares of one level, from picture to picture of another
    size. Noise alone would be one and the same picture to a network.
    """
    shape = (len(preprocess.mean), preprocess.size, preprocess.size)
    levels = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    for number, picture in enumerate(levels):
        side = min(2 ** (number % SIZES), preprocess.size)
        rows = np.arange(preprocess.size) // side
        picture[:] = picture[:, rows][:, :, rows]
    return levels


def speed_of(engine: Engine) -> Speed:
    """Measured on random pictures."""
    batch = engine.preprocess.at_a_time(BATCH)
    pixels = drawn(engine.preprocess, batch)
    single = _seconds(lambda: engine.answers(pixels[:1]), SINGLE)
    many = _seconds(lambda: engine.answers(pixels), 10)
    p50, p99 = (1000 * float(np.percentile(single, share)) for share in (50, 99))
    return Speed(round(p50, 3), round(p99, 3), len(single), round(batch / statistics.median(many), 1), batch)


def _seconds(work: Callable[[], object], most: int) -> list[float]:
    """How long it takes, each time; the first, which warms up, is left out."""
    work()
    times: list[float] = []
    while len(times) < most and (sum(times) < SECONDS or len(times) < 3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times
