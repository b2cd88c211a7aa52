"""Six Inception networks for 32x32 pictures, as a tutorial on CIFAR-10 wrote them in Keras.

GoogLeNet, BN-Inception and Inception v3 carried over to small pictures, and three variants of v3
that keep the map large. Every convolution has bias and batch norm but for the factorised ones of
v3, which have no bias. Same padding throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from inceptory.nets.architecture import Architecture
from inceptory.nets.blocks import Concat, Conv, Defaults, Head, Linear, Norm, Stage, Switches, Tree
from inceptory.nets.notation import avg, chain, concat, conv, maxpool
from inceptory.nets.papers import bn_inception, googlenet


@dataclass(frozen=True)
class CifarV3(Switches):
    """Switches of the four networks derived from Inception v3."""

    stem: str = "full"
    """full: v3's seven layers, 32 -> 4. slim: one 3x3 convolution, the map stays 32.
    stem_slim: the seven layers without strides."""
    pools: tuple[int, int, int] = (32, 64, 64)
    """Pool projections of the three 35x35 modules."""
    sevens: tuple[int, ...] = (128, 160, 160, 160, 192)
    """Widths of the five 17x17 modules (the ImageNet network has four)."""


def thin(filters: int, kernel: tuple[int, int]) -> Conv:
    """A factorised convolution: the only kind here without bias."""
    return conv(filters, kernel, bias=False)


def stem(kind: str) -> tuple[Stage, ...]:
    """32 -> 4 (full) or 32 -> 32."""
    if kind == "slim":
        # The tutorial leaves its normalisation and activation out.
        return (Stage("Conv2d_1a_3x3", (192, 32), conv(192, 3, norm=False, act=False)),)
    stride = 2 if kind == "full" else 1
    a, b, c = (32 // stride, 32 // stride**2, 32 // stride**3)
    return (
        Stage("Conv2d_1a_3x3", (32, a), conv(32, 3, stride)),
        Stage("Conv2d_2a_3x3", (32, a), conv(32, 3)),
        Stage("Conv2d_2b_3x3", (64, a), conv(64, 3)),
        Stage("MaxPool_3a_3x3", (64, b), maxpool(3, stride)),
        Stage("Conv2d_3b_1x1", (80, b), conv(80, 1)),
        Stage("Conv2d_4a_3x3", (192, b), conv(192, 3)),
        Stage("MaxPool_5a_3x3", (192, c), maxpool(3, stride)),
    )


def module1(pool: int) -> Concat:
    """Inception v3's 35x35 module with 3x3 for its 5x5."""
    return concat(
        [conv(64, 1)],
        [conv(48, 1), conv(64, 3)],
        [conv(64, 1), conv(96, 3), conv(96, 3)],
        [avg(3), conv(pool, 1)],
    )


def reduce1() -> Concat:
    """Half the grid, to 768 channels."""
    return concat([conv(384, 3, 2)], [conv(64, 1), conv(96, 3), conv(96, 3, 2)], [maxpool(3, 2)])


def module2(c: int) -> Concat:
    """Inception v3's 17x17 module."""
    return concat(
        [conv(192, 1)],
        [conv(c, 1), thin(c, (1, 7)), thin(192, (7, 1))],
        [conv(c, 1), thin(c, (7, 1)), thin(c, (1, 7)), thin(c, (7, 1)), thin(192, (1, 7))],
        [avg(3), conv(192, 1)],
    )


def reduce2() -> Concat:
    """Half the grid, to 1280 channels."""
    return concat(
        [conv(192, 1), conv(320, 3, 2)],
        [conv(192, 1), thin(192, (1, 7)), thin(192, (7, 1)), conv(192, 3, 2)],
        [maxpool(3, 2)],
    )


def module3() -> Concat:
    """Inception v3's 8x8 module."""
    return concat(
        [conv(320, 1)],
        [conv(384, 1), concat([thin(384, (1, 3))], [thin(384, (3, 1))])],
        [conv(448, 1), conv(384, 3), concat([thin(384, (1, 3))], [thin(384, (3, 1))])],
        [avg(3), conv(192, 1)],
    )


