"""In which order Keras lists the layers of one of our networks: that of its weight files.

A functional model sorts its layers by depth, the longest way to the output, deepest first; layers of
one depth stand in the order of their branches (keras/src/ops/function.py, map_graph). A convolution,
its batch norm and its activation are three layers there, a separable convolution is one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inceptory.nets.arithmetic import join
from inceptory.nets.blocks import Chain, Concat, Conv, Node, Norm, Residual, Tree, children
from inceptory.nets.transform import rebuild_tree

Layer = tuple[int, str]
"""Depth, counted from the output, and our path of its tensors."""


@dataclass(frozen=True)
class _Open(Concat):
    """A concat that Keras' model does not have: the one around it joins these maps with the others."""


def layer_order(tree: Tree, *, flat: bool = False) -> list[str]:
    """Our paths of the layers that hold tensors, as Keras orders them; the classifier comes last.

    `flat` says that a module there joins all its maps at once, where ours has a concat within a concat.
    """
    tree = rebuild_tree(tree, _opened) if flat else tree
    ordered: list[Layer] = []
    depth = 0
    for stage in reversed(tree.stages):
        depth, layers = _walk(stage.body, stage.name, depth)
        ordered += layers
    return [path for _, path in sorted(ordered, key=lambda layer: -layer[0])]


def _opened(node: Node) -> Node:
    if not isinstance(node, Concat):
        return node
    return replace(node, branches=tuple(replace(b, nodes=tuple(map(_open, b.nodes))) for b in node.branches))


def _open(node: Node) -> Node:
    return _Open(node.branches) if isinstance(node, Concat) else node


def _walk(node: Node, path: str, depth: int) -> tuple[int, list[Layer]]:
    """(depth of the node's first layer, its layers with tensors), `depth` being that of the layer after it."""
    match node:
        case Chain(names=("dw", "pw")):
            return _separable(node, path, depth)
        case Chain():
            return _chain(node, path, depth)
        case _Open():
            return _side_by_side([(join(path, name), branch) for name, branch in children(node)], depth)
        case Concat():
            return _side_by_side([(join(path, name), branch) for name, branch in children(node)], depth + 1)
        case Residual():
            return _residual(node, path, depth)
        case Conv():
            return _convolution(node, path, depth)
        case Norm():
            return depth + 1, [(depth + 1, path)]
        case _:
            return depth + 1, []


def _chain(node: Chain, path: str, depth: int) -> tuple[int, list[Layer]]:
    layers: list[Layer] = []
    for name, child in reversed(list(children(node))):
        depth, more = _walk(child, join(path, name), depth)
        layers += more
    return depth, layers


def _side_by_side(parts: list[tuple[str, Node]], depth: int) -> tuple[int, list[Layer]]:
    walked = [_walk(part, path, depth) for path, part in parts]
    return max(first for first, _ in walked), [layer for _, layers in walked for layer in layers]


def _convolution(node: Conv, path: str, depth: int) -> tuple[int, list[Layer]]:
    depth += bool(node.act)
    layers: list[Layer] = []
    if isinstance(node.norm, Norm):
        depth += 1
        layers.append((depth, f"{path}.bn"))
    return depth + 1, [*layers, (depth + 1, f"{path}.conv")]


def _separable(node: Chain, path: str, depth: int) -> tuple[int, list[Layer]]:
    pointwise = node.nodes[1]
    assert isinstance(pointwise, Conv), "a separable convolution ends in a 1x1"
    depth, layers = _convolution(pointwise, f"{path}.pw", depth)
    return depth, [(at, layer.replace(".pw.conv", ".dw.conv")) for at, layer in layers]


def _residual(node: Residual, path: str, depth: int) -> tuple[int, list[Layer]]:
    depth += node.act + 1  # the activation, and the layer that adds
    up = [(depth + 1, f"{path}.up.conv")] if node.project else []
    first, body = _walk(node.body, join(path, "body"), depth + node.project)
    if node.shortcut is None:
        return first, up + body
    beside, shortcut = _walk(node.shortcut, join(path, "shortcut"), depth)
    return max(first, beside), up + body + shortcut
