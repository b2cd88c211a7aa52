"""A first convolution that whitens: its filters are the patterns in which patches of the training pictures vary.

Each pattern is divided by its deviation, so that what the network sees is uncorrelated and of one strength, and stands
there with both signs, so that a ReLU behind it loses nothing. It is computed once and does not learn, nor does its
bias: that alone would need the gradient at the largest map of the network. Jordan 2024 (arXiv 2404.00498, section 3.2,
where the bias learns in the first epochs), after Page 2018 ("How to train your ResNet", part 8).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import Feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.nets.layers import Kernel
from inceptory.nets.network import Network

PLACES = 5_000_000
"""Patches that are looked at: those of 4,882 pictures of 32 pixels, as many as there."""
FEWEST = 64
"""Evenly spaced training pictures that are looked at even where each has more patches."""
NUMBERS = 2**24
"""Numbers in the patches that are held at once, if not those of a single picture: 128 MiB."""
SMALLEST = 5e-4
"""Added to the variances, so that noise is not made as strong as what pictures show; section 3.2."""


@torch.no_grad()
def whiten(net: Network, train: Feed, preprocess: Preprocess) -> None:
    """Give the first convolution of a network the principal patterns of the training pictures, no bias, and freeze it.

    With f filters the f // 2 strongest patterns; filters that are left over keep their fresh weights.
    """
    first = next(module for module in net.modules() if isinstance(module, Kernel))
    places = preprocess.size**2
    rows = torch.linspace(0, len(train.labels) - 1, min(max(PLACES // places, FEWEST), len(train.labels)))
    at_once = max(NUMBERS // (places * first.weight[0].numel()), 1)
    sums, count = torch.zeros(()), 0
    for batch in train.batches(rows.round().long().split(at_once)):  # type: ignore[no-untyped-call]
        sums = sums + _covariance(normalise(batch.pixels, preprocess, "cpu"), first.kernel_size)
        count += len(batch.pixels)
    variances, patterns = torch.linalg.eigh(sums / count)
    strongest = (patterns / (variances + SMALLEST).sqrt()).T.flip(0)[: first.out_channels // 2]  # (p, C k k)
    both = torch.cat((strongest, -strongest)).view(-1, *first.weight.shape[1:])
    first.weight[: len(both)] = both.to(first.weight.dtype)
    if first.bias is not None:
        first.bias.zero_()
    first.requires_grad_(False)


def _covariance(values: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Sum over pictures (n, C, H, W) of the mean outer product of their patches with themselves: (C k k, C k k)."""
    patches = F.unfold(values.double(), kernel)  # (n, C k k, places)
    return torch.einsum("nip,njp->ij", patches, patches) / patches.shape[2]
