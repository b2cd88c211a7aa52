"""A network as a program of `torch.export`, with the value map and the softmax inside."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import Answers, Name, Precision, of_vectors
from inceptory.nets.blocks import BOTTLENECK
from inceptory.nets.network import Network

BATCH = 2
"""Pictures of the example: of a single one torch.export would take the batch for a constant."""


class Whole(nn.Module):
    """From pixels (N, size, size, C) uint8 to probabilities (N, K), logits (N, K) and vectors (N, length)."""

    def __init__(self, net: Network, preprocess: Preprocess, *, multi_label: bool, reverse: bool) -> None:
        """`reverse`: the network takes the channels in the opposite order of `preprocess`."""
        super().__init__()
        self.net, self.multi_label, self.reverse = net, multi_label, reverse
        self.divisor = preprocess.divisor
        self.mean, self.std = (
            nn.Buffer(torch.tensor(numbers).view(1, -1, 1, 1)) for numbers in (preprocess.mean, preprocess.std)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        values = (pixels.permute(0, 3, 1, 2).float() / self.divisor - self.mean) / self.std
        last = self.net.stage_names[-1]
        vectors = self.net.head.bottleneck(self.net.features(values.flip(1) if self.reverse else values, last)[last])
        if self.net.head.classifier is None:
            return (vectors,)
        logits = self.net.head.classifier(vectors)
        return logits.sigmoid() if self.multi_label else logits.softmax(1), logits, vectors


def program(whole: Whole, preprocess: Preprocess, extra: dict[str, str]) -> bytes:
    """The file that `torch.export.load` reads; `extra` are texts that it also holds. The batch is free."""
    side, channels = preprocess.size, len(preprocess.mean)
    example = torch.zeros(BATCH, side, side, channels, dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(whole.eval(), (example,), dynamic_shapes=shapes)
    content = io.BytesIO()
    torch.export.save(exported, content, extra_files=dict(extra))
    return content.getvalue()


class ProgramEngine:
    """What such a file answers. Only for one that this process has written: a file of another's could run anything."""

    name: ClassVar[Name] = "torch"
    precision: ClassVar[Precision] = "fp32"

    def __init__(self, content: bytes, preprocess: Preprocess, *, classes: int, multi_label: bool) -> None:
        self.preprocess, self.classes, self.multi_label = preprocess, classes, multi_label
        self._call = torch.export.load(io.BytesIO(content)).module()

    @torch.inference_mode()
    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        """Of pixels (N, C, H, W)."""
        rows = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))
        *answers, vectors = (each.numpy() for each in self._call(rows))
        return Answers(vectors, answers[1], answers[0]) if answers else of_vectors(vectors)

    def vectors(self, pixels: NDArray[np.uint8], layer: str = BOTTLENECK) -> NDArray[np.float32]:
        """(N, length) of pixels (N, C, H, W)."""
        assert layer == BOTTLENECK, "the program has no other layer"
        return self.answers(pixels).vectors

    def __str__(self) -> str:
        return "torch.export fp32"
