"""Xception and its aligned variants. Chollet 2016, "Xception: Deep Learning with Depthwise Separable Convolutions".

Figure 5 of the paper. Stage names are Keras' for xception and follow DeepLab's flows for the
aligned ones (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution", figure 4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Act, Defaults, Head, Init, Linear, Node, Pad, Residual, Stage, Switches, Tree
from inceptory.nets.notation import chain, conv, maxpool, sep


@dataclass(frozen=True)
class Xception(Switches):
    """Switches of Xception."""

    pool_pad: Pad = "same"
    """Border of the four strided pools. Symmetric moves block3's windows by one pixel at 299."""


@dataclass(frozen=True)
class AlignedXception(Switches):
    """Switches of the aligned Xceptions."""

    entry: tuple[tuple[int, int], ...] = ((128, 2), (256, 2), (728, 2))
    """(filters, stride) of the entry flow's blocks."""
    middle: int = 8
    """Blocks of the middle flow."""


def down(filters: tuple[int, int], pad: Pad, *, first_act: bool = True) -> Residual:
    """Two separable convolutions and a pool beside a strided 1x1 shortcut of the raw input."""
    body: list[Node] = [Act(), sep(filters[0]), Act(), sep(filters[1]), maxpool(3, 2, pad)]
    return Residual(chain(*body[not first_act :]), shortcut=conv(filters[1], 1, 2, act=False))


def middle() -> Residual:
    """Three separable convolutions beside the identity."""
    return Residual(chain(Act(), sep(728), Act(), sep(728), Act(), sep(728)))


def xception(s: Xception) -> Tree:
    """The network under these switches."""
    pad = s.pool_pad
    stages = (
        Stage("block1_conv1", (32, 149), conv(32, 3, 2, "valid")),
        Stage("block1_conv2", (64, 147), conv(64, 3, 1, "valid")),
        Stage("block2", (128, 74), down((128, 128), pad, first_act=False)),  # block1 ends in a ReLU
        Stage("block3", (256, 37), down((256, 256), pad)),
        Stage("block4", (728, 19), down((728, 728), pad)),
        *(Stage(f"block{i}", (728, 19), middle()) for i in range(5, 13)),
        Stage("block13", (1024, 10), down((728, 1024), pad)),
        Stage("block14_sepconv1", (1536, 10), sep(1536, act=True)),
        Stage("block14_sepconv2", (2048, 10), sep(2048, act=True)),
    )
    return Tree(stages, Head(Linear(s.classes), s.dropout))


def aligned(filters: tuple[int, int, int], stride: int, *, shortcut: bool) -> Residual:
    """Three separable convolutions with norm on both halves; the stride sits on the third."""
    a, b, c = filters
    body = (Act(), sep(a, inner_norm=True), Act(), sep(b, inner_norm=True), Act(), sep(c, stride, inner_norm=True))
    return Residual(chain(*body), shortcut=conv(c, 1, stride, act=False) if shortcut else None)


def last_aligned(*filters: int) -> Node:
    """The exit flow's end: no shortcut, activations inside the separable convolutions."""
    return chain(*(sep(f, inner_norm=True, inner_act=True, act=True) for f in filters))


def aligned_xception(s: AlignedXception) -> Tree:
    """The network under these switches."""
    stages = [
        Stage("entry_conv1", (32, 150), conv(32, 3, 2)),
        Stage("entry_conv2", (64, 150), conv(64, 3)),
    ]
    size = 150
    for i, (filters, stride) in enumerate(s.entry, 1):
        size = -(-size // stride)
        stages.append(Stage(f"entry_block{i}", (filters, size), aligned((filters,) * 3, stride, shortcut=True)))
    for i in range(1, s.middle + 1):
        stages.append(Stage(f"middle_block{i}", (728, 19), aligned((728, 728, 728), 1, shortcut=False)))
    stages.append(Stage("exit_block1", (1024, 10), aligned((728, 1024, 1024), 2, shortcut=True)))
    stages.append(Stage("exit_block2", (2048, 10), last_aligned(1536, 1536, 2048)))
    return Tree(tuple(stages), Head(Linear(s.classes), s.dropout))


KERAS = Xception(image=299, defaults=Defaults(bn_momentum=0.01, init=Init("glorot_uniform")))
TIMM = Xception(
    image=299,
    defaults=Defaults(bn_eps=1e-5, init=Init("he_normal_out"), dense_init=Init("torch", bias=None)),
    pool_pad="symmetric",
)
ALIGNED = AlignedXception(image=299, defaults=Defaults(pad="symmetric", init=Init("torch", bias=None)))
ENTRY_71 = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))


def _aligned(layers: int, switches: AlignedXception, idea: str) -> Architecture:
    return Architecture(
        name=f"xception{layers}",
        title=f"Aligned Xception {layers}",
        paper="https://arxiv.org/abs/1802.02611",
        year=2018,
        idea=idea,
        build=aligned_xception,
        dialects={"timm": switches},
    )


ARCHITECTURES = (
    Architecture(
        name="xception",
        title="Xception",
        paper="https://arxiv.org/abs/1610.02357",
        year=2016,
        idea="Inception taken to its end: every channel is convolved on its own, then a 1x1 mixes the channels.",
        build=xception,
        dialects={"keras": KERAS, "timm": TIMM},
    ),
    _aligned(41, ALIGNED, "DeepLab's Xception: strided separable convolutions instead of pools, 8 middle blocks."),
    _aligned(65, replace(ALIGNED, middle=16), "Aligned Xception with 16 middle blocks: DeepLab's usual backbone."),
    _aligned(71, replace(ALIGNED, middle=16, entry=ENTRY_71), "Aligned Xception 65 with two more entry blocks."),
)
