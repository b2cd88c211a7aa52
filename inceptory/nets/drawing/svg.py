"""A network as one SVG: every stage with its branches, kernels, filters and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from inceptory.nets.arithmetic import Row, Shape, leaf_shape, projection, steps, trace
from inceptory.nets.blocks import (
    LRN,
    SE,
    Act,
    Aux,
    Chain,
    Concat,
    Conv,
    Dropout,
    GridPool,
    Leaf,
    Linear,
    Node,
    Norm,
    Pool,
    Residual,
)
from inceptory.nets.catalogue import Plan, architecture
from inceptory.nets.drawing.pieces import (
    BESIDE,
    GAP,
    SMALL,
    Piece,
    at,
    box,
    column,
    document,
    fork,
    line,
    pill,
    residual,
    text_width,
    write,
)
from inceptory.nets.drawing.table import (
    ACTIVATIONS,
    Run,
    head_nodes,
    headline,
    macs_text,
    runs,
    shape_text,
    totals,
    words,
)

GUTTER = 224
"""Width left of the flow, for names and numbers of the stages."""
LEAST = 1000
"""The picture is no narrower than this."""
MARGIN = 20
"""Around the panels."""

COLOURS = {
    "conv": ("convolution", "#d6e6fb", "#3f74b5"),
    "point": ("1x1 convolution", "#eef5fe", "#7fa8d6"),
    "depth": ("depthwise convolution", "#e3dcf8", "#7a62bd"),
    "max": ("max pool", "#fbdccd", "#c46a3a"),
    "avg": ("average pool", "#fdefc6", "#bd922a"),
    "norm": ("normalisation", "#d9efd9", "#4f9358"),
    "act": ("activation", "#ececec", "#8a8a8a"),
    "se": ("squeeze and excitation", "#cfeeee", "#2f8f8f"),
    "drop": ("dropout", "#f7f7f7", "#a0a0a0"),
    "linear": ("linear", "#f6d9e6", "#b3527f"),
}
"""Kind: its name in the legend, fill, border."""
STYLE = "".join(f".{kind} rect{{fill:{fill};stroke:{border}}}" for kind, (_, fill, border) in COLOURS.items())


@dataclass(frozen=True)
class Usual:
    """What most of the network does; boxes note where they differ."""

    traits: Mapping[str, tuple[bool, bool, bool]]
    """Kind of convolution: with bias, batch norm, activation."""
    pad: str
    activation: str
    """Name of the one that the network has."""


def kind_of(node: Leaf) -> str:
    """The key of a node in COLOURS."""
    match node:
        case Conv(kernel=kernel, multiplier=multiplier):
            return "depth" if multiplier else "point" if kernel == (1, 1) else "conv"
        case Pool(kind="max"):
            return "max"
        case Pool() | GridPool():
            return "avg"
        case Norm() | LRN():
            return "norm"
        case Act():
            return "act"
        case SE():
            return "se"
        case Dropout():
            return "drop"
        case Linear():
            return "linear"


def traits(node: Conv) -> tuple[bool, bool, bool]:
    """Whether a convolution has a bias, batch norm, an activation."""
    return bool(node.bias), bool(node.norm), bool(node.act)


def usual(plan: Plan) -> Usual:
    """The most frequent kinds of convolution and padding of a network."""
    nodes = leaves(plan)
    convs = [node for node in nodes if isinstance(node, Conv)]
    counted = {kind: Counter(traits(c) for c in convs if kind_of(c) == kind) for kind in map(kind_of, convs)}
    pads = Counter(str(conv.pad) for conv in convs if conv.kernel != (1, 1))
    traits_of = {kind: count.most_common(1)[0][0] for kind, count in counted.items()}
    activation = next((str(conv.act) for conv in convs if conv.act in ACTIVATIONS), "relu")
    return Usual(traits_of, pads.most_common(1)[0][0], ACTIVATIONS[activation])


def leaves(plan: Plan) -> list[Leaf]:
    """Every leaf of the network in order of execution."""
    parts = steps(plan.tree, plan.in_channels, plan.image, plan.image)
    return [step.node for _, _, inside in parts for step in inside]


def notes(node: Leaf, common: Usual) -> list[str]:
    """Where a box differs from what is usual in its network, one line each."""
    differences: list[str] = []
    if isinstance(node, Conv):
        pairs = zip(("bias", "norm", common.activation), traits(node), common.traits[kind_of(node)], strict=True)
        differences = [word if has else f"no {word}" for word, has, most in pairs if has != most]
    if isinstance(node, Conv | Pool) and node.kernel != (1, 1) and node.pad != common.pad:
        differences.append(f"{node.pad} padding")
    if isinstance(node, Linear) and not node.bias:
        differences.append("no bias")
    return differences


def draw(node: Node, before: Shape, common: Usual) -> Piece:
    """A tree as a piece, fed with a map of this shape."""
    match node:
        case Chain(nodes):
            return column(draw_chain(nodes, before, common))
        case Concat(branches, se):
            after, _ = trace(node, before)
            pieces = [draw(branch, before, common) for branch in branches]
            joint = fork(pieces, f"concat {shape_text(after)}")
            return joint if se is None else column([joint, draw(se, after, common)])
        case Residual():
            return draw_residual(node, before, common)
        case _:
            lines = [words(node), *notes(node, common)]
            if isinstance(node, Conv | Pool | GridPool):
                lines.insert(1, shape_text(leaf_shape(node, before)))
            return box(kind_of(node), lines)


def draw_chain(nodes: Sequence[Node], before: Shape, common: Usual) -> list[Piece]:
    """Nodes one after another, a piece each."""
    pieces = []
    for node in nodes:
        pieces.append(draw(node, before, common))
        before, _ = trace(node, before)
    return pieces


def draw_residual(node: Residual, before: Shape, common: Usual) -> Piece:
    """Body, projection, squeeze-and-excitation and scale on the line; the shortcut beside them."""
    after, _ = trace(node, before)
    inside, _ = trace(node.body, before)
    body = [draw(node.body, before, common)]
    if node.project:
        body.append(draw(projection(node, after[0]), inside, common))
    if node.se is not None:
        body.append(draw(node.se, after, common))
    if node.scale != 1:
        body.append(pill("scale", f"x {node.scale:g}"))
    shortcut = None if node.shortcut is None else draw(node.shortcut, before, common)
    whole = residual(column(body), shortcut)
    return column([whole, draw(Act(), after, common)]) if node.act else whole


@dataclass(frozen=True)
class Panel:
    """One stage or head of the picture: its text on the left, its drawing on the line of flow."""

    names: tuple[str, ...]
    lines: tuple[str, ...]
    content: Piece
    aside: bool = False
    """Beside the flow, as an auxiliary head."""

    @property
    def shift(self) -> float:
        """How far right of the flow the content sits."""
        return self.content.left + 4 * BESIDE if self.aside else 0


def counts(row: Row, each: str = "") -> tuple[str, ...]:
    """Shape, parameters and multiply-adds of a stage, a line each."""
    numbers = (f"{row.parameters:,} parameters{each}", f"{macs_text(row.macs)} multiply-adds{each}")
    return (shape_text(row.shape), *(numbers if row.parameters else ()))


def stage_panel(run: Run, common: Usual) -> Panel:
    """The panel of a stage, or of several equal ones."""
    lines = (run.title, *counts(run.row, " each" if len(run.names) > 1 else ""))
    return Panel(run.names, lines, draw(run.body, run.before, common))


def aux_panel(aux: Aux, row: Row, before: Shape, common: Usual) -> Panel:
    """The panel of an auxiliary head, which hangs on the stage above it."""
    body = aux.body.nodes if isinstance(aux.body, Chain) else (aux.body,)
    pieces = draw_chain((*body, aux.classifier), before, common)
    lines = (aux.name, f"auxiliary head on {aux.after}", *counts(row), f"adds {aux.weight:g} of its loss")
    return Panel((aux.name,), lines, column(pieces), aside=True)


def head_panel(plan: Plan, row: Row, before: Shape, common: Usual) -> Panel:
    """The panel of the head: global average pool to the last vector."""
    pooled: Shape = (before[0], 1, 1)
    pieces = draw_chain(head_nodes(plan.tree.head), pooled, common)
    average = box("avg", ["global average", shape_text(pooled)])
    return Panel(("head",), ("head", *counts(row)), column([average, *pieces]))


def panels(plan: Plan, common: Usual) -> list[Panel]:
    """All panels from top to bottom."""
    *auxiliary, last = plan.rows()[len(plan.tree.stages) :]
    parts: list[Panel] = []
    stages = runs(plan)
    for run in stages:
        parts.append(stage_panel(run, common))
        for aux, row in zip(plan.tree.aux, auxiliary, strict=True):
            if aux.after == run.names[-1]:
                parts.append(aux_panel(aux, row, run.row.shape, common))
    return [*parts, head_panel(plan, last, stages[-1].row.shape, common)]


def frame(panel: Panel, left: float, right: float) -> Piece:
    """A panel with its border from -left to right and its words at its left edge."""
    content, x = panel.content, panel.shift
    below = 24 + 18 * len(panel.lines)
    height = max(content.height + 2 * GAP, below + (34 if len(panel.names) > 1 else -2))
    top = (height - content.height) / 2
    style = "panel aux" if panel.aside else "panel"
    marks = [f'<rect class="{style}" x="{-left:g}" y="0" width="{left + right:g}" height="{height:g}" rx="8"/>']
    marks += [write(14 - left, 24 + 18 * i, text, "l" if i else "n") for i, text in enumerate(panel.lines)]
    if len(panel.names) > 1:
        badge = pill("times", f"x {len(panel.names)}")
        marks.append(at(14 - left + badge.left, below - 4, badge.marks))
    if panel.aside:
        marks += [line(f"M0,0V{height:g}"), line(f"M0,8H{x:g}V{top:g}", tip=True)]
    else:
        marks += [line(f"M0,0V{top:g}", tip=content.tip), line(f"M0,{top + content.height:g}V{height:g}")]
    names = f"<title>{escape(', '.join(panel.names))}</title>"
    return Piece(left, right, height, f"<g>{names}{''.join(marks)}{at(x, top, content.marks)}</g>", tip=False)


def legend_labels(plan: Plan, common: Usual) -> list[tuple[str, str]]:
    """(kind, label) of each kind of node that occurs, with what its convolutions carry."""
    summed = [Act() for stage in plan.tree.stages if isinstance(stage.body, Residual) and stage.body.act]
    present = {"avg", *map(kind_of, (*leaves(plan), *head_nodes(plan.tree.head), *summed))}
    labels = []
    for kind, (name, _, _) in COLOURS.items():
        name = common.activation if kind == "act" else name
        carried = zip(("bias", "batch norm", common.activation), common.traits.get(kind, ()), strict=False)
        labels.append((kind, " + ".join([name, *(word for word, has in carried if has)])))
    return [(kind, label) for kind, label in labels if kind in present]


def legend(labels: Sequence[tuple[str, str]], width: float) -> Piece:
    """A chip of colour before each label, in rows no wider than this."""
    x, y, marks = 0.0, 0.0, list[str]()
    for kind, label in labels:
        wide = 22 + text_width(label, SMALL) + 14
        if x + wide > width:
            x, y = 0, y + 24
        chip = f'<g class="{kind}"><rect x="0" y="0" width="16" height="16" rx="3"/></g>'
        marks.append(at(x, y, chip + write(22, 13, label, "l")))
        x += wide
    return Piece(0, width, y + 24, "".join(marks))


def facts(plan: Plan, common: Usual) -> str:
    """One line on what no box repeats: padding, batch norm, divisor."""
    nodes = leaves(plan)
    sentences = [f'Padding is "{common.pad}" unless a box says otherwise.']
    for norm in [node.norm for node in nodes if isinstance(node, Conv) and isinstance(node.norm, Norm)][:1]:
        eps = f"{norm.eps:g}".replace("e-0", "e-")
        sentences.append(f"Batch norm: eps {eps}, {'with' if norm.gamma else 'without'} gamma.")
    if any(isinstance(node, Pool) and node.kind == "avg" and node.divisor == "window" for node in nodes):
        sentences.append("Average pools count the padding.")
    return " ".join(sentences)


def heading(plan: Plan, common: Usual, width: float) -> Piece:
    """Title, totals, facts and legend; its origin is its top left corner."""
    reading = "A box: kernel/stride and filters, then the map that it gives as channels x height x width."
    lines = [headline(plan), "; ".join(totals(plan)), reading, facts(plan, common)]
    marks = [write(0, 24, architecture(plan.architecture).title, "t")]
    marks += [write(0, 50 + 19 * i, text, "l") for i, text in enumerate(lines)]
    key = legend(legend_labels(plan, common), width)
    return Piece(0, width, 128 + key.height, "".join([*marks, at(0, 128, key.marks)]))


def ends(plan: Plan) -> tuple[Piece, Piece]:
    """What goes in and what comes out."""
    head = plan.tree.head
    length = " of length 1" if head.normalise else ""
    image = shape_text((plan.in_channels, plan.image, plan.image))
    return pill("io", f"image {image}"), pill(
        "io", f"{plan.classes} logits" if head.classifier else f"embedding{length}"
    )


def svg(plan: Plan) -> str:
    """The whole network as one self-contained SVG document, from the image down to its heads."""
    common = usual(plan)
    parts = panels(plan, common)
    left = GUTTER + max(panel.content.left - panel.shift for panel in parts)
    right = max(panel.shift + panel.content.right + 2 * BESIDE for panel in parts)
    spare = max(LEAST - 2 * MARGIN - left - right, 0) / 2
    left, right = left + spare, right + spare
    first, last = ends(plan)
    flow = column([first, *(frame(panel, left, right) for panel in parts), last])
    top = heading(plan, common, left + right)
    marks = at(MARGIN, 16, top.marks) + at(MARGIN + left, 26 + top.height, flow.marks)
    title = f"{architecture(plan.architecture).title}: {headline(plan)}"
    return document(
        title, STYLE, round(left + right + 2 * MARGIN), round(top.height + flow.height + 26 + MARGIN), marks
    )
