"""What is learnt: the one class of a picture, or for each class whether it is there. The training loop asks its task.

A task is told by the shape of the labels: (N,), or (N, K) for several classes a picture.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from inceptory.measure.evaluate import measure, measure_several
from inceptory.measure.results import AnyMetrics, Metrics, MultiMetrics


class Task(Protocol):
    """Loss, hits, weights and metrics that belong together."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) the loss of each picture, of logits (n, K)."""
        ...

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() how many pictures are answered rightly."""
        ...

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) `weights` for `loss` that make up for unequal numbers of pictures."""
        ...

    def measure(self, logits: Tensor, labels: Tensor) -> AnyMetrics:
        """Metrics of a whole split."""
        ...


class OneClass:
    """Cross-entropy of a softmax against one class a picture."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) from labels (n,)."""
        return F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() pictures whose class has the largest logit."""
        return (logits.argmax(1) == labels).sum()

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) factors that make every class count the same, 1 on average over the pictures."""
        counts = torch.bincount(labels, minlength=classes).clamp_min(1)
        return len(labels) / (classes * counts.float())

    def measure(self, logits: Tensor, labels: Tensor) -> Metrics:
        """Top-1, top-5, log-loss."""
        return measure(logits, labels)


class ManyClasses:
    """Binary cross-entropy of a sigmoid for each class: a picture may show several, or none."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) means over the classes, from labels (n, K); smoothing moves each target towards 0.5."""
        targets = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(1)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() pictures of which every class is above probability 0.5 and no other."""
        return ((logits > 0) == (labels > 0)).all(1).sum()

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) pictures without each class to those with it: both sides of a class weigh the same."""
        counts = labels.sum(0).float()
        return (len(labels) - counts).clamp_min(1) / counts.clamp_min(1)

    def measure(self, logits: Tensor, labels: Tensor) -> MultiMetrics:
        """Mean average precision, F1, exact matches, log-loss."""
        return measure_several(logits, labels)


def task_of(labels: Tensor) -> Task:
    """The task that labels of this shape set."""
    return ManyClasses() if labels.ndim == 2 else OneClass()
