"""GoogLeNet, Inception v1. Szegedy et al. 2014, "Going Deeper with Convolutions", table 1.

Three origins trained three networks under this name: Caffe's is the paper's; tf-slim's and
torchvision's normalise, and their "5x5" is a 3x3 (a mistake that was kept because weights depend on it).
Stage names are tf-slim's: Mixed_3b is the paper's inception (3a).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import (
    LRN,
    Act,
    Aux,
    Concat,
    Defaults,
    Dropout,
    GridPool,
    Head,
    Init,
    Linear,
    Pad,
    Stage,
    Switches,
    Tree,
)
from inceptory.nets.notation import avg, chain, concat, conv, maxpool


@dataclass(frozen=True)
class GoogLeNet(Switches):
    """Switches of GoogLeNet."""

    five: int = 5
    """Kernel of the branch that the paper calls 5x5: 3 in tf-slim (tensorflow/tensorflow#8295) and
    torchvision (pytorch/vision#906)."""
    lrn: bool = False
    """Local response normalisation after pool1 and before pool2, as in the paper and Caffe."""
    fourth_pool: int = 3
    """Kernel of the pool before Mixed_5b: 2 in tf-slim and torchvision."""
    pool_pad: Pad = "ceil"
    """Border of the strided pools."""
    aux_window: bool = True
    """Whether the auxiliary heads pool by the paper's 5x5/3 (else adaptively, as torchvision)."""


def module(one: int, three: tuple[int, int], five: tuple[int, int], pool: int, kernel: int) -> Concat:
    """1x1 | 1x1 -> 3x3 | 1x1 -> 5x5 | 3x3 max -> 1x1, numbers in the order of the paper's table 1."""
    return concat(
        [conv(one, 1)],
        [conv(three[0], 1), conv(three[1], 3)],
        [conv(five[0], 1), conv(five[1], kernel)],
        [maxpool(3), conv(pool, 1)],
    )


def aux_head(name: str, after: str, s: GoogLeNet) -> Aux:
    """4x4 pool, 1x1 128, 1024 hidden, 70 % dropout. Paper, section 5; weight 0.3 each."""
    pool = GridPool(4, avg(5, 3, "valid") if s.aux_window else None)
    body = chain(pool, conv(128, 1), Linear(1024, scales=True), Act(), Dropout(0.7))
    return Aux(name, after, body, Linear(s.classes), weight=0.3)


def stem(s: GoogLeNet) -> tuple[Stage, ...]:
    """224 -> 28."""
    return (
        Stage("Conv2d_1a_7x7", (64, 112), conv(64, 7, 2)),
        Stage("MaxPool_2a_3x3", (64, 56), maxpool(3, 2, s.pool_pad)),
        *([Stage("LRN_2a", (64, 56), LRN())] if s.lrn else []),
        Stage("Conv2d_2b_1x1", (64, 56), conv(64, 1)),
        Stage("Conv2d_2c_3x3", (192, 56), conv(192, 3)),
        *([Stage("LRN_2c", (192, 56), LRN())] if s.lrn else []),
        Stage("MaxPool_3a_3x3", (192, 28), maxpool(3, 2, s.pool_pad)),
    )


def googlenet(s: GoogLeNet) -> Tree:
    """The network under these switches."""
    k = s.five
    four = s.fourth_pool
    stages = (
        *stem(s),
        Stage("Mixed_3b", (256, 28), module(64, (96, 128), (16, 32), 32, k)),
        Stage("Mixed_3c", (480, 28), module(128, (128, 192), (32, 96), 64, k)),
        Stage("MaxPool_4a_3x3", (480, 14), maxpool(3, 2, s.pool_pad)),
        Stage("Mixed_4b", (512, 14), module(192, (96, 208), (16, 48), 64, k)),
        Stage("Mixed_4c", (512, 14), module(160, (112, 224), (24, 64), 64, k)),
        Stage("Mixed_4d", (512, 14), module(128, (128, 256), (24, 64), 64, k)),
        Stage("Mixed_4e", (528, 14), module(112, (144, 288), (32, 64), 64, k)),
        Stage("Mixed_4f", (832, 14), module(256, (160, 320), (32, 128), 128, k)),
        Stage(f"MaxPool_5a_{four}x{four}", (832, 7), maxpool(four, 2, s.pool_pad)),
        Stage("Mixed_5b", (832, 7), module(256, (160, 320), (32, 128), 128, k)),
        Stage("Mixed_5c", (1024, 7), module(384, (192, 384), (48, 128), 128, k)),
    )
    aux = (aux_head("aux1", "Mixed_4b", s), aux_head("aux2", "Mixed_4e", s)) if s.aux else ()
    return Tree(stages, Head(Linear(s.classes), s.dropout), aux)


TORCHVISION = GoogLeNet(
    image=224,
    # torchvision cuts its normal at +-2, which is 200 deviations: nothing is cut.
    defaults=Defaults(pad="symmetric", init=Init("normal", std=0.01, bias=None)),
    dropout=0.2,
    five=3,
    fourth_pool=2,
    aux_window=False,
)
CAFFE = GoogLeNet(
    image=224,
    # train_val.prototxt starts the biases of convolutions at 0.2.
    defaults=Defaults(
        norm=False, bias=True, pad="symmetric", init=Init("xavier_caffe", bias=0.2), dense_init=Init("xavier_caffe")
    ),
    dropout=0.4,
    lrn=True,
)
SLIM = replace(
    TORCHVISION,
    defaults=Defaults(
        gamma=False, bn_momentum=0.0003, init=Init("truncated_normal", std=0.01), dense_init=Init("he_normal")
    ),
    pool_pad="same",
    aux_window=True,
)

ARCHITECTURES = (
    Architecture(
        name="googlenet",
        title="GoogLeNet (Inception v1)",
        paper="https://arxiv.org/abs/1409.4842",
        year=2014,
        idea="Each module looks at its input at several sizes at once; 1x1 convolutions make that affordable.",
        build=googlenet,
        dialects={"torchvision": TORCHVISION, "caffe": CAFFE, "slim": SLIM},
        aux=True,
    ),
)
