"""The words in which the papers' files write their networks: nodes with the numbers in the papers' order."""

from __future__ import annotations

from inceptory.nets.blocks import Aux, Chain, Concat, Conv, GridPool, Init, Linear, Node, Norm, Pad, Pool


def conv(
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    pad: Pad | None = None,
    *,
    bias: bool | None = None,
    norm: bool | Norm | None = None,
    act: bool = True,
    init: Init | None = None,
) -> Conv:
    """Convolution with `filters` outputs; one number for the kernel means square."""
    square = (kernel, kernel) if isinstance(kernel, int) else kernel
    return Conv(filters, square, stride, pad, bias=bias, norm=norm, act=act, init=init)


def depthwise(
    kernel: int,
    stride: int = 1,
    multiplier: int = 1,
    *,
    norm: bool = False,
    act: bool = False,
    init: Init | None = None,
) -> Conv:
    """Each channel convolved on its own, into `multiplier` channels."""
    size = (kernel, kernel)
    return Conv(0, size, stride, multiplier=multiplier, bias=False, norm=norm, act=act, init=init)


def sep(
    filters: int, stride: int = 1, *, inner_norm: bool = False, inner_act: bool = False, act: bool = False
) -> Chain:
    """Separable 3x3 convolution: `dw` then `pw`, which carries the norm. Chollet 2016, section 2."""
    inner = depthwise(3, stride, norm=inner_norm, act=inner_act)
    return Chain((inner, conv(filters, 1, act=act)), names=("dw", "pw"))


def avg(kernel: int, stride: int = 1, pad: Pad | None = None) -> Pool:
    """Average pool; the divisor at the border is the dialect's."""
    return Pool("avg", kernel, stride, pad)


def maxpool(kernel: int, stride: int = 1, pad: Pad | None = None) -> Pool:
    """Max pool; padded cells never win."""
    return Pool("max", kernel, stride, pad)


def chain(*nodes: Node) -> Chain:
    """Nodes one after another."""
    return Chain(nodes)


def concat(*branches: list[Node]) -> Concat:
    """One list of nodes a branch, in the order of the channels."""
    return Concat(tuple(Chain(tuple(branch)) for branch in branches))


def slim_aux(after: str, classes: int, *, wide: Init | None = None, logits: Init | None = None) -> Aux:
    """tf-slim's auxiliary head of v3, v4 and Inception-ResNet v2: 5x5/3 pool, 1x1 128, 5x5 768, classes."""
    body = chain(GridPool(5, avg(5, 3, "valid")), conv(128, 1), conv(768, 5, pad="valid", init=wide))
    return Aux("AuxLogits", after, body, Linear(classes, init=logits), weight=0.4)
