"""Inception-ResNet v1 and v2. Szegedy et al. 2016, "Inception-v4, Inception-ResNet ...", figures 10 to 20.

A residual block adds `scale` times its branch to its input: without the small factor, training of
these wide networks dies (section 3.3). `project` is the linear 1x1 back to the input's width.
Two networks carry each name: the paper's, and the one whose weights were released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Concat, Defaults, Head, Init, Linear, Norm, Residual, Stage, Switches, Tree
from inceptory.nets.notation import avg, chain, concat, conv, maxpool, slim_aux
from inceptory.nets.papers.inception_v3 import stem_35
from inceptory.nets.papers.inception_v4 import reduction_a, stem

SCALES = {"block35": 0.17, "block17": 0.10, "block8": 0.20}
"""Released code's factors; the paper says "between 0.1 and 0.3"."""


@dataclass(frozen=True)
class InceptionResNet(Switches):
    """Switches of both Inception-ResNets."""

    released: bool = False
    """The released network instead of the paper's. v1: facenet's, with a sixth C block, a 512-d neck
    and faces of 160 pixels. v2: v3's stem, 10/20/10 blocks and a last 1x1 convolution."""


def repeat(name: str, count: int, out: tuple[int, int], body: Concat, s: Switches) -> tuple[Stage, ...]:
    """`count` equal residual blocks, name_1 to name_count."""
    scale = SCALES[name] if s.scale is None else s.scale
    block = Residual(body, project=True, scale=scale, act=True)
    return tuple(Stage(f"{name}_{i}", out, block) for i in range(1, count + 1))


def last_block(out: tuple[int, int], body: Concat) -> Stage:
    """The released code's extra C block: not scaled, no activation, not in the paper."""
    return Stage("Block8", out, Residual(body, project=True))


def block35(a: int, b: int) -> Concat:
    """35x35 branch: 1x1 | 3x3 | double 3x3. Figures 10 (v1: 32, 32) and 16 (v2: 48, 64)."""
    return concat([conv(32, 1)], [conv(32, 1), conv(32, 3)], [conv(32, 1), conv(a, 3), conv(b, 3)])


def block17(one: int, wide: int, tall: int) -> Concat:
    """17x17 branch: 1x1 | 1x7 and 7x1. Figures 11 (v1) and 17 (v2)."""
    return concat([conv(one, 1)], [conv(128, 1), conv(wide, (1, 7)), conv(tall, (7, 1))])


def block8(wide: int, tall: int) -> Concat:
    """8x8 branch: 1x1 | 1x3 and 3x1. Figures 13 (v1) and 19 (v2)."""
    return concat([conv(192, 1)], [conv(192, 1), conv(wide, (1, 3)), conv(tall, (3, 1))])


def reduction_b(b: int, c: int, d: int) -> Concat:
    """17x17 -> 8x8: three strided 3x3 and a pool. Figures 12 (v1) and 18 (v2)."""
    return concat(
        [conv(256, 1), conv(384, 3, 2, "valid")],
        [conv(256, 1), conv(b, 3, 2, "valid")],
        [conv(256, 1), conv(c, 3), conv(d, 3, 2, "valid")],
        [maxpool(3, 2, "valid")],
    )


def inception_resnet_v1(s: InceptionResNet) -> Tree:
    """The network under these switches: figure 14 for the stem, figure 15 for the whole."""
    grid35, grid17, grid8 = (17, 8, 3) if s.released else (35, 17, 8)
    sizes = (79, 77, 77, 38, 38, 36) if s.released else (149, 147, 147, 73, 73, 71)
    stem_layers = (replace(stage, out=(stage.out[0], size)) for stage, size in zip(stem_35()[:6], sizes, strict=True))
    stages = (
        *stem_layers,
        Stage("Conv2d_4b_3x3", (256, grid35), conv(256, 3, 2, "valid")),
        *repeat("block35", 5, (256, grid35), block35(32, 32), s),
        Stage("Mixed_6a", (896, grid17), reduction_a(192, 192, 256, 384)),
        *repeat("block17", 10, (896, grid17), block17(128, 128, 128), s),
        Stage("Mixed_7a", (1792, grid8), reduction_b(256, 256, 256)),
        *repeat("block8", 5, (1792, grid8), block8(192, 192), s),
        *([last_block((1792, grid8), block8(192, 192))] if s.released else []),
    )
    neck = chain(Linear(512, bias=False), Norm()) if s.released else None
    return Tree(stages, Head(Linear(s.classes), s.dropout, neck, normalise=s.released))


