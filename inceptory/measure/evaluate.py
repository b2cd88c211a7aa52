"""A network's answers to a split, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import Feed, feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split
from inceptory.engines.device import Device, choose
from inceptory.measure.results import Details, Metrics, Mistake
from inceptory.measure.tasks import Task, task_of
from inceptory.nets.network import Network
from inceptory.system.progress import meter
from inceptory.system.ranks import Ranks
from inceptory.weights.adopt import load
from inceptory.weights.card import Card
from inceptory.weights.resolve import Resolved

BATCH = 256
"""Pictures that are measured at once."""


@dataclass(frozen=True)
class Scored:
    """A split with a network's answers to it."""

    task: Task
    logits: NDArray[np.floating[Any]]
    """(N, K)."""
    labels: NDArray[np.integer[Any]]
    """(N,) the truth; (N, K) where a picture may show several classes."""
    names: Sequence[str]
    """Where each picture lies."""
    pixels: Callable[[list[int]], NDArray[np.uint8]]
    """Rows to (M, H, W, C), for showing a few pictures."""
    precision: str = "fp32"
    """Arithmetic of the convolutions."""

    @classmethod
    def of(cls, logits: Tensor, rows: Tensor, pictures: Feed) -> Scored:
        """Answers to those rows of a feed."""

        def pixels(chosen: list[int]) -> NDArray[np.uint8]:
            found: NDArray[np.uint8] = next(pictures.batches([rows[chosen]])).pixels.permute(0, 2, 3, 1).numpy()
            return found

        labels, names = pictures.labels[rows].numpy(), [pictures.names[int(row)] for row in rows]
        return cls(task_of(labels.ndim == 2), logits.numpy(), labels, names, pixels)

    def metrics(self) -> Metrics:
        """The few numbers that everybody asks for."""
        return self.task.measure(self.logits, self.labels, self.precision)

    def details(self, classes: Sequence[str]) -> Details:
        """The measurement taken apart; `classes` names the K logits."""
        return self.task.details(self.logits, self.labels, classes)

    def mistakes(self, classes: Sequence[str], most: int) -> list[Mistake]:
        """The wrong answers that were given with the highest probability, highest first."""
        return self.task.mistakes(self, classes, most)


def answering(model: Resolved, dialect: str, device: Device) -> Network:
    """A checkpoint's network, ready to answer on a device."""
    net = load(model, dialect=dialect).float().eval()
    return net.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.inference_mode()
def answers(net: Network, pixels: Tensor, preprocess: Preprocess, device: Device) -> Tensor:
    """Logits (N, K) in 32 bits on the processor, of pixels (N, C, H, W) uint8."""
    with device.autocast():
        found: Tensor = net(normalise(pixels, preprocess, device.name))
    return found.float().cpu()


@torch.inference_mode()
def logits_of(
    net: Network,
    pictures: Feed,
    preprocess: Preprocess,
    device: Device,
    progress: Callable[[int, int], None] | None = None,
    ranks: Ranks | None = None,
) -> tuple[Tensor, Tensor]:
    """(logits (N, K) on the processor, rows (N,)) of every readable picture, in order.

    Several processes share the work, and all of them get all of it. The network is left in eval mode.
    """
    net.eval()
    ranks = ranks or Ranks()
    rows = ranks.part(torch.arange(len(pictures.labels)))
    logits, found, done = [torch.empty(0, net.plan.classes)], [rows[:0]], 0
    most = preprocess.at_a_time(BATCH)
    for batch in pictures.batches(rows.split(most)):  # type: ignore[no-untyped-call]
        if len(batch.rows):
            logits.append(answers(net, batch.pixels, preprocess, device))
            found.append(batch.rows)
        done = min(done + most, len(rows))
        if progress is not None:
            progress(done, len(rows))
    return ranks.gathered(torch.cat(logits)), ranks.gathered(torch.cat(found))


def score(model: Resolved, card: Card, split: Split, name: str, device: str, precision: str) -> Scored:
    """A network's answers to a split whose labels are in its own order of classes."""
    place = choose(device, precision)
    assert card.preprocess is not None
    net = answering(model, card.dialect, place)
    with meter(f"decoding {name}", len(split)) as bar:
        pictures = feed(split, card.labels, card.preprocess, progress=bar)
        bar.say_skipped(pictures.skipped, len(pictures))
    with meter("evaluating", len(split)) as bar:
        logits, rows = logits_of(net, pictures, card.preprocess, place, bar)
    pictures.close()
    return replace(Scored.of(logits, rows, pictures), precision=place.precision)