def cifar_v3(s: CifarV3) -> Tree:
    """Stem, 3 + 5 + 2 modules and two reductions, one dense layer."""
    first = stem(s.stem)
    size = first[-1].out[1]
    stages = (
        *first,
        *(Stage(f"Mixed_5{x}", (224 + pool, size), module1(pool)) for x, pool in zip("bcd", s.pools, strict=True)),
        Stage("Mixed_6a", (768, size // 2), reduce1()),
        *(Stage(f"Mixed_6{x}", (768, size // 2), module2(c)) for x, c in zip("bcdef", s.sevens, strict=True)),
        Stage("Mixed_7a", (1280, size // 4), reduce2()),
        Stage("Mixed_7b", (2048, size // 4), module3()),
        Stage("Mixed_7c", (2048, size // 4), module3()),
    )
    return Tree(stages, Head(Linear(s.classes), s.dropout))


def cifar_v1(s: Switches) -> Tree:
    """GoogLeNet with 5x5 kernels and biases; batch norms where the original has LRN; two dense layers."""
    paper = googlenet.googlenet(googlenet.GoogLeNet(image=32, classes=s.classes, lrn=True, pool_pad="same"))
    keras_norm = Norm(eps=1e-3, momentum=0.01)  # Keras' defaults, unlike the other networks here
    stages = tuple(
        Stage(stage.name.replace("LRN", "BatchNorm"), stage.out, keras_norm) if "LRN" in stage.name else stage
        for stage in paper.stages
    )
    # Parameter counts do not tell strides and dropout; these are the ImageNet strides, and dropout 0.4.
    return Tree(_resized(stages), Head(chain(Linear(s.classes), Linear(s.classes)), s.dropout))


def cifar_v2(s: Switches) -> Tree:
    """BN-Inception with tf-slim's projections, a plain first convolution and biases everywhere."""
    switches = bn_inception.BNInception(image=32, classes=s.classes, projection=96, pool_pad="same")
    paper = bn_inception.bn_inception(switches)
    return Tree(_resized(paper.stages), Head(Linear(s.classes), s.dropout))


def _resized(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The ImageNet table at 32 pixels: every grid is a seventh of the one at 224."""
    return tuple(replace(stage, out=(stage.out[0], stage.out[1] // 7)) for stage in stages)


BIASED = Defaults(bias=True, bn_eps=1e-5, bn_momentum=0.1)
V3 = CifarV3(image=32, classes=10, defaults=BIASED, dropout=0.2)
V2 = Switches(image=32, classes=10, defaults=BIASED, dropout=0.2)
V1 = Switches(image=32, classes=10, defaults=Defaults(norm=False, bias=True), dropout=0.4)
SLIM = replace(V3, stem="slim")
SLIM_352 = replace(SLIM, pools=(64, 64, 64), sevens=(128,) * 5)
STEM_SLIM = replace(V3, stem="stem_slim")

GOOGLENET_PAPER, BN_PAPER, V3_PAPER = (f"https://arxiv.org/abs/{x}" for x in ("1409.4842", "1502.03167", "1512.00567"))


def _row(name: str, paper: str, year: int, build: Callable[..., Tree], keras: Switches, idea: str) -> Architecture:
    title = f"Inception {name.replace('_', ' ')} for CIFAR-10"
    return Architecture(f"cifar_inception_{name}", title, paper, year, idea, build, {"keras": keras})


ARCHITECTURES = (
    _row(
        "v1", GOOGLENET_PAPER, 2014, cifar_v1, V1, "GoogLeNet on 32x32 pictures: its strides leave a map of one cell."
    ),
    _row("v2", BN_PAPER, 2015, cifar_v2, V2, "BN-Inception on 32x32 pictures, with biases."),
    _row("v3", V3_PAPER, 2015, cifar_v3, V3, "Inception v3 on 32x32 pictures: cheap, and too coarse to be good."),
    _row(
        "v3_slim", V3_PAPER, 2015, cifar_v3, SLIM, "The stem is one convolution, so the modules see the map at 32x32."
    ),
    _row(
        "v3_slim_352",
        V3_PAPER,
        2015,
        cifar_v3,
        SLIM_352,
        "The slim network, equally wide within each grid.",
    ),
    _row(
        "v3_stem_slim", V3_PAPER, 2015, cifar_v3, STEM_SLIM, "The whole stem of v3, with its three strides taken out."
    ),
)
