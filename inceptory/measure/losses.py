"""What a training makes small, and what it counts as right: the half of a task that needs torch."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Criterion(Protocol):
    """Loss, hits and weights that belong together; labels are (n,), or (n, K) of several classes a picture."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) the loss of each picture, of logits (n, K)."""
        ...

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() how many pictures are answered rightly."""
        ...

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) `weights` for `loss` that make up for unequal numbers of pictures."""
        ...


class CrossEntropy:
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


class BinaryCrossEntropy:
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
