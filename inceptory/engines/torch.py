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
        """(N, K) in 32 bits on the CPU, from pixels (N, C, H, W) uint8."""
        with self.device.autocast():
            logits: Tensor = self.net(normalise(pixels, self.preprocess, self.device.name))
        return logits.float().cpu()

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K), from pixels (N, C, H, W); in a multi-label model each class has a probability of its own."""
        logits = self.logits(torch.from_numpy(pixels))
        answers: NDArray[np.float32] = (logits.sigmoid() if self.multi_label else logits.softmax(1)).numpy()
        return answers


def open_engine(model: Model, device: str = "auto", precision: str = "fp32") -> Engine:
    """The network of an open model, ready to answer.

    Raises ConfigError for a device that the machine does not have, and for a model without class names or
    preprocessing.
    """
    model.require_classifier()
    chosen, card = choose(device, precision), model.card
    assert card.preprocess is not None
    net = model.network().float().eval()
    net = net.to(chosen.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Engine(net, card.preprocess, chosen, card.multi_label)
