"""The engine of PyTorch: pixels to answers, on any device and in any precision, for every command alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inceptory.data.feed.batches import normalise
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import Answers, Name, Precision, of_vectors
from inceptory.engines.device import Device, choose
from inceptory.nets.blocks import BOTTLENECK, EMBEDDING
from inceptory.nets.network import Network
from inceptory.weights.model import Model


@dataclass(frozen=True)
class TorchEngine:
    """A network with its preprocessing: from pixels to answers."""

    net: Network
    """On the device."""
    preprocess: Preprocess
    device: Device
    multi_label: bool = False
    name: ClassVar[Name] = "torch"

    def __post_init__(self) -> None:
        self.net.eval()

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.net.plan.classes

    @property
    def precision(self) -> Precision:
        """Arithmetic of the convolutions."""
        return self.device.precision

    def __str__(self) -> str:
        return f"torch {self.device}"

    @torch.inference_mode()
    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        """Of pixels (N, C, H, W); whatever the precision, the head computes in 32 bits."""
        head = self.net.head
        vectors = head.bottleneck(self._map(torch.from_numpy(pixels), self.net.stage_names[-1]))
        if head.classifier is None:
            return of_vectors(vectors.cpu().numpy())
        logits = head.classifier(vectors).cpu()
        return Answers(vectors.cpu().numpy(), logits.numpy(), self.scores(logits).numpy())

    @torch.inference_mode()
    def vectors(self, pixels: NDArray[np.uint8], layer: str = BOTTLENECK) -> NDArray[np.float32]:
        """(N, length) of pixels (N, C, H, W).

        `layer` is BOTTLENECK, what the classifier is given; EMBEDDING, the origin's own vector, which differs where
        that is scaled to length 1; or the name of a stage, whose last map is averaged over its positions.
        """
        head, stage = self.net.head, self.net.stage_names[-1] if layer in (BOTTLENECK, EMBEDDING) else layer
        last = self._map(torch.from_numpy(pixels), stage)
        heads = {BOTTLENECK: head.bottleneck, EMBEDDING: head.embed}
        vectors: NDArray[np.float32] = heads.get(layer, lambda last: last.mean((2, 3)))(last).cpu().numpy()
        return vectors

    def _map(self, pixels: Tensor, stage: str) -> Tensor:
        """(N, C, H, W) in 32 bits after a stage; raises UnknownName."""
        with self.device.autocast():
            return self.net.features(normalise(pixels, self.preprocess, self.device.name), stage)[stage].float()

    def scores(self, logits: Tensor) -> Tensor:
        """Probabilities (N, K) of logits (N, K); of a multi-label model each class by itself."""
        return logits.sigmoid() if self.multi_label else logits.softmax(1)


def torch_engine(model: Model, device: str = "auto", precision: str = "fp32") -> TorchEngine:
    """The network of an open model, ready to answer.

    Raises ConfigError for a device that the machine does not have, and for a model that knows no preprocessing.
    """
    chosen, card = choose(device, precision), model.card
    preprocess = model.require_preprocess()
    net = model.network().float().eval()
    net = net.to(chosen.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchEngine(net, preprocess, chosen, card.multi_label)
