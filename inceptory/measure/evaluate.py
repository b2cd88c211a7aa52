"""How good a network is: metrics with n and an interval, and what they are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.feed import Feed, feed
from inceptory.data.sources.source import Split
from inceptory.engines.torch import Engine
from inceptory.measure.multi_label import class_scores as scores_of_several
from inceptory.measure.multi_label import mean_over_present, micro_f1
from inceptory.measure.multi_label import quotient as _quotient
from inceptory.measure.results import (
    AnyMetrics,
    Bin,
    ClassScore,
    Details,
    Metrics,
    Mistake,
    MultiDetails,
    MultiMetrics,
)
from inceptory.system.progress import meter
from inceptory.system.ranks import Ranks

BATCH = 256
"""Pictures that are measured at once."""

NORMAL_95 = 1.959963984540054
"""Two-sided 95 % point of the normal distribution."""
BINS = 15
"""Equal parts of the probabilities from 0 to 1 in which confidence is held against accuracy. Guo et al. 2017."""


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


def measure_several(logits: Tensor, labels: Tensor) -> MultiMetrics:
    """Metrics of logits (N, K) against labels (N, K), 1 for every class that a picture shows."""
    logits = logits.double()
    n, scores, truths = len(labels), logits.numpy(), labels.numpy() > 0
    right = int(((scores > 0) == truths).all(1).sum())
    classes = scores_of_several(scores, truths, [""] * scores.shape[1])
    return MultiMetrics(
        mean_ap=mean_over_present(classes, "average_precision"),
        micro_f1=micro_f1(scores, truths),
        macro_f1=mean_over_present(classes, "f1"),
        exact=right / n,
        log_loss=F.binary_cross_entropy_with_logits(logits, labels.double()).item(),
        n=n,
        interval=wilson(right, n),
    )


@dataclass(frozen=True)
class Scored:
    """A split with a network's answers to it."""

    logits: Tensor
    """(N, K)."""
    labels: Tensor
    """(N,) int64, the truth; (N, K) uint8 where a picture may show several classes."""
    names: Sequence[str]
    """Where each picture lies."""
    pixels: Callable[[list[int]], Tensor]
    """Rows to (M, C, H, W) uint8, for showing a few pictures; of a tensor in memory, its `__getitem__`."""
    precision: str = "fp32"
    """Arithmetic of the convolutions."""

    @classmethod
    def of(cls, logits: Tensor, rows: Tensor, pictures: Feed) -> Scored:
        """Answers to those rows of a feed."""

        def pixels(chosen: list[int]) -> Tensor:
            return next(pictures.batches([rows[chosen]])).pixels

        kind = MultiScored if pictures.labels.ndim == 2 else cls
        return kind(logits, pictures.labels[rows], [pictures.names[int(row)] for row in rows], pixels)

    def metrics(self) -> AnyMetrics:
        """The few numbers that everybody asks for."""
        return replace(measure(self.logits, self.labels), precision=self.precision)

    def details(self, classes: Sequence[str]) -> Details | MultiDetails:
        """The measurement by class, by pair of classes and by confidence; `classes` names the K logits."""
        labels, answers = self.labels.numpy(), self.logits.argmax(1).numpy()
        confusion = confusion_matrix(labels, answers, len(classes))
        confidence = self._probabilities(answers)
        return Details(class_scores(confusion, classes), confusion, reliability(confidence, labels == answers))

    def mistakes(self, classes: Sequence[str], most: int) -> list[Mistake]:
        """The wrong answers that were given with the highest probability, highest first."""
        labels, answers = self.labels.numpy(), self.logits.argmax(1).numpy()
        sure, truth = self._probabilities(answers), self._probabilities(labels)
        wrong = np.flatnonzero(labels != answers)
        rows = wrong[np.argsort(-sure[wrong], kind="stable")][:most].tolist()
        if not rows:
            return []
        pictures = self.pixels(rows).permute(0, 2, 3, 1).cpu().numpy()
        return [
            Mistake(
                name=self.names[row],
                truth=classes[labels[row]],
                answer=classes[answers[row]],
                probability=float(sure[row]),
                probability_of_truth=float(truth[row]),
                pixels=pixels,
            )
            for row, pixels in zip(rows, pictures, strict=True)
        ]

    def _probabilities(self, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """The probability of one class for each picture; 0 where the logits are not numbers."""
        logits = self.logits.double()
        chosen = logits.gather(1, torch.from_numpy(columns)[:, None])[:, 0]
        found: NDArray[np.float64] = (chosen - logits.logsumexp(1)).exp().nan_to_num(nan=0.0).numpy()
        return found


class MultiScored(Scored):
    """A split of several classes a picture: no class is taken for another, each is there or not."""

    def metrics(self) -> MultiMetrics:
        """The few numbers that everybody asks for."""
        return replace(measure_several(self.logits, self.labels), precision=self.precision)

    def details(self, classes: Sequence[str]) -> MultiDetails:
        """The measurement by class."""
        return MultiDetails(scores_of_several(self.logits.double().numpy(), self.labels.numpy() > 0, classes))

    def mistakes(self, classes: Sequence[str], most: int) -> list[Mistake]:
        """None: an answer of several classes is right in parts."""
        return []


def confusion_matrix(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(K, K) counts: the row is the truth, the column the answer."""
    return np.bincount(labels * classes + answers, minlength=classes * classes).reshape(classes, classes)


def class_scores(confusion: NDArray[np.int64], classes: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class."""
    right, support, answered = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return tuple(
        ClassScore(
            label=label,
            precision=_quotient(right[k], answered[k]),
            recall=_quotient(right[k], support[k]),
            f1=_quotient(2 * right[k], answered[k] + support[k]),
            support=int(support[k]),
        )
        for k, label in enumerate(classes)
    )


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Confidence against accuracy in 15 bins of equal width; a border belongs to the bin below it."""
    # ceil(x * 15) - 1, with 0 in the first bin.
    rows = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    n, sure, hits = (np.bincount(rows, weights=weights, minlength=BINS) for weights in (None, confidence, right))
    return tuple(
        Bin(k / BINS, (k + 1) / BINS, int(n[k]), _quotient(sure[k], n[k]), _quotient(hits[k], n[k]))
        for k in range(BINS)
    )


def logits_of(
    engine: Engine,
    pictures: Feed,
    progress: Callable[[int, int], None] | None = None,
    ranks: Ranks | None = None,
) -> tuple[Tensor, Tensor]:
    """(logits (N, K) on the processor, rows (N,)) of every readable picture, in order.

    Several processes share the work, and all of them get all of it. The network is left in eval mode.
    """
    engine.net.eval()
    ranks = ranks or Ranks()
    rows = ranks.part(torch.arange(len(pictures.labels)))
    logits, found, done = [torch.empty(0, engine.net.plan.classes)], [rows[:0]], 0
    most = engine.preprocess.at_a_time(BATCH)
    for batch in pictures.batches(rows.split(most)):  # type: ignore[no-untyped-call]
        if len(batch.rows):
            logits.append(engine.logits(batch.pixels))
            found.append(batch.rows)
        done = min(done + most, len(rows))
        if progress is not None:
            progress(done, len(rows))
    return ranks.gathered(torch.cat(logits)), ranks.gathered(torch.cat(found))


def score(engine: Engine, classes: Sequence[str], split: Split, name: str) -> Scored:
    """A network's answers to a split whose labels are in its own order of classes."""
    with meter(f"decoding {name}", len(split)) as bar:
        pictures = feed(split, classes, engine.preprocess, progress=bar)
        bar.say_skipped(pictures.skipped, len(pictures))
    with meter("evaluating", len(split)) as bar:
        logits, rows = logits_of(engine, pictures, bar)
    pictures.close()
    return replace(Scored.of(logits, rows, pictures), precision=engine.device.precision)
