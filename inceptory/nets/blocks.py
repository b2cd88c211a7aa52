"""The node types in which every network of the family is written.

A network is a frozen tree of these nodes. A tree says what a network is; what follows from it
(shapes, counts, the torch module, the drawing) is read off it by the other modules of this room.
A field left None inherits the value of the dialect's `Defaults`. `C` means channels, a map is
C x H x W, a kernel is (height, width).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Pad = Literal["valid", "same", "symmetric", "ceil"]
"""How a window meets the border.

valid: no padding. same: TensorFlow's, the map keeps ceil(n / stride) cells, an odd extra cell goes
to the bottom and right. symmetric: kernel // 2 on each side. ceil: Caffe's pooling, no padding,
the size rounds up and the last window must start inside the map.
"""

Divisor = Literal["real", "window"]
"""By what an average pool divides at the border: the cells that exist, or the whole window."""

Activation = Literal["relu", "silu"]
"""relu: max(x, 0). silu: x times its sigmoid (arXiv 1606.08415)."""


@dataclass(frozen=True)
class Init:
    """How a weight starts before training."""

    kind: Literal[
        "he_normal",
        "he_normal_out",
        "glorot_uniform",
        "xavier_caffe",
        "truncated_normal",
        "normal",
        "torch",
        "identity",
    ]
    """he_normal: truncated normal of variance 2 / fan-in (Keras, tf-slim); he_normal_out: normal,
    2 / fan-out; glorot_uniform: Keras' default; xavier_caffe: uniform of variance 1 / fan-in;
    truncated_normal and normal: with `std`; torch: PyTorch's own, weights and biases uniform;
    identity: he_normal, but where a kernel is larger than 1x1 its first filters hand on their inputs."""
    std: float = 0.0
    bias: float | None = 0.0
    """Where biases start; None draws them as PyTorch does."""


@dataclass(frozen=True)
class Defaults:
    """What a None in a node stands for. Most of a dialect is one such record."""

    norm: bool = True
    bias: bool = False
    gamma: bool = True
    bn_eps: float = 1e-3
    activation: Activation = "relu"
    """Behind convolutions and of its own; a residual sum and a squeeze-and-excitation always have a ReLU."""
    bn_momentum: float = 0.1
    """Share of the new batch in the running statistics, as PyTorch counts it (1 - decay)."""
    pad: Pad = "same"
    divisor: Divisor = "real"
    init: Init = Init("he_normal")
    dense_init: Init | None = None
    """Start of linear layers, where they have another."""


@dataclass(frozen=True)
class Norm:
    """Batch normalisation; gamma is its learnable factor, beta its learnable shift."""

    eps: float | None = None
    momentum: float | None = None
    gamma: bool | None = None


@dataclass(frozen=True)
class Conv:
    """Convolution, then batch norm, then an activation, the last two optional."""

    filters: int
    """Output channels; 0 with a `multiplier`."""
    kernel: tuple[int, int]
    stride: int = 1
    pad: Pad | None = None
    multiplier: int = 0
    """Depthwise: filters for each input channel. 0 is an ordinary convolution."""
    bias: bool | None = None
    norm: bool | Norm | None = None
    """True or None take the dialect's batch norm; an inherited tree holds a Norm or False."""
    act: bool | Activation = True
    """True takes the dialect's activation; an inherited tree holds its name or False."""
    init: Init | None = None


@dataclass(frozen=True)
class Pool:
    """Max or average over a square window."""

    kind: Literal["max", "avg"]
    kernel: int
    stride: int = 1
    pad: Pad | None = None
    divisor: Divisor | None = None


@dataclass(frozen=True)
class GridPool:
    """Average pool to grid x grid: by `window` where that gives the grid, else adaptively."""

    grid: int
    window: Pool | None = None


@dataclass(frozen=True)
class Act:
    """An activation on its own, where none belongs to the convolution before it."""

    kind: Activation | None = None


