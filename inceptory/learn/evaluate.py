"""How good a network is: metrics with n and an interval."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from inceptory.data.batches import Images, normalise
from inceptory.data.preprocess import Preprocess
from inceptory.learn.device import Device
from inceptory.learn.results import Metrics
from inceptory.nets.network import Network

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
    images: Images,
    preprocess: Preprocess,
    device: Device,
    batch: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Logits (N, K) of every picture, in order, on the processor; the network is left in eval mode."""
    net.eval()
    found = []
    for start in range(0, len(images), batch):
        with device.autocast():
            found.append(net(normalise(images.pixels[start : start + batch], preprocess, device.name)).float().cpu())
        if progress is not None:
            progress(min(start + batch, len(images)), len(images))
    return torch.cat(found)
