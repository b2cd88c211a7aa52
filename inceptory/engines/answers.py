"""What every engine takes and gives: pixels (uint8) to answers. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Preprocess
from inceptory.nets.blocks import BOTTLENECK

Name = Literal["torch", "onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
ENGINES: tuple[Name, ...] = get_args(Name)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class Answers(NamedTuple):
    """What a network says of N pictures."""

    vectors: NDArray[np.float32]
    """(N, length) what the classifier is given."""
    logits: NDArray[np.float32]
    """(N, K); K is 0 where the network has no classifier."""
    probabilities: NDArray[np.float32]
    """(N, K); in a multi-label model each class has a probability of its own."""


HINTS: dict[str, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""OpenVINO's words for the arithmetic of what is not quantised."""
EXTRA = 'pip install "inceptory[fast]"'
"""How to get the engines beside torch."""
PIXELS, PLANES = "pixels", "planes"
"""What a graph is given: (N, H, W, C) uint8 as people have pictures, which `export` writes; or (N, C, H, W), as our
decoders give them, which saves turning 0.3 MB a picture twice: 0.45 of the 27.8 ms of Inception v3 in bf16."""
PROBABILITIES, LOGITS, VECTORS = "probabilities", "logits", "vectors"
"""Outputs of a graph, in this order; a network without a classifier has the last one alone."""


def fed(name: str, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (N, C, H, W) as a graph takes them under this name."""
    return np.ascontiguousarray(pixels if name == PLANES else pixels.transpose(0, 2, 3, 1))


def joined(parts: Iterable[Mapping[str, NDArray[np.float32]]]) -> Answers:
    """The answers of a batch from the outputs, by name, of its parts."""
    every = list(parts)
    vectors = np.concatenate([part[VECTORS] for part in every])
    if LOGITS not in every[0]:
        return of_vectors(vectors)
    logits, probabilities = (np.concatenate([part[name] for part in every]) for name in (LOGITS, PROBABILITIES))
    return Answers(vectors, logits, probabilities)


def of_vectors(vectors: NDArray[np.float32]) -> Answers:
    """The answers of a network without a classifier."""
    nothing = np.empty((len(vectors), 0), dtype=np.float32)
    return Answers(vectors, nothing, nothing)


class Engine(Protocol):
    """A network with its preprocessing, ready to answer on this machine."""

    @property
    def name(self) -> Name:
        """The package that computes."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How pictures become pixels; the value map is the engine's."""
        ...

    @property
    def classes(self) -> int:
        """Number of logits; 0 where the network has no classifier."""
        ...

    @property
    def multi_label(self) -> bool:
        """Whether a picture may show several classes."""
        ...

    @property
    def precision(self) -> Precision:
        """Arithmetic of the convolutions."""
        ...

    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        """Of pixels (N, C, H, W), prepared by `preprocess`. Another N needs no new compilation."""
        ...

    def vectors(self, pixels: NDArray[np.uint8], layer: str = BOTTLENECK) -> NDArray[np.float32]:
        """(N, length) of pixels (N, C, H, W): what the classifier is given; only torch knows other layers."""
        ...

    def __str__(self) -> str:
        """What it computes with, such as "openvino bf16"."""
        ...
