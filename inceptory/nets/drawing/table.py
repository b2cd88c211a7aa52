"""A network as text: the words for its nodes, its table, the table of the whole catalogue.

Everything here is read off the tree and its arithmetic. The picture uses the same words.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from inceptory.nets.arithmetic import Row, Shape
from inceptory.nets.blocks import (
    LRN,
    SE,
    Act,
    Chain,
    Concat,
    Conv,
    Dropout,
    GridPool,
    Head,
    Leaf,
    Linear,
    Node,
    Norm,
    Pool,
    Residual,
)
from inceptory.nets.catalogue import Plan, architecture, catalogue
from inceptory.nets.catalogue import plan as decide

WIDEST = 100
"""Columns of a terminal that a table may take."""

TIMES = {2: "double", 3: "triple"}

ACTIVATIONS = {"relu": "ReLU", "silu": "SiLU"}


def window(kernel: tuple[int, int], stride: int = 1) -> str:
    """A kernel as the papers write it, height x width: `1x7`, `3x3/2`."""
    size = f"{kernel[0]}x{kernel[1]}"
    return f"{size}/{stride}" if stride > 1 else size


def words(node: Leaf) -> str:
    """One leaf of a tree in words: `3x3/2 32`, `max pool 3x3/2`, `depthwise 3x3`, `linear 1000`."""
    match node:
        case Conv(multiplier=0):
            return f"{window(node.kernel, node.stride)} {node.filters}"
        case Conv():
            several = f" x{node.multiplier}" if node.multiplier > 1 else ""
            return f"depthwise {window(node.kernel, node.stride)}{several}"
        case Pool(kind, kernel, stride):
            return f"{kind} pool {window((kernel, kernel), stride)}"
        case GridPool(grid, pool):
            return f"{words(pool) if pool else 'avg pool'} to {grid}x{grid}"
        case Linear(features):
            return f"linear {features}"
        case Dropout(rate):
            return f"dropout {100 * rate:g} %"
        case SE(ratio):
            return f"squeeze-excite /{ratio}"
        case LRN(size):
            return f"LRN over {size}"
        case Norm():
            return "batch norm"
        case Act(kind):
            return ACTIVATIONS[kind or "relu"]


def shape_text(shape: Shape) -> str:
    """Channels, height, width: `256 x 35 x 35`."""
    return " x ".join(map(str, shape))


def macs_text(macs: int) -> str:
    """Multiply-adds with a unit: `5.713 G`, `118.0 M`, `10.2 k`."""
    if macs >= 1e9:
        return f"{macs / 1e9:.3f} G"
    if macs >= 1e6:
        return f"{macs / 1e6:.1f} M"
    return f"{macs / 1e3:.1f} k" if macs >= 1e3 else str(macs)


def summary(node: Node) -> str:
    """What a stage is, on one line: `1x1 | 5x5 | double 3x3 | pooled 1x1`.

    A residual block reads `x + 0.17 (1x1 | 3x3 | double 3x3)`. Inside modules the filters and the
    1x1 convolutions that only make a branch thin are left out; the picture shows them.
    """
    match node:
        case Chain(nodes) if not is_separable(node):
            return ", ".join(_folded([_brief(child, filters=True) for child in nodes if not isinstance(child, Act)]))
        case Concat(branches):
            return " | ".join(_branch(branch) for branch in branches)
        case Residual():
            return _residual(node)
        case _:
            return _brief(node, filters=True)


def is_separable(node: Chain) -> bool:
    """Whether the chain is a depthwise convolution and the 1x1 that mixes its channels."""
    match node.nodes:
        case (Conv(multiplier=several), Conv(kernel=(1, 1))):
            return several > 0
        case _:
            return False


def _brief(node: Node, *, filters: bool = False) -> str:
    match node:
        case Conv(multiplier=0):
            return words(node) if filters else window(node.kernel, node.stride)
        case Chain((Conv() as depth, Conv() as point)) if is_separable(node):
            width = f" {point.filters}" if filters else ""
            return f"sep {window(depth.kernel, depth.stride)}{width}"
        case Chain():
            return _branch(node)
        case Concat(branches):
            return " + ".join(_branch(branch) for branch in branches)
        case Residual():
            return f"({_residual(node)})"
        case Pool(kind, kernel, stride) if not filters:
            return f"{kind} {window((kernel, kernel), stride)}"
        case _:
            return words(node)


def _branch(branch: Chain) -> str:
    match branch.nodes:
        case (Pool(kind="avg", stride=1), Conv(kernel=(1, 1))):
            return "pooled 1x1"
        case (Pool(stride=1), Conv(kernel=(1, 1))):
            return "max-pooled 1x1"
        case (Conv(kernel=(1, 1), stride=1, multiplier=0), *rest) if rest:
            nodes: Sequence[Node] = rest
        case _:
            nodes = branch.nodes
    parts = [_brief(node) for node in nodes if not isinstance(node, Act)]
    # Plain kernels read well without commas: 1x7 7x1.
    return (" " if all(isinstance(node, Conv) for node in nodes) else ", ").join(_folded(parts))


def _folded(parts: Sequence[str]) -> list[str]:
    """Repeated parts in one: double 3x3; double 7x1 1x7."""
    half = len(parts) // 2
    if half > 1 and list(parts) == list(parts[:half]) * 2:
        return ["double", *parts[:half]]
    groups = [(part, len(list(same))) for part, same in groupby(parts)]
    return [part if times == 1 else f"{TIMES.get(times, f'{times} times')} {part}" for part, times in groups]


def _residual(node: Residual) -> str:
    shortcut = "x" if node.shortcut is None else _brief(node.shortcut)
    scale = "" if node.scale == 1 else f"{node.scale:g} "
    body = " | ".join(map(_branch, node.body.branches)) if isinstance(node.body, Concat) else _brief(node.body)
    return f"{shortcut} + {scale}({body})"


def head_nodes(head: Head) -> list[Leaf]:
    """What comes after the global average pool, in order, one leaf after another."""
    dropout = [Dropout(head.dropout)] if head.dropout else []
    rest = [node for node in (head.neck, head.classifier) if node is not None]
    return [*dropout, *(leaf for node in rest for leaf in _leaves(node))]


def _leaves(node: Node) -> list[Leaf]:
    if isinstance(node, Chain):
        return [leaf for child in node.nodes for leaf in _leaves(child)]
    assert not isinstance(node, Concat | Residual), "heads do not branch"
    return [node]


@dataclass(frozen=True)
class Run:
    """Consecutive stages that are equal in every number: listed and drawn as one."""

    names: tuple[str, ...]
    body: Node
    before: Shape
    row: Row
    """One of the stages in numbers."""

    @property
    def title(self) -> str:
        """`Mixed_5b`, or for several `block35_1 ... 10`."""
        first, last = self.names[0], self.names[-1]
        if len(self.names) == 1:
            return first
        return f"{first} ... {last.removeprefix(_stem(first))}"


def _stem(name: str) -> str:
    """The name without the number that counts it: `block35_` of block35_1, `Mixed_` of Mixed_6b."""
    return name[:-1].rstrip("0123456789") if name[-1].isalpha() else name.rstrip("0123456789")


def runs(plan: Plan) -> list[Run]:
    """The stages, equal neighbours together. A stage that feeds an auxiliary head ends its run."""
    rows = {row.name: row for row in plan.rows()}
    feeds = {aux.after for aux in plan.tree.aux}
    merged: list[Run] = []
    before: Shape = (plan.in_channels, plan.image, plan.image)
    for stage in plan.tree.stages:
        last = merged[-1] if merged else None
        if last and (last.body, last.before) == (stage.body, before) and last.names[-1] not in feeds:
            merged[-1] = replace(last, names=(*last.names, stage.name))
        else:
            merged.append(Run((stage.name,), stage.body, before, rows[stage.name]))
        before = rows[stage.name].shape
    return merged


def headline(plan: Plan) -> str:
    """Name, dialect, image, classes and the options that are not the dialect's own, on one line."""
    image = shape_text((plan.in_channels, plan.image, plan.image))
    end = f"{plan.classes} classes" if plan.classes else "an embedding"
    usual = decide(plan.architecture, dialect=plan.dialect).options()
    shown = ("classes", "image", "in_channels")
    other = [_option(key, value) for key, value in plan.options().items() if key not in shown and value != usual[key]]
    return ", ".join([f"{plan.architecture} ({plan.dialect}): {image} to {end}", *other])


