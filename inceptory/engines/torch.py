"""The engine of PyTorch: pixels to answers, on any device and in any precision, for every command alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.batches import normalise
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import Device, choose
from inceptory.nets.blocks import BOTTLENECK, EMBEDDING
from inceptory.nets.network import Network
from inceptory.weights.model import Model


@dataclass(frozen=True)
class Engine:
    """A network with its preprocessing: from pixels to answers."""

    net: Network
    """On the device, in eval mode."""
    preprocess: Preprocess
    device: Device
    multi_label: bool = False

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """(N, K) in 32 bits on the processor, of pixels (N, C, H, W) uint8. The head computes in 32 bits always."""
        logits: Tensor = self.net.head(self._map(pixels, self.net.stage_names[-1]))
        return logits.cpu()

    @torch.inference_mode()
    def answers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(logits (N, K), bottleneck vectors (N, length)) by one pass: the same as `logits` and `vectors` give."""
        last, head = self._map(pixels, self.net.stage_names[-1]), self.net.head
        return head(last).cpu(), head.bottleneck(last).cpu()

    @torch.inference_mode()
    def vectors(self, pixels: Tensor, layer: str = BOTTLENECK) -> Tensor:
        """(N, length) in 32 bits on the processor, of pixels (N, C, H, W) uint8.

        `layer` is BOTTLENECK, what the classifier is given; EMBEDDING, the origin's own vector, which differs where
        that is scaled to length 1; or the name of a stage, whose last map is averaged over its positions.
        """
        if layer not in (BOTTLENECK, EMBEDDING):
            return self._map(pixels, layer).mean((2, 3)).cpu()
        last, head = self._map(pixels, self.net.stage_names[-1]), self.net.head
        return (head.bottleneck(last) if layer == BOTTLENECK else head.embed(last)).cpu()

    def _map(self, pixels: Tensor, stage: str) -> Tensor:
        """(N, C, H, W) in 32 bits after a stage; raises UnknownName."""
        with self.device.autocast():
            return self.net.features(normalise(pixels, self.preprocess, self.device.name), stage)[stage].float()

    def raw(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K) logits, from pixels (N, C, H, W)."""
        logits: NDArray[np.float32] = self.logits(torch.from_numpy(pixels)).numpy()
        return logits

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K), from pixels (N, C, H, W); in a multi-label model each class has a probability of its own."""
        answers: NDArray[np.float32] = self.scores(self.logits(torch.from_numpy(pixels))).numpy()
        return answers

    def scores(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K) of logits (N, K); of a multi-label model each class by itself."""
        return logits.sigmoid() if self.multi_label else logits.softmax(1)


def open_engine(model: Model, device: str = "auto", precision: str = "fp32") -> Engine:
    """The network of an open model, ready to answer.

    Raises ConfigError for a device that the machine does not have, and for a model that knows no preprocessing.
    """
    chosen, card = choose(device, precision), model.card
    preprocess = model.require_preprocess()
    net = model.network().float().eval()
    net = net.to(chosen.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Engine(net, preprocess, chosen, card.multi_label)
