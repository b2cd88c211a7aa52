"""The loss of a training and what it counts as correct: the half of a task that needs torch."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Criterion(Protocol):
    """Loss, hits and class weights of one task; labels are (n,), or (n, K) where pictures may show several classes."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) the loss of each picture, from logits (n, K)."""
        ...

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() the number of pictures that are answered correctly."""
        ...

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) `weights` for `loss` that balance unequal numbers of pictures."""
        ...


class CrossEntropy:
    """Cross-entropy of the softmax, for pictures of one class each."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) from labels (n,)."""
        return F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=smoothing)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() the number of pictures whose class has the largest logit."""
        return (logits.argmax(1) == labels).sum()

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) factors that give every class the same total weight; their mean over the pictures is 1."""
        counts = torch.bincount(labels, minlength=classes).clamp_min(1)
        return len(labels) / (classes * counts.float())


class BinaryCrossEntropy:
    """Binary cross-entropy of each class' sigmoid: a picture may show several classes, or none."""

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """(n,) means over the classes, from labels (n, K); smoothing moves each target towards 0.5."""
        targets = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(1)

    def hits(self, logits: Tensor, labels: Tensor) -> Tensor:
        """() the number of pictures with exactly their classes above probability 0.5."""
        return ((logits > 0) == (labels > 0)).all(1).sum()

    def class_weights(self, labels: Tensor, classes: int) -> Tensor:
        """(K,) pictures without a class, divided by those with it: both sides then have the same weight."""
        counts = labels.sum(0).float()
        return (len(labels) - counts).clamp_min(1) / counts.clamp_min(1)