def _option(key: str, value: object) -> str:
    return key if value is True else f"{key} {value}"


def totals(plan: Plan) -> tuple[str, str]:
    """Two lines: parameters and statistics of the whole network, multiply-adds for one picture."""
    numbers = plan.numbers(stages=False)
    return (
        f"{numbers['parameters']:,} parameters + {numbers['statistics']:,} statistics = {numbers['total']:,}",
        f"{macs_text(numbers['macs'])} multiply-adds for one picture",
    )


def network_table(plan: Plan) -> str:
    """The network stage by stage, at most 100 columns wide; a row marked x10 counts ten equal stages."""
    heads = plan.rows()[len(plan.tree.stages) :]
    table = [["stage", "shape", "what it is", "parameters", "MACs"]]
    table += [_cells(_run_name(run), run.row, summary(run.body), len(run.names)) for run in runs(plan)]
    for aux, row in zip(plan.tree.aux, heads, strict=False):
        what = ", ".join([f"on {aux.after}: {summary(aux.body)}", words(aux.classifier)])
        table.append(_cells(aux.name, row, what))
    table.append(_cells("head", heads[-1], ", ".join(["average", *map(words, head_nodes(plan.tree.head))])))
    fitted = _fit(table, column=2)
    return "\n".join([headline(plan), "", *aligned(fitted, right={3, 4}), "", *totals(plan)])


