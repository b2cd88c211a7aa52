"""What follows from a tree: the size of every map, the shape of every tensor, the multiply-adds.

Pure Python; `trace` is the only walk, everything else is read off its steps. Expects an inherited
tree (`transform.inherit`): no field of a node is None any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod

from inceptory.nets.blocks import (
    SE,
    Chain,
    Concat,
    Conv,
    GridPool,
    Head,
    Leaf,
    Linear,
    Node,
    Norm,
    Pool,
    Residual,
    Tree,
    children,
)

Shape = tuple[int, int, int]
"""Channels, height, width."""


class MapVanished(Exception):
    """A window no longer fits the map: the image is too small for this network."""


@dataclass(frozen=True)
class Step:
    """One leaf of the tree at work: where it sits and the maps before and after it."""

    path: str
    node: Leaf
    before: Shape
    after: Shape


@dataclass(frozen=True)
class Row:
    """One stage or head of a network in numbers."""

    name: str
    shape: Shape
    parameters: int
    """Learnable values."""
    statistics: int
    """Running means and variances of batch norms."""
    macs: int
    """Multiply-adds of convolutions and linear layers for one picture."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding (before, after) that keeps ceil(size / stride) cells."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def fixed_padding(kernel: int, stride: int, pad: str) -> int | None:
    """Cells of padding on either side of every map; None where they depend on its size."""
    if pad == "same":
        # The padding repeats with the size, so `stride` sizes in a row show every case.
        sides = {cells for size in range(1, stride + 1) for cells in same_padding(size, kernel, stride)}
        return sides.pop() if len(sides) == 1 else None
    return kernel // 2 if pad == "symmetric" else 0


