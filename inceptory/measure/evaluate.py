"""A network's answers to a split, and what they are worth. Torch is loaded only where pictures are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Views
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.source import Split
from inceptory.engines.answers import Engine
from inceptory.engines.views import answers_of_views, logits_behind, seen_in
from inceptory.measure.results import Details, Metrics, Mistake
from inceptory.measure.tasks import Task, task_of
from inceptory.system.progress import meter

if TYPE_CHECKING:
    from torch import Tensor

    from inceptory.data.feed.feed import Batch, Feed
    from inceptory.system.ranks import Ranks

BATCH = 256
"""Largest number of pictures in a batch."""


@dataclass(frozen=True)
class Scored:
    """A split with a network's answers to it."""

    task: Task
    logits: NDArray[np.floating[Any]]
    """(N, K)."""
    labels: Labels
    """(N,) the truth; (N, K) where a picture may show several classes."""
    names: Sequence[str]
    """Where each picture is."""
    pixels: Callable[[list[int]], NDArray[np.uint8]]
    """From rows to their pixels (M, H, W, C), to show a few pictures."""
    precision: str = "fp32"
    """Arithmetic of the convolutions."""
    plain: NDArray[np.floating[Any]] | None = None
    """(N, K) logits of the pictures as they are, where `logits` are averaged over several views."""

    @classmethod
    def of(cls, task: Task, logits: Tensor, rows: Tensor, pictures: Feed, precision: str = "fp32") -> Scored:
        """From the logits (N, K) of these rows (N,) of a feed, whose labels belong to this task."""

        names = [pictures.names[int(row)] for row in rows]
        return cls(task, logits.numpy(), pictures.labels[rows].numpy(), names, by_place(pictures, rows), precision)

    def metrics(self) -> Metrics:
        """The main numbers, such as accuracy and loss."""
        return self.task.measure(self.logits, self.labels, self.precision)

    def details(self, classes: Sequence[str]) -> Details:
        """The measurement in detail, such as for each class; `classes` are the names of the K logits."""
        return self.task.details(self.logits, self.labels, classes)

    def mistakes(self, classes: Sequence[str], most: int) -> list[Mistake]:
        """The wrong answers that were given with the highest probability, highest first."""
        answers = self.task.wrong(self.logits, self.labels, most)
        pictures = self.pixels([each.row for each in answers]) if answers else ()
        return [
            Mistake(
                name=self.names[each.row],
                truth=classes[each.truth],
                answer=classes[each.answer],
                probability=each.probability,
                probability_of_truth=each.probability_of_truth,
                pixels=pixels,
            )
            for each, pixels in zip(answers, pictures, strict=True)
        ]


def by_place(pictures: Feed, rows: Tensor) -> Callable[[list[int]], NDArray[np.uint8]]:
    """From places in `rows` (N,) of a feed to the pixels (M, H, W, C) of these pictures."""

    def pixels(chosen: list[int]) -> NDArray[np.uint8]:
        channels_last = next(pictures.batches([rows[chosen]])).pixels.permute(0, 2, 3, 1)
        array: NDArray[np.uint8] = channels_last.numpy()
        return array

    return pixels


def logits_of(
    engine: Engine,
    pictures: Feed,
    progress: Callable[[int, int], None] | None = None,
    ranks: Ranks | None = None,
    rows: Tensor | None = None,
    answer: Callable[[Batch], Tensor] | None = None,
    most: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(logits (N, K) on the CPU, rows (N,)) of every readable picture, in order; of these `rows` if given.

    Several processes share the work, and each of them gets the whole result.
    `answer` gives the engine's logits (n, K) of a batch, for a caller who wants more of it. A batch has at most `most`
    pictures, else BATCH.
    """
    import torch

    from inceptory.system.ranks import Ranks

    ranks = ranks or Ranks()
    rows = ranks.part(torch.arange(len(pictures.labels)) if rows is None else rows)
    logits, readable, done = [torch.empty(0, engine.classes)], [rows[:0]], 0
    most = engine.preprocess.at_a_time(most or BATCH)
    for batch in pictures.batches(rows.split(most)):  # type: ignore[no-untyped-call]
        if len(batch.rows):
            own = torch.from_numpy(engine.answers(batch.pixels.numpy()).logits) if answer is None else answer(batch)
            logits.append(own)
            readable.append(batch.rows)
        done = min(done + most, len(rows))
        if progress is not None:
            progress(done, len(rows))
    return ranks.gathered(torch.cat(logits)), ranks.gathered(torch.cat(readable))


def score(engine: Engine, classes: Sequence[str], split: Split, name: str, views: Views = "1") -> Scored:
    """A network's answers to a split whose labels are in the network's order of classes.

    Of several `views` the logits are those of the averaged probabilities. Raises UnknownName for other views.
    """
    import torch

    from inceptory.data.feed.feed import feed

    preprocess, plain = seen_in(views, engine.preprocess), list[NDArray[np.float32]]()

    def averaged(batch: Batch) -> Tensor:
        answers = answers_of_views(engine, batch.pixels.numpy())
        plain.append(answers.logits)
        return torch.from_numpy(logits_behind(answers.probabilities, engine.multi_label))

    with meter(f"decoding {name}", len(split)) as bar:
        pictures = feed(split, classes, preprocess, progress=bar)
        bar.say_skipped(pictures.skipped, len(pictures))
    with meter("evaluating", len(split)) as bar:
        answer, most = None if views == "1" else averaged, preprocess.at_a_time(BATCH)
        logits, rows = logits_of(engine, pictures, bar, answer=answer, most=most)
    pictures.close()
    scored = Scored.of(task_of(engine.multi_label), logits, rows, pictures, engine.precision)
    return replace(scored, plain=np.concatenate(plain)) if plain else scored