def _run_name(run: Run) -> str:
    return run.title if len(run.names) == 1 else f"{run.title} x{len(run.names)}"


def _cells(name: str, row: Row, what: str, times: int = 1) -> list[str]:
    return [name, shape_text(row.shape), what, f"{times * row.parameters:,}", macs_text(times * row.macs)]


def _fit(table: list[list[str]], column: int) -> list[list[str]]:
    """The same table with one column cut so that the whole is no wider than WIDEST."""
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    room = WIDEST - sum(widths) + widths[column] - 2 * (len(widths) - 1)
    return [
        [textwrap.shorten(cell, room, placeholder=" ...") if i == column else cell for i, cell in enumerate(row)]
        for row in table
    ]


def aligned(table: Sequence[Sequence[str]], right: Iterable[int]) -> list[str]:
    """Cells as columns two spaces apart, a rule under the first row."""
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    pad = [f">{width}" if i in set(right) else width for i, width in enumerate(widths)]
    lines = ["  ".join(f"{cell:{p}}" for cell, p in zip(row, pad, strict=True)) for row in table]
    return [line.rstrip() for line in (lines[0], "-" * len(lines[0]), *lines[1:])]


def _catalogue_cells(between: str) -> list[list[str]]:
    """A row for each architecture: its first dialect at the native image."""
    table = [["name", "dialects", "image", "classes", "parameters", "MACs", "year"]]
    for name in catalogue():
        network = architecture(name)
        numbers = decide(name).numbers(stages=False)
        figures = [str(numbers["image"]), str(numbers["classes"]), f"{numbers['parameters']:,}"]
        table.append([name, between.join(network.dialects), *figures, macs_text(numbers["macs"]), str(network.year)])
    return table


def catalogue_table() -> str:
    """Every architecture on a line: the numbers are those of its first dialect at its native image."""
    return "\n".join(aligned(_catalogue_cells(" "), right=range(2, 7)))


def catalogue_markdown(folder: str = "docs/networks/") -> str:
    """`catalogue_table` in Markdown; each name links to its page in `folder`."""
    header, *rows = _catalogue_cells(", ")
    linked = [[f"[{name}]({folder}{name}.md)", *cells] for name, *cells in rows]
    return markdown_table([header, *linked], right=range(2, 7))


def markdown_table(table: Sequence[Sequence[str]], right: Iterable[int]) -> str:
    """Rows as a Markdown table, the first one its header; columns in `right` hold numbers."""
    flush = set(right)
    rule = ["---:" if i in flush else "---" for i in range(len(table[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (table[0], rule, *table[1:]))