def inception_resnet_v2(s: InceptionResNet) -> Tree:
    """The network under these switches."""
    stages = released_v2(s) if s.released else paper_v2(s)
    after = [stage.name for stage in stages if stage.name.startswith("block17")][-1]
    aux = (slim_aux(after, s.classes),) if s.aux else ()
    return Tree(stages, Head(Linear(s.classes), s.dropout), aux)


def released_v2(s: Switches) -> tuple[Stage, ...]:
    """tf-slim's inception_resnet_v2.py, which Keras, timm and Cadene follow."""
    mixed_5b = concat(
        [conv(96, 1)],
        [conv(48, 1), conv(64, 5)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg(3), conv(64, 1)],
    )
    return (
        *stem_35(),
        Stage("Mixed_5b", (320, 35), mixed_5b),
        *repeat("block35", 10, (320, 35), block35(48, 64), s),
        Stage("Mixed_6a", (1088, 17), reduction_a(256, 256, 384, 384)),
        *repeat("block17", 20, (1088, 17), block17(192, 160, 192), s),
        Stage("Mixed_7a", (2080, 8), reduction_b(288, 288, 320)),
        *repeat("block8", 9, (2080, 8), block8(224, 256), s),
        last_block((2080, 8), block8(224, 256)),
        Stage("Conv2d_7b_1x1", (1536, 8), conv(1536, 1)),
    )


def paper_v2(s: Switches) -> tuple[Stage, ...]:
    """Figure 15 with v4's stem. Its figures print 1154 and 2048 channels, which cannot be added: 1152, 2144."""
    return (
        *stem(),
        *repeat("block35", 5, (384, 35), block35(48, 64), s),
        Stage("Mixed_6a", (1152, 17), reduction_a(256, 256, 384, 384)),
        *repeat("block17", 10, (1152, 17), block17(192, 160, 192), s),
        Stage("Mixed_7a", (2144, 8), reduction_b(288, 288, 320)),
        *repeat("block8", 5, (2144, 8), block8(224, 256), s),
    )


PAPER = InceptionResNet(image=299, defaults=Defaults(), dropout=0.2)
FACENET = InceptionResNet(
    image=160,
    classes=0,
    # facenet-pytorch's module: PyTorch's own start and momentum (davidsandberg/facenet: 0.005).
    defaults=Defaults(init=Init("torch", bias=None)),
    dropout=0.6,
    released=True,
)
TIMM = InceptionResNet(image=299, defaults=Defaults(init=Init("torch", bias=None)), released=True)
KERAS = replace(TIMM, defaults=Defaults(gamma=False, bn_momentum=0.01, init=Init("glorot_uniform")))
# tf-slim's arg_scope of this network names no initialiser, so slim.conv2d's Xavier holds.
SLIM = replace(KERAS, defaults=replace(KERAS.defaults, bn_momentum=0.0003), dropout=0.2)

ARCHITECTURES = (
    Architecture(
        name="inception_resnet_v1",
        title="Inception-ResNet v1",
        paper="https://arxiv.org/abs/1602.07261",
        year=2016,
        idea="Inception modules as residual branches, scaled down before they are added, at the cost of Inception v3.",
        build=inception_resnet_v1,
        dialects={"paper": PAPER, "facenet": FACENET},
        scale=True,
    ),
    Architecture(
        name="inception_resnet_v2",
        title="Inception-ResNet v2",
        paper="https://arxiv.org/abs/1602.07261",
        year=2016,
        idea="The wider Inception-ResNet, at the cost of Inception v4; the released one is larger than the paper's.",
        build=inception_resnet_v2,
        dialects={"timm": TIMM, "keras": KERAS, "slim": SLIM, "paper": PAPER},
        aux=True,
        scale=True,
    ),
)
