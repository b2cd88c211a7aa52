"""Inception v4. Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of Residual Connections".

The released network: tf-slim's inception_v4.py, which timm's and Cadene's ports follow. The paper's
figures draw some pairs of 1x7 and 7x1 the other way round; weights need the code's order.
"""

from __future__ import annotations

from dataclasses import replace

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Concat, Defaults, Head, Init, Linear, Stage, Switches, Tree
from inceptory.nets.notation import avg, concat, conv, maxpool, slim_aux


def stem() -> tuple[Stage, ...]:
    """299 -> 35. Paper's figure 3; the paper's own Inception-ResNet v2 begins with it too."""
    return (
        Stage("Conv2d_1a_3x3", (32, 149), conv(32, 3, 2, "valid")),
        Stage("Conv2d_2a_3x3", (32, 147), conv(32, 3, 1, "valid")),
        Stage("Conv2d_2b_3x3", (64, 147), conv(64, 3)),
        Stage("Mixed_3a", (160, 73), concat([maxpool(3, 2, "valid")], [conv(96, 3, 2, "valid")])),
        Stage("Mixed_4a", (192, 71), stem_73()),
        # Convolution first here, pool first in Mixed_3a.
        Stage("Mixed_5a", (384, 35), concat([conv(192, 3, 2, "valid")], [maxpool(3, 2, "valid")])),
    )


def stem_73() -> Concat:
    """73 -> 71: 3x3 beside a factorised 7x7 and 3x3. The paper draws 7x1 before 1x7."""
    return concat(
        [conv(64, 1), conv(96, 3, 1, "valid")],
        [conv(64, 1), conv(64, (1, 7)), conv(64, (7, 1)), conv(96, 3, 1, "valid")],
    )


def inception_a() -> Concat:
    """35x35 module. Paper's figure 4."""
    return concat(
        [conv(96, 1)],
        [conv(64, 1), conv(96, 3)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg(3), conv(96, 1)],
    )


def reduction_a(k: int, l: int, m: int, n: int) -> Concat:  # noqa: E741, the paper's letters
    """35x35 -> 17x17 with the paper's k, l, m, n. Figure 7, table 1; all networks of the paper share it."""
    return concat(
        [conv(n, 3, 2, "valid")],
        [conv(k, 1), conv(l, 3), conv(m, 3, 2, "valid")],
        [maxpool(3, 2, "valid")],
    )


def inception_b() -> Concat:
    """17x17 module. Paper's figure 5."""
    return concat(
        [conv(384, 1)],
        [conv(192, 1), conv(224, (1, 7)), conv(256, (7, 1))],
        [conv(192, 1), conv(192, (7, 1)), conv(224, (1, 7)), conv(224, (7, 1)), conv(256, (1, 7))],
        [avg(3), conv(128, 1)],
    )


def reduction_b() -> Concat:
    """17x17 -> 8x8. Paper's figure 8."""
    return concat(
        [conv(192, 1), conv(192, 3, 2, "valid")],
        [conv(256, 1), conv(256, (1, 7)), conv(320, (7, 1)), conv(320, 3, 2, "valid")],
        [maxpool(3, 2, "valid")],
    )


def inception_c() -> Concat:
    """8x8 module with forked branches. Paper's figure 6."""
    return concat(
        [conv(256, 1)],
        [conv(384, 1), concat([conv(256, (1, 3))], [conv(256, (3, 1))])],
        [conv(384, 1), conv(448, (3, 1)), conv(512, (1, 3)), concat([conv(256, (1, 3))], [conv(256, (3, 1))])],
        [avg(3), conv(256, 1)],
    )


def inception_v4(s: Switches) -> Tree:
    """The network under these switches."""
    stages = (
        *stem(),
        *(Stage(f"Mixed_5{letter}", (384, 35), inception_a()) for letter in "bcde"),
        Stage("Mixed_6a", (1024, 17), reduction_a(192, 224, 256, 384)),
        *(Stage(f"Mixed_6{letter}", (1024, 17), inception_b()) for letter in "bcdefgh"),
        Stage("Mixed_7a", (1536, 8), reduction_b()),
        *(Stage(f"Mixed_7{letter}", (1536, 8), inception_c()) for letter in "bcd"),
    )
    aux = (slim_aux("Mixed_6h", s.classes),) if s.aux else ()
    return Tree(stages, Head(Linear(s.classes), s.dropout), aux)


TIMM = Switches(image=299, defaults=Defaults(init=Init("torch", bias=None)))
SLIM = replace(TIMM, defaults=Defaults(gamma=False, bn_momentum=0.0003, dense_init=Init("glorot_uniform")), dropout=0.2)

ARCHITECTURES = (
    Architecture(
        name="inception_v4",
        title="Inception v4",
        paper="https://arxiv.org/abs/1602.07261",
        year=2016,
        idea="Inception v3 made uniform and deeper: one module for each grid size, repeated 4, 7 and 3 times.",
        build=inception_v4,
        dialects={"timm": TIMM, "slim": SLIM},
        aux=True,
    ),
)
