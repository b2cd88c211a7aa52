"""An Inception for small pictures that is trained in minutes: of no paper, made and measured here.

Around the modules it has what made small residual networks fast on CIFAR-10 (Jordan 2024, "94% on CIFAR-10 in 3.29
seconds on a single GPU", arXiv 2404.00498): a first convolution of 2x2 pixels for whitening, a map that is halved
before it is normalised, batch norms without gamma, and 3x3 kernels that begin as the identity. They
have GELU; SiLU takes two thirds of its time on a processor, and with less label smoothing learned more (LOG.md).
"""

from __future__ import annotations

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Act, Chain, Concat, Defaults, Head, Init, Linear, Node, Norm, Stage, Switches, Tree
from inceptory.nets.notation import avg, chain, concat, conv, maxpool


def halved(filters: int) -> Chain:
    """Half the grid: the largest of each 2x2 answers, and only then norm and SiLU, on a quarter of the values."""
    return chain(conv(filters, 3, norm=False, act=False), maxpool(2, 2, "valid"), Norm(), Act())


def module(filters: int) -> Concat:
    """GoogLeNet's four branches, most of them 3x3 straight from the input, the second of two 3x3 as in Inception v2."""
    eighth = filters // 8
    return concat(
        [conv(eighth, 1)],
        [conv(4 * eighth, 3)],
        [conv(2 * eighth, 1), conv(2 * eighth, 3), conv(2 * eighth, 3)],
        [avg(3), conv(eighth, 1)],
    )


def reduction(filters: int, pooled: list[Node]) -> Concat:
    """Half the grid as in Inception v3: a 3x3 with stride 2 beside a max pool, which keeps the input or some of it."""
    return concat([conv(filters, 3, 2, "valid")], [*pooled, maxpool(3, 2, "valid")])


def fast(s: Switches) -> Tree:
    """A whitening convolution, a 3x3 and its largest answers, and three modules with half the grid between them."""
    stages = (
        Stage("Conv2d_1a_2x2", (24, 31), conv(24, 2, pad="valid", bias=True, norm=False)),
        Stage("Conv2d_2a_3x3", (64, 15), halved(64)),
        Stage("Mixed_2b", (64, 15), module(64)),
        Stage("Mixed_3a", (256, 7), reduction(192, [])),
        Stage("Mixed_3b", (256, 7), module(256)),
        Stage("Mixed_4a", (256, 3), reduction(192, [conv(64, 1)])),
        Stage("Mixed_4b", (256, 3), module(256)),
        Stage("MaxPool_5a_3x3", (256, 1), maxpool(3, 3)),
    )
    return Tree(stages, Head(Linear(s.classes), s.dropout))


SMALL = Init("normal", std=1 / 256)
"""The last layer begins near zero: no picture is judged before anything is learned."""
DEFAULTS = Defaults(gamma=False, activation="silu", bn_eps=1e-5, init=Init("identity"), dense_init=SMALL)
FAST = Switches(image=32, classes=10, defaults=DEFAULTS)

ARCHITECTURES = (
    Architecture(
        "cifar_inception_fast",
        "Inception fast for small pictures",
        "https://arxiv.org/abs/1409.4842",
        2026,
        "Inception modules in a small network that learns CIFAR-10 in minutes on a processor; ours.",
        fast,
        {"inceptory": FAST},
    ),
)
