"""How good a network is: metrics with n and an interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from inceptory.data.batches import normalise
from inceptory.data.feed import Feed, feed
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Split
from inceptory.learn.device import Device, choose
from inceptory.learn.progress import meter
from inceptory.learn.ranks import Ranks
from inceptory.learn.results import Metrics
from inceptory.nets.network import Network
from inceptory.weights.adopt import load
from inceptory.weights.card import Card

BATCH = 256
"""Pictures that are measured at once."""

NORMAL_95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion. Wilson 1927."""
    share, z2 = right / n, NORMAL_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def measure(logits: Tensor, labels: Tensor) -> Metrics:
    """Metrics of logits (N, K) against labels (N,)."""
    logits = logits.double()
    n, right = len(labels), int((logits.argmax(1) == labels).sum())
    best = logits.topk(min(5, logits.shape[1])).indices
    return Metrics(
        top1=right / n,
        top5=int((best == labels[:, None]).sum()) / n,
        log_loss=F.cross_entropy(logits, labels).item(),
        n=n,
        interval=wilson(right, n),
    )


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
    for batch in pictures.batches(rows.split(BATCH)):  # type: ignore[no-untyped-call]
        if len(batch.rows):
            with device.autocast():
                logits.append(net(normalise(batch.pixels, preprocess, device.name)).float().cpu())
            found.append(batch.rows)
        done = min(done + BATCH, len(rows))
        if progress is not None:
            progress(done, len(rows))
    return ranks.gathered(torch.cat(logits)), ranks.gathered(torch.cat(found))


def score(path: Path, card: Card, split: Split, name: str, device: str, precision: str) -> Metrics:
    """Metrics of a network on a split whose labels are in its own order of classes."""
    place = choose(device, precision)
    assert card.preprocess is not None
    net = load(path, dialect=card.dialect)
    with meter(f"decoding {name}", len(split)) as bar:
        pictures = feed(split, card.labels, card.preprocess, progress=bar)
        bar.say_skipped(pictures.skipped, len(pictures))
    net = net.to(place.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with meter("evaluating", len(split)) as bar:
        logits, rows = logits_of(net, pictures, card.preprocess, place, bar)
    pictures.close()
    return measure(logits, pictures.labels[rows])
