"""The running average of a network's weights, which usually answers better than the last of them."""

from __future__ import annotations

import copy

import torch

from inceptory.nets.network import Network


class Average:
    """A second network whose parameters follow the first one's; `norms.renew` gives it statistics of its own."""

    def __init__(self, net: Network, decay: float) -> None:
        self.net = copy.deepcopy(net).eval()
        self.decay = decay
        pairs = zip(self.net.parameters(), net.parameters(), strict=True)
        self._pairs = [(mine, fresh) for mine, fresh in pairs if fresh.requires_grad]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the network's weights, after a step (counted from 0).

        At first it forgets faster, so that it covers about the last ninth of the steps done and soon forgets
        the random start: the decay is min(decay, (1 + step) / (10 + step)), as in TensorFlow's
        ExponentialMovingAverage with num_updates.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for average, weight in self._pairs:
            average.lerp_(weight, share)