@dataclass(frozen=True)
class LRN:
    """Local response normalisation across channels (alpha is divided by size, as in Caffe)."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class SE:
    """Squeeze-and-excitation: pooled vector, C / ratio, ReLU, C, sigmoid; no biases."""

    ratio: int = 16


@dataclass(frozen=True)
class Dropout:
    """Zeroes this fraction of the values in training."""

    rate: float


@dataclass(frozen=True)
class Linear:
    """Fully connected layer on the flattened map."""

    features: int
    bias: bool = True
    init: Init | None = None
    scales: bool = False
    """True for a hidden layer, which `width` scales; classifiers and necks keep their size."""


@dataclass(frozen=True)
class Chain:
    """Nodes one after another."""

    nodes: tuple[Node, ...]
    names: tuple[str, ...] = ()
    """Names of the children that hold parameters; without them they are numbered from 0."""


@dataclass(frozen=True)
class Concat:
    """Branches side by side on the same input, joined on channels in this order."""

    branches: tuple[Chain, ...]
    se: SE | None = None


@dataclass(frozen=True)
class Residual:
    """act(shortcut(x) + scale * se(up(body(x)))); the shortcut takes the raw input."""

    body: Node
    shortcut: Node | None = None
    project: bool = False
    """True adds `up`: a biased 1x1 convolution without norm to the width of the input."""
    scale: float = 1.0
    act: bool = False
    init: Init | None = None
    """Start of `up`."""
    se: SE | None = None


Leaf = Conv | Pool | GridPool | Norm | Act | LRN | SE | Dropout | Linear
Node = Leaf | Chain | Concat | Residual


@dataclass(frozen=True)
class Stage:
    """A named part of a network, under the name that it has in the TensorFlow graph."""

    name: str
    out: tuple[int, int]
    """(channels, height) of its output at the native image, as the paper's table has it."""
    body: Node


@dataclass(frozen=True)
class Aux:
    """An auxiliary classifier that helps training; `weight` is its share of the loss."""

    name: str
    after: str
    body: Node
    classifier: Linear
    weight: float


BOTTLENECK, EMBEDDING = "bottleneck", "embedding"
"""The vectors of a head by name: what the classifier is given; the origin's own, which may be scaled to length 1."""


@dataclass(frozen=True)
class Head:
    """Global average pool, dropout, an optional neck, an optional classifier."""

    classifier: Node | None
    dropout: float = 0.0
    neck: Chain | None = None
    normalise: bool = False
    """True scales the embedding to length 1 (the logits take it unscaled)."""


@dataclass(frozen=True)
class Tree:
    """A whole network: stages in order, heads at their ends."""

    stages: tuple[Stage, ...]
    head: Head
    aux: tuple[Aux, ...] = ()


@dataclass(frozen=True)
class Switches:
    """What can be set on every architecture; each paper's file adds its own.

    A dialect is a named value of these: the one under which some origin's weights were trained.
    """

    image: int
    """Native height and width in pixels."""
    classes: int = 1000
    defaults: Defaults = field(default_factory=Defaults)
    dropout: float = 0.0
    aux: bool = False
    scale: float | None = None
    """Residual scaling: None is the origin's, 1 is off."""


def holds_parameters(node: Node) -> bool:
    """Whether the node or anything inside it has tensors of its own."""
    if isinstance(node, Conv | Norm | SE | Linear):
        return True
    if isinstance(node, Residual) and node.project:
        return True
    return any(holds_parameters(child) for _, child in children(node))


def holds(node: Node, kind: type) -> bool:
    """Whether the node or anything inside it is of a kind."""
    return isinstance(node, kind) or any(holds(child, kind) for _, child in children(node))


def children(node: Node) -> Iterator[tuple[str, Node]]:
    """(name, child) in order of execution; the one place where names of parameters come from.

    A child without parameters has the empty name, so inserting a pool or an activation renames
    nothing. Leaves have no children.
    """
    match node:
        case Chain(nodes, names):
            number = 0
            for child in nodes:
                learns = holds_parameters(child)
                yield (names[number] if names else str(number)) if learns else "", child
                number += learns
        case Concat(branches, se):
            yield from ((f"branch{i}", branch) for i, branch in enumerate(branches))
            if se is not None:
                yield "se", se
        case Residual(body=body, shortcut=shortcut, se=se):
            yield "body", body
            if shortcut is not None:
                yield "shortcut", shortcut
            if se is not None:
                yield "se", se
