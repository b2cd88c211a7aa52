"""BN-Inception and Inception v2. Ioffe & Szegedy 2015, "Batch Normalization", figure 5.

The paper's table contradicts itself in 4c, 4d and 4e: its filters sum to 608, 608 and 1056, its
output column says 576, 576 and 1024. Caffe's and Cadene's `bn_inception` follow the filters,
tf-slim's `inception_v2` the outputs. Stage names are tf-slim's: Mixed_3b is the paper's 3a.
"""

from __future__ import annotations

from dataclasses import dataclass

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Concat, Conv, Defaults, Head, Init, Linear, Pad, Pool, Stage, Switches, Tree
from inceptory.nets.notation import avg, chain, concat, conv, depthwise, maxpool

Pair = tuple[int, int]


@dataclass(frozen=True)
class BNInception(Switches):
    """Switches of BN-Inception."""

    projection: int = 128
    """Pool projection of Mixed_4d and Mixed_4e: 128 is the paper's filters, 96 its outputs."""
    separable_stem: bool = False
    """Depthwise 7x7 with multiplier 8, then 1x1, biased and without norm (tf-slim; the paper's text)."""
    pool_pad: Pad = "ceil"
    """Border of the strided pools."""


def module(one: int, three: Pair, double: Pair, pool: Pool, projection: int) -> Concat:
    """1x1 | 1x1 -> 3x3 | 1x1 -> 3x3 -> 3x3 | pool -> 1x1, numbers in the order of the paper's figure 5."""
    return concat(
        [conv(one, 1)],
        [conv(three[0], 1), conv(three[1], 3)],
        [conv(double[0], 1), conv(double[1], 3), conv(double[1], 3)],
        [pool, conv(projection, 1)],
    )


def reduction(three: Pair, double: Pair) -> Concat:
    """Half the grid: 1x1 -> 3x3/2 | 1x1 -> 3x3 -> 3x3/2 | max pool passed through.

    The pool is padded as TensorFlow does. On even maps that is Caffe's rounding up to the cell; on
    odd maps Caffe's pool ends one cell short of the convolutions beside it, and Cadene's port fails.
    """
    return concat(
        [conv(three[0], 1), conv(three[1], 3, 2)],
        [conv(double[0], 1), conv(double[1], 3), conv(double[1], 3, 2)],
        [maxpool(3, 2, "same")],
    )


def separable_stem() -> Conv:
    """Depthwise 7x7/2, 8 filters a channel; tf-slim's arg_scope gives it no norm (tensorflow/models#4843)."""
    return depthwise(7, 2, multiplier=8, init=Init("truncated_normal", std=1.0))


def stem(s: BNInception) -> tuple[Stage, ...]:
    """224 -> 28."""
    first = chain(separable_stem(), conv(64, 1, norm=False, bias=True)) if s.separable_stem else conv(64, 7, 2)
    return (
        Stage("Conv2d_1a_7x7", (64, 112), first),
        Stage("MaxPool_2a_3x3", (64, 56), maxpool(3, 2, s.pool_pad)),
        Stage("Conv2d_2b_1x1", (64, 56), conv(64, 1)),
        Stage("Conv2d_2c_3x3", (192, 56), conv(192, 3)),
        Stage("MaxPool_3a_3x3", (192, 28), maxpool(3, 2, s.pool_pad)),
    )


def bn_inception(s: BNInception) -> Tree:
    """The network under these switches."""
    p = s.projection
    summed = 480 + p  # 608 by the paper's filters, 576 by its output column
    stages = (
        *stem(s),
        Stage("Mixed_3b", (256, 28), module(64, (64, 64), (64, 96), avg(3), 32)),
        Stage("Mixed_3c", (320, 28), module(64, (64, 96), (64, 96), avg(3), 64)),
        Stage("Mixed_4a", (576, 14), reduction((128, 160), (64, 96))),
        Stage("Mixed_4b", (576, 14), module(224, (64, 96), (96, 128), avg(3), 128)),
        Stage("Mixed_4c", (576, 14), module(192, (96, 128), (96, 128), avg(3), 128)),
        Stage("Mixed_4d", (summed, 14), module(160, (128, 160), (128, 160), avg(3), p)),
        Stage("Mixed_4e", (summed, 14), module(96, (128, 192), (160, 192), avg(3), p)),
        Stage("Mixed_5a", (448 + summed, 7), reduction((128, 192), (192, 256))),
        Stage("Mixed_5b", (1024, 7), module(352, (192, 320), (160, 224), avg(3), 128)),
        Stage("Mixed_5c", (1024, 7), module(352, (192, 320), (192, 224), maxpool(3), 128)),
    )
    return Tree(stages, Head(Linear(s.classes), s.dropout))


CADENE = BNInception(
    image=224,
    defaults=Defaults(bias=True, bn_eps=1e-5, pad="symmetric", divisor="window", init=Init("torch", bias=None)),
)
SLIM = BNInception(
    image=224,
    # tf-slim's own file has no gamma; ours is ones there, and learns (11,188,224 parameters with it).
    defaults=Defaults(bn_momentum=0.0003),
    dropout=0.2,
    projection=96,
    separable_stem=True,
    pool_pad="same",
)

ARCHITECTURES = (
    Architecture(
        name="bn_inception",
        title="BN-Inception",
        paper="https://arxiv.org/abs/1502.03167",
        year=2015,
        idea="Every convolution is followed by batch normalisation, and two 3x3 stand for each 5x5 of GoogLeNet.",
        build=bn_inception,
        dialects={"cadene": CADENE},
    ),
    Architecture(
        name="inception_v2",
        title="Inception v2",
        paper="https://arxiv.org/abs/1502.03167",
        year=2015,
        idea="tf-slim's reading of BN-Inception: a separable first layer and the output sizes of the paper's table.",
        build=bn_inception,
        dialects={"slim": SLIM},
    ),
)