def output_size(size: int, kernel: int, stride: int, pad: str) -> int:
    """Cells along one side after a window; raises MapVanished where none is left."""
    match pad:
        case "same":
            out = -(-size // stride)
        case "symmetric":
            out = (size + 2 * (kernel // 2) - kernel) // stride + 1
        case "ceil":
            out = -(-(size - kernel) // stride) + 1
            # Caffe drops a last window that would start outside the map.
            out -= (out - 1) * stride >= size
        case _:
            out = (size - kernel) // stride + 1
    if out < 1:
        raise MapVanished(f"window {kernel} on a map of {size}")
    return out


def projection(node: Residual, channels: int) -> Conv:
    """The `up` of a residual block: biased 1x1 convolution to the width of the input."""
    return Conv(channels, (1, 1), pad="valid", bias=True, norm=False, act=False, init=node.init)


def trace(node: Node, before: Shape, path: str = "") -> tuple[Shape, list[Step]]:
    """(shape after the node, steps of its leaves in order of execution)."""
    match node:
        case Chain():
            return _trace_chain(node, before, path)
        case Concat():
            return _trace_concat(node, before, path)
        case Residual():
            return _trace_residual(node, before, path)
        case _:
            after = leaf_shape(node, before)
            return after, [Step(path, node, before, after)]


def _trace_chain(node: Chain, before: Shape, path: str) -> tuple[Shape, list[Step]]:
    steps: list[Step] = []
    for name, child in children(node):
        before, more = trace(child, before, join(path, name))
        steps += more
    return before, steps


def _trace_concat(node: Concat, before: Shape, path: str) -> tuple[Shape, list[Step]]:
    traced = [trace(branch, before, join(path, f"branch{i}")) for i, branch in enumerate(node.branches)]
    maps = {shape[1:] for shape, _ in traced}
    assert len(maps) == 1, f"{path}: branches end in maps of {sorted(maps)}"
    after = (sum(shape[0] for shape, _ in traced), *maps.pop())
    steps = [step for _, branch in traced for step in branch]
    if node.se is not None:
        steps.append(Step(join(path, "se"), node.se, after, after))
    return after, steps


def _trace_residual(node: Residual, before: Shape, path: str) -> tuple[Shape, list[Step]]:
    target, shortcut = before, list[Step]()
    if node.shortcut is not None:
        target, shortcut = trace(node.shortcut, before, join(path, "shortcut"))
    after, steps = trace(node.body, before, join(path, "body"))
    if node.project:
        up = projection(node, target[0])
        steps.append(Step(join(path, "up"), up, after, leaf_shape(up, after)))
        after = leaf_shape(up, after)
    assert after == target, f"{path}: body ends in {after}, shortcut in {target}"
    if node.se is not None:
        steps.append(Step(join(path, "se"), node.se, after, after))
    return after, steps + shortcut


def leaf_shape(node: Leaf, before: Shape) -> Shape:
    """Shape after one leaf."""
    channels, height, width = before
    match node:
        case Conv(filters, (kh, kw), stride, pad, multiplier):
            out = channels * multiplier or filters
            return out, output_size(height, kh, stride, str(pad)), output_size(width, kw, stride, str(pad))
        case Pool(_, kernel, stride, pad):
            return (
                channels,
                output_size(height, kernel, stride, str(pad)),
                output_size(width, kernel, stride, str(pad)),
            )
        case GridPool(grid):
            return channels, grid, grid
        case Linear(features):
            return features, 1, 1
        case _:
            return before


def join(path: str, name: str) -> str:
    """Dotted path; empty parts vanish."""
    return f"{path}.{name}" if path and name else path or name


def tensors(step: Step) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    """(name, shape, learnable) of every tensor of one step, named as in the torch module."""
    channels = step.before[0]
    match step.node:
        case Conv(filters, kernel, _, _, multiplier, bias, norm):
            out = filters or channels * multiplier
            yield f"{step.path}.conv.weight", (out, 1 if multiplier else channels, *kernel), True
            if bias:
                yield f"{step.path}.conv.bias", (out,), True
            if isinstance(norm, Norm):
                yield from _norm_tensors(f"{step.path}.bn", norm, out)
        case Norm():
            yield from _norm_tensors(step.path, step.node, channels)
        case SE(ratio):
            squeezed = max(channels // ratio, 1)
            yield f"{step.path}.reduce.weight", (squeezed, channels), True
            yield f"{step.path}.expand.weight", (channels, squeezed), True
        case Linear(features, bias):
            yield f"{step.path}.weight", (features, prod(step.before)), True
            if bias:
                yield f"{step.path}.bias", (features,), True


def _norm_tensors(path: str, norm: Norm, channels: int) -> Iterator[tuple[str, tuple[int, ...], bool]]:
    if norm.gamma:
        yield f"{path}.weight", (channels,), True
    yield f"{path}.bias", (channels,), True
    yield f"{path}.running_mean", (channels,), False
    yield f"{path}.running_var", (channels,), False


def macs(step: Step) -> int:
    """Multiply-adds of one step for one picture: convolutions and linear layers only."""
    match step.node:
        case Conv() | Linear() | SE():
            weights = (shape for name, shape, _ in tensors(step) if name.endswith(".weight") and len(shape) > 1)
            cells = step.after[1] * step.after[2] if isinstance(step.node, Conv) else 1
            return cells * sum(prod(shape) for shape in weights)
        case _:
            return 0


def head_parts(head: Head) -> list[tuple[str, Node]]:
    """(path, node) of what comes after the global average pool, embedding first."""
    parts: list[tuple[str, Node]] = []
    if head.neck is not None:
        parts.append(("head.neck", head.neck))
    if head.classifier is not None:
        parts.append(("head.classifier", head.classifier))
    return parts


def trace_head(head: Head, before: Shape) -> tuple[Shape, list[Step]]:
    """The head on the last map: global average pool, neck, classifier."""
    before, steps = (before[0], 1, 1), list[Step]()
    for path, node in head_parts(head):
        before, more = trace(node, before, path)
        steps += more
    return before, steps


def reduction(node: Node) -> int:
    """The stride of a node as a whole: cells of its input from one cell of its output to the next."""
    match node:
        case Conv(stride=stride) | Pool(stride=stride):
            return stride
        case Chain(nodes):
            return prod(map(reduction, nodes))
        case Concat(branches):
            return reduction(branches[0])
        case Residual(body):
            return reduction(body)
        case _:
            return 1


def levels(tree: Tree) -> dict[int, str]:
    """Pixels of the image from one cell of a map to the next, and the last stage with that number, in order."""
    names, pixels = dict[int, str](), 1
    for stage in tree.stages:
        pixels *= reduction(stage.body)
        names[pixels] = stage.name
    return names


@cache
def steps(tree: Tree, channels: int, height: int, width: int) -> tuple[tuple[str, Shape, tuple[Step, ...]], ...]:
    """(name, shape after, steps) of each stage, auxiliary head and the head, for one picture."""
    parts: list[tuple[str, Shape, tuple[Step, ...]]] = []
    shape: Shape = (channels, height, width)
    for stage in tree.stages:
        shape, inside = trace(stage.body, shape, stage.name)
        parts.append((stage.name, shape, tuple(inside)))
    maps = {name: after for name, after, _ in parts}
    for aux in tree.aux:
        after, inside = trace(aux.body, maps[aux.after], f"{aux.name}.body")
        logits, last = trace(aux.classifier, after, f"{aux.name}.classifier")
        parts.append((aux.name, logits, (*inside, *last)))
    after, inside = trace_head(tree.head, shape)
    return (*parts, ("head", after, tuple(inside)))


def rows(tree: Tree, channels: int, size: int) -> list[Row]:
    """The network in numbers, stage by stage, at a square image; its heads come last."""
    return [_row(name, shape, inside) for name, shape, inside in steps(tree, channels, size, size)]


def _row(name: str, shape: Shape, inside: tuple[Step, ...]) -> Row:
    entries = [tensor for step in inside for tensor in tensors(step)]
    learnable = sum(prod(size) for _, size, learns in entries if learns)
    statistics = sum(prod(size) for _, size, learns in entries if not learns)
    return Row(name, shape, learnable, statistics, sum(macs(step) for step in inside))


def state_shapes(tree: Tree, channels: int, size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the network, in order; equals the torch state dict."""
    parts = steps(tree, channels, size, size)
    return {name: shape for _, _, inside in parts for step in inside for name, shape, _ in tensors(step)}


@cache
def minimum_image(tree: Tree, channels: int) -> int:
    """Smallest square image, in pixels, on which every window of the network still fits."""
    size = 1
    while not fits(tree, channels, size, size):
        size += 1
    return size


def fits(tree: Tree, channels: int, height: int, width: int) -> bool:
    """Whether an image of this size leaves every window of the network at least one cell."""
    shape: Shape = (channels, height, width)
    try:
        for stage in tree.stages:
            shape, _ = trace(stage.body, shape)
    except MapVanished:
        return False
    return True
