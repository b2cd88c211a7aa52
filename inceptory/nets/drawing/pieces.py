"""The geometry of the picture: boxes, columns, forks and shortcuts as SVG, whatever they stand for.

The picture is built from pieces. A piece knows how far it extends to both sides of the vertical
line of flow through it; columns, forks and residual blocks put pieces together into larger ones.
All lengths are SVG user units, one pixel at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from xml.sax.saxutils import escape

from inceptory.system.outputs import MARK

FONT = "'Segoe UI', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
SMALL, WORDS = 12, 13
"""Sizes of text: shapes and notes; the first line of a box."""
LINE = 16
"""From one line of a box to the next."""
INSET = 10
"""From the border of a box to its text."""
BOX = 116
"""Width of a box whose text does not need more."""
GAP = 18
"""Between pieces above each other, room for an arrow."""
NARROW, WIDE = " .,:;'|/()-ijlftr", "mwMW%+@"
"""Letters that are narrower or wider than the rest."""
BESIDE = 16
"""Between pieces side by side."""

STYLE = (
    "text{fill:#1d2733;font-size:12px;text-anchor:middle}"
    ".b{font-size:13px;font-weight:bold}.l{text-anchor:start}.n{font-size:15px;font-weight:bold;text-anchor:start}"
    ".t{font-size:24px;font-weight:bold;text-anchor:start}.i{font-style:italic}"
    ".f{fill:none;stroke:#5a6675;stroke-width:1.5}.a{marker-end:url(#tip)}"
    ".panel{fill:#fff;stroke:#d5dbe3}.aux{stroke-dasharray:6 4;stroke:#8a96a5}"
    ".join rect{fill:#4b5868}.join text{fill:#fff}.io rect{fill:#1d2733}.io text{fill:#fff}"
    ".scale rect,.add circle{fill:#fff;stroke:#5a6675;stroke-width:1.5}.times rect{fill:#e4e9f0}"
)
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
    ' markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0L8,4L0,8z" fill="#5a6675"/></marker>'
)
"""Classes: text b(ox), l(eft), n(ame), t(itle), i(talic); lines f(low), a(rrow)."""


@dataclass(frozen=True)
class Piece:
    """A part of the picture; the flow enters it at (0, 0) and leaves it at (0, height)."""

    left: float
    right: float
    height: float
    marks: str
    tip: bool = True
    """Whether a line that leads here ends in an arrow: not where it goes on as a line."""


def text_width(text: str, size: float, bold: bool = False) -> float:
    """A width that the text does not exceed, whichever of the fonts is used (DejaVu Sans is the widest)."""
    ems = sum(0.42 if c in NARROW else 1.0 if c in WIDE else 0.8 if c.isupper() else 0.66 for c in text)
    return ems * size * (1.1 if bold else 1)


def at(x: float, y: float, marks: str) -> str:
    """The marks moved by x and y."""
    return f'<g transform="translate({x:g},{y:g})">{marks}</g>'


def write(x: float, y: float, text: str, style: str = "") -> str:
    """One line of text; without a style it is small and centred on x."""
    chosen = f' class="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}"{chosen}>{escape(text)}</text>'


def line(path: str, *, tip: bool = False) -> str:
    """A stroke of the flow."""
    return f'<path class="{"f a" if tip else "f"}" d="{path}"/>'


def box(kind: str, lines: Sequence[str], *, least: int = BOX) -> Piece:
    """A box with its first line in bold."""
    sizes = [text_width(text, SMALL if i else WORDS, bold=not i) for i, text in enumerate(lines)]
    width = max(least, 2 * ceil(max(sizes) / 2 + INSET))
    height = LINE * len(lines) + 10
    marks = [f'<rect x="{-width / 2:g}" y="0" width="{width}" height="{height}" rx="4"/>']
    marks += [write(0, LINE * i + LINE + 1, text, "" if i else "b") for i, text in enumerate(lines)]
    return Piece(width / 2, width / 2, height, f'<g class="{kind}">{"".join(marks)}</g>')


def pill(kind: str, text: str) -> Piece:
    """A short text with round ends."""
    piece = box(kind, [text], least=0)
    return replace(piece, marks=piece.marks.replace('rx="4"', 'rx="13"'))


def column(pieces: Sequence[Piece]) -> Piece:
    """Pieces above each other with arrows between them; nothing at all is a plain line."""
    marks, y = [], 0.0
    for i, piece in enumerate(pieces):
        if i:
            marks.append(line(f"M0,{y:g}v{GAP}", tip=piece.tip))
            y += GAP
        marks.append(at(0, y, piece.marks))
        y += piece.height
    left, right = (max((getattr(piece, side) for piece in pieces), default=0) for side in ("left", "right"))
    return Piece(left, right, y, "".join(marks), tip=bool(pieces) and pieces[0].tip)


def fork(branches: Sequence[Piece], label: str) -> Piece:
    """Branches side by side between the line that feeds them and the bar that joins them."""
    span = sum(branch.left + branch.right for branch in branches) + BESIDE * (len(branches) - 1)
    wide = max(span, text_width(label, SMALL) + 2 * INSET)
    bottom = GAP + max(branch.height for branch in branches) + GAP
    x, middles, marks = -span / 2, list[float](), list[str]()
    for branch in branches:
        x += branch.left
        middles.append(x)
        marks.append(line(f"M{x:g},0v{GAP}", tip=branch.tip))
        marks.append(at(x, GAP, branch.marks))
        marks.append(line(f"M{x:g},{GAP + branch.height:g}V{bottom:g}", tip=True))
        x += branch.right + BESIDE
    marks.append(line(f"M{middles[0]:g},0H{middles[-1]:g}"))
    bar = f'<rect x="{-wide / 2:g}" y="0" width="{wide:g}" height="22" rx="4"/>{write(0, 15, label)}'
    marks.append(at(0, bottom, f'<g class="join">{bar}</g>'))
    return Piece(wide / 2, wide / 2, bottom + 22, "".join(marks), tip=False)


def residual(body: Piece, shortcut: Piece | None) -> Piece:
    """A body on the line of flow, its shortcut to the right, the sum below; None is the identity."""
    beside = shortcut or Piece(0, text_width("identity", SMALL) + 8, 0, write(8, 4, "identity", "l i"), tip=False)
    x = max(body.right, 20) + 2 * BESIDE + beside.left
    add = GAP + max(body.height, beside.height) + GAP + 13
    middle = (add - beside.height) / 2
    marks = [
        line(f"M0,0v{GAP}", tip=body.tip),
        at(0, GAP, body.marks),
        line(f"M0,{GAP + body.height:g}V{add - 13:g}", tip=True),
        f'<g class="add"><circle cx="0" cy="{add:g}" r="12"/>{write(0, add + 5, "+", "b")}</g>',
        line(f"M0,0H{x:g}V{middle:g}", tip=beside.tip),
        at(x, middle, beside.marks),
        line(f"M{x:g},{middle + beside.height:g}V{add:g}H13", tip=True),
    ]
    return Piece(max(body.left, 20), x + beside.right, add + 12, "".join(marks), tip=False)


def document(title: str, style: str, width: int, height: int, marks: str) -> str:
    """The marks as an SVG document of this size with its own background, for light and dark pages."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="{FONT}" role="img"><title>{escape(title)}</title><metadata>{MARK}</metadata>'
        f"<style>{STYLE}{style}</style>"
        f'<defs>{TIP}</defs><rect width="{width}" height="{height}" rx="12" fill="#f4f6f9"/>{marks}</svg>\n'
    )
