"""Trees to trees: what every architecture has in common is done here once, not in seven files.

inherit writes the dialect's defaults into the nodes, widen scales the filters, with_se adds
squeeze-and-excitation. No weights and no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from inceptory.nets.blocks import (
    SE,
    Act,
    Aux,
    Chain,
    Concat,
    Conv,
    Defaults,
    GridPool,
    Head,
    Linear,
    Node,
    Norm,
    Pool,
    Residual,
    Stage,
    Tree,
)

Change = Callable[[Node], Node]


def rebuild(node: Node, change: Change) -> Node:
    """The same tree with `change` applied to every node, leaves first."""
    match node:
        case Chain(nodes):
            node = replace(node, nodes=tuple(rebuild(child, change) for child in nodes))
        case Concat(branches):
            node = replace(node, branches=tuple(_rebuild_chain(branch, change) for branch in branches))
        case Residual(body, shortcut):
            node = replace(node, body=rebuild(body, change), shortcut=shortcut and rebuild(shortcut, change))
    return change(node)


def _rebuild_chain(branch: Chain, change: Change) -> Chain:
    changed = rebuild(branch, change)
    assert isinstance(changed, Chain), "a change keeps a branch a chain"
    return changed


def rebuild_tree(tree: Tree, change: Change) -> Tree:
    """`rebuild` over stages, auxiliary heads and head."""
    return Tree(
        stages=tuple(replace(stage, body=rebuild(stage.body, change)) for stage in tree.stages),
        head=_rebuild_head(tree.head, change),
        aux=tuple(_rebuild_aux(aux, change) for aux in tree.aux),
    )


def _rebuild_head(head: Head, change: Change) -> Head:
    neck = head.neck and _rebuild_chain(head.neck, change)
    return replace(head, neck=neck, classifier=head.classifier and rebuild(head.classifier, change))


def _rebuild_aux(aux: Aux, change: Change) -> Aux:
    classifier = rebuild(aux.classifier, change)
    assert isinstance(classifier, Linear), "a change keeps a classifier linear"
    return replace(aux, body=rebuild(aux.body, change), classifier=classifier)


def inherit(tree: Tree, defaults: Defaults) -> Tree:
    """Every None of every node replaced by the dialect's default."""

    def fill(node: Node) -> Node:
        match node:
            case Conv():
                return _fill_conv(node, defaults)
            case Norm():
                return _fill_norm(node, defaults)
            case Act():
                return replace(node, kind=node.kind or defaults.activation)
            case Pool():
                return replace(node, pad=node.pad or defaults.pad, divisor=node.divisor or defaults.divisor)
            case GridPool(_, window) if window is not None:
                divisor = window.divisor or defaults.divisor
                return replace(node, window=replace(window, pad=window.pad or defaults.pad, divisor=divisor))
            case Residual(project=True):
                return replace(node, init=node.init or defaults.init)
            case Linear():
                return replace(node, init=node.init or defaults.dense_init or defaults.init)
            case _:
                return node

    return rebuild_tree(tree, fill)


def _fill_norm(norm: Norm, defaults: Defaults) -> Norm:
    return Norm(
        eps=defaults.bn_eps if norm.eps is None else norm.eps,
        momentum=defaults.bn_momentum if norm.momentum is None else norm.momentum,
        gamma=defaults.gamma if norm.gamma is None else norm.gamma,
    )


def _fill_conv(conv: Conv, defaults: Defaults) -> Conv:
    norm = defaults.norm if conv.norm is None else conv.norm
    if norm is True:
        norm = Norm()
    return replace(
        conv,
        pad=conv.pad or defaults.pad,
        bias=defaults.bias if conv.bias is None else conv.bias,
        norm=_fill_norm(norm, defaults) if isinstance(norm, Norm) else False,
        act=defaults.activation if conv.act is True else conv.act,
        init=conv.init or defaults.init,
    )


def scaled(filters: int, width: float) -> int:
    """Filters at a width: the nearest multiple of 8, halves up, at least 8."""
    return max(8, int(filters * width / 8 + 0.5) * 8)


def widen(tree: Tree, width: float) -> Tree:
    """Every convolution and hidden layer scaled by `width`.

    Depth multipliers, necks and classes stay; residual projections follow their input by themselves.
    """

    def scale(node: Node) -> Node:
        match node:
            case Conv(filters) if filters:
                return replace(node, filters=scaled(filters, width))
            case Linear(features, scales=True):
                return replace(node, features=scaled(features, width))
            case _:
                return node

    return tree if width == 1 else rebuild_tree(tree, scale)


def with_se(tree: Tree) -> Tree:
    """Squeeze-and-excitation after each module that is a concat and on the branch of each residual.

    Hu 2017, figures 2 and 3. A concat inside a branch gets none: it is part of its module.
    """
    return replace(tree, stages=tuple(_stage_with_se(stage) for stage in tree.stages))


def _stage_with_se(stage: Stage) -> Stage:
    if isinstance(stage.body, Concat | Residual):
        return replace(stage, body=replace(stage.body, se=SE()))
    return stage
