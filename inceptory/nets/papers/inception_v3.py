"""Inception v3. Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer Vision".

tf-slim, torchvision and Keras agree on it; where the paper differs, the line says so. Kernels are height x width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Concat, Defaults, Head, Init, Linear, Pool, Stage, Switches, Tree
from inceptory.nets.notation import avg, concat, conv, maxpool, slim_aux


@dataclass(frozen=True)
class InceptionV3(Switches):
    """Switches of Inception v3."""

    last_pool: Literal["avg", "max"] = "avg"  # of Mixed_7c's last branch; max only in FID's graph of 2015-12-05


def stem_35() -> tuple[Stage, ...]:
    """299 -> 35. Inception-ResNet v2 begins with the same layers."""
    return (
        Stage("Conv2d_1a_3x3", (32, 149), conv(32, 3, 2, "valid")),
        Stage("Conv2d_2a_3x3", (32, 147), conv(32, 3, 1, "valid")),
        Stage("Conv2d_2b_3x3", (64, 147), conv(64, 3)),
        Stage("MaxPool_3a_3x3", (64, 73), maxpool(3, 2, "valid")),
        Stage("Conv2d_3b_1x1", (80, 73), conv(80, 1)),  # paper's table 1: 3x3
        Stage("Conv2d_4a_3x3", (192, 71), conv(192, 3, 1, "valid")),  # paper: stride 2, and no second pool
        Stage("MaxPool_5a_3x3", (192, 35), maxpool(3, 2, "valid")),
    )


def mixed_35(pool: int) -> Concat:
    """35x35 module: 1x1 | 5x5 | double 3x3 | pooled 1x1. Paper's figure 5 puts two 3x3 for the 5x5."""
    return concat(
        [conv(64, 1)],
        [conv(48, 1), conv(64, 5)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg(3), conv(pool, 1)],
    )


def reduce_35() -> Concat:
    """35x35 -> 17x17: strided 3x3 | double 3x3 | pool. Paper's figure 10."""
    return concat(
        [conv(384, 3, 2, "valid")],
        [conv(64, 1), conv(96, 3), conv(96, 3, 2, "valid")],
        [maxpool(3, 2, "valid")],
    )


def mixed_17(c: int) -> Concat:
    """17x17 module: 7x7 convolutions factorised into 1x7 and 7x1. Paper's figure 6."""
    return concat(
        [conv(192, 1)],
        [conv(c, 1), conv(c, (1, 7)), conv(192, (7, 1))],
        [conv(c, 1), conv(c, (7, 1)), conv(c, (1, 7)), conv(c, (7, 1)), conv(192, (1, 7))],
        [avg(3), conv(192, 1)],
    )


def reduce_17() -> Concat:
    """17x17 -> 8x8."""
    return concat(
        [conv(192, 1), conv(320, 3, 2, "valid")],
        [conv(192, 1), conv(192, (1, 7)), conv(192, (7, 1)), conv(192, 3, 2, "valid")],
        [maxpool(3, 2, "valid")],
    )


def forked(filters: int) -> Concat:
    """1x3 beside 3x1 on the same input: the widest part of the 8x8 modules."""
    return concat([conv(filters, (1, 3))], [conv(filters, (3, 1))])


def mixed_8(last: Pool) -> Concat:
    """8x8 module with forked branches. Paper's figure 7."""
    return concat(
        [conv(320, 1)],
        [conv(384, 1), forked(384)],
        [conv(448, 1), conv(384, 3), forked(384)],
        [last, conv(192, 1)],
    )


def inception_v3(s: InceptionV3) -> Tree:
    """The network under these switches."""
    stages = (
        *stem_35(),
        Stage("Mixed_5b", (256, 35), mixed_35(pool=32)),
        Stage("Mixed_5c", (288, 35), mixed_35(pool=64)),
        Stage("Mixed_5d", (288, 35), mixed_35(pool=64)),
        Stage("Mixed_6a", (768, 17), reduce_35()),
        Stage("Mixed_6b", (768, 17), mixed_17(128)),  # paper's table 1 lists five of these modules
        Stage("Mixed_6c", (768, 17), mixed_17(160)),
        Stage("Mixed_6d", (768, 17), mixed_17(160)),
        Stage("Mixed_6e", (768, 17), mixed_17(192)),
        Stage("Mixed_7a", (1280, 8), reduce_17()),
        Stage("Mixed_7b", (2048, 8), mixed_8(avg(3))),
        Stage("Mixed_7c", (2048, 8), mixed_8(Pool(s.last_pool, 3))),
    )
    small, smaller = Init("truncated_normal", std=0.01), Init("truncated_normal", std=0.001)
    aux = (slim_aux("Mixed_6e", s.classes, wide=small, logits=smaller),) if s.aux else ()
    return Tree(stages, Head(Linear(s.classes), s.dropout), aux)


NORMAL = Init("normal", std=0.1, bias=None)  # torchvision cuts it at +-2, 20 deviations: nothing is cut
TORCHVISION = InceptionV3(299, defaults=Defaults(divisor="window", init=NORMAL), dropout=0.5)
KERAS = InceptionV3(299, defaults=Defaults(gamma=False, bn_momentum=0.01, init=Init("glorot_uniform")))
SLIM = replace(KERAS, defaults=Defaults(gamma=False, bn_momentum=0.0003), dropout=0.2)
FID = replace(TORCHVISION, classes=1008, last_pool="max", defaults=Defaults(init=NORMAL))

IDEA = "Large kernels become stacks of small or one-dimensional ones; grids shrink without a bottleneck."
DIALECTS = {"torchvision": TORCHVISION, "keras": KERAS, "slim": SLIM, "fid": FID}
PAPER = "https://arxiv.org/abs/1512.00567"
ARCHITECTURES = (Architecture("inception_v3", "Inception v3", PAPER, 2015, IDEA, inception_v3, DIALECTS, aux=True),)
