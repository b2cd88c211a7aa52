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
    """A network that answers pixels."""

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

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K), of pixels (N, C, H, W); of a multi-label model each class by itself."""
        logits = self.logits(torch.from_numpy(pixels))
        found: NDArray[np.float32] = (logits.sigmoid() if self.multi_label else logits.softmax(1)).numpy()
        return found


def open_engine(model: Model, device: str = "auto", precision: str = "fp32") -> Engine:
    """An open model's network, ready to answer; raises ConfigError for a device that is not there, and for a
    model that knows no preprocessing.
    """
    place, card = choose(device, precision), model.card
    preprocess = model.require_preprocess()
    net = model.network().float().eval()
    net = net.to(place.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Engine(net, preprocess, place, card.multi_label)
