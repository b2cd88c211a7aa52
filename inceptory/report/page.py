"""Pieces of a page that is one file, opens without a network and runs nothing. Without torch.

Every piece takes plain text and gives HTML in which that text is escaped: no name of a class or
file can become an element.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from inceptory.errors import printable
from inceptory.system.outputs import MARK
from inceptory.system.text import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy: pictures that are in the page, its own style, and nothing else."""
THUMBNAIL = 160
"""Longest side of a picture of a mistake, in pixels."""
STYLE = """
:root{color-scheme:light dark;--ink:#1d2126;--dim:#5c6670;--line:#d9dee3;--paper:#fff;--wash:#f4f6f8;--bar:#cfe0f5;
--accent:#2c5f9e;--plot:none}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ea;--dim:#9aa5b0;--line:#363d45;--paper:#15181b;--wash:#1e2327;
--bar:#264766;--accent:#8ab8ee;--plot:invert(.9) hue-rotate(180deg)}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:66rem;background:var(--paper);color:var(--ink);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.15rem;margin:2.5rem 0 .6rem}
p{margin:.5rem 0;max-width:48rem}.dim,figcaption{color:var(--dim);font-size:.875rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(11.5rem,44%),1fr));gap:.75rem;margin:1.25rem 0}
.tile{background:var(--wash);border-radius:.5rem;padding:.7rem .9rem}
.tile b{display:block;font-size:1.35rem;font-weight:600;color:var(--accent)}
.tile span{font-size:.8rem;color:var(--dim);display:block;line-height:1.35}
figure{margin:.5rem 0;overflow-x:auto}
figure>img{display:block;max-width:100%;height:auto;filter:var(--plot);border-radius:.25rem}
figure>img.wide{max-width:max(100%,40rem)}figure>img.photos{filter:none}
pre{background:var(--wash);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto;font-size:.875rem;margin:.5rem 0}
.scroll{overflow:auto;max-height:75vh;border:1px solid var(--line);border-radius:.5rem;width:fit-content;max-width:100%}
table{border-collapse:collapse;overflow-wrap:break-word;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
tr>:first-child{text-align:left;white-space:normal;min-width:6rem}tr:last-child>td{border-bottom:0}
table.words :is(td,th){text-align:left;white-space:normal}
thead th{white-space:normal;vertical-align:bottom;position:sticky;top:0;background:var(--wash);font-weight:600}
td[style]{background:linear-gradient(90deg,var(--bar) var(--share),transparent var(--share))}
.mistakes{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:1rem;margin:.75rem 0}
.mistakes figure{margin:0;overflow:visible}
.mistakes img{width:100%;aspect-ratio:1;object-fit:contain;background:var(--wash);
filter:none;border-radius:.375rem}.mistakes img.small{image-rendering:pixelated}
.mistakes figcaption{line-height:1.4;margin-top:.3rem}.mistakes b{color:var(--ink)}
.mistakes small{display:block;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
@media print{body{max-width:none;padding:0;font-size:10pt}.scroll{max-height:none;overflow:visible;border:0}
h2{break-after:avoid}figure,.tile,tr,pre{break-inside:avoid}pre{white-space:pre-wrap}
figure>img.wide{max-width:100%}thead th{position:static}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def text(words: object) -> str:
    """Words as HTML text or attribute, with control characters and half letters made visible."""
    return escape(printable(words), quote=True)


def document(title: str, body: Iterable[str]) -> str:
    """The whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{MARK}">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{text(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def section(heading: str, *pieces: str) -> str:
    """A heading and what belongs to it."""
    return "\n".join([f"<section>\n<h2>{text(heading)}</h2>", *pieces, "</section>"])


def paragraph(words: str, *, dim: bool = False) -> str:
    """Sentences."""
    return f'<p class="dim">{text(words)}</p>' if dim else f"<p>{text(words)}</p>"


def verbatim(words: str) -> str:
    """A command, to be copied as it stands."""
    return f"<pre>{text(words)}</pre>"


def tiles(numbers: Mapping[str, str]) -> str:
    """Large numbers, each above what it means."""
    inside = "".join(
        f'<div class="tile"><b>{text(number)}</b><span>{text(meaning)}</span></div>'
        for meaning, number in numbers.items()
    )
    return f'<div class="tiles">{inside}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str | float | None]], *, words: bool = False) -> str:
    """A table; a float is a fraction and gets a bar behind its percentage, None is a dash.

    `words` aligns the cells to the left, as text is.
    """
    top = "".join(f"<th>{text(cell)}</th>" for cell in head)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f'<td style="--share:{100 * value:.1f}%">{100 * value:.1f} %</td>'
    return f"<td>{text('-' if value is None else value)}</td>"


def facts(record: Mapping[str, object], head: tuple[str, str] = ("option", "value")) -> str:
    """Names and values, one pair a row."""
    return table(head, [(name, shown(value)) for name, value in record.items()], words=True)


def plot(png: bytes, told: str, *, photos: bool = False) -> str:
    """A drawing in the page; `told` says in words what it shows, for those who cannot see it.

    `photos` keeps its colours as they are where the page is dark.
    """
    # Drawn with half as many dots again as a page has, so that it is sharp on fine screens.
    width, height = (int.from_bytes(png[start : start + 4], "big") * 2 // 3 for start in (16, 20))
    # On a phone two drawings side by side are moved with a finger and not made too small to read.
    kinds = " ".join(["wide"] * (width > 2 * height) + ["photos"] * photos)
    kind = f' class="{kinds}"' if kinds else ""
    return f'<figure><img{kind} src="{_uri(png, "png")}" width="{width}" alt="{text(told)}"></figure>'


def thumbnail(pixels: NDArray[np.uint8]) -> str:
    """A picture (H, W, C), shrunk to 160 pixels where it is larger; small ones keep their square pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small = max(picture.size) <= THUMBNAIL // 2
    content = io.BytesIO()
    if small:
        picture.save(content, "PNG")
    else:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        picture.save(content, "JPEG", quality=85)
    kind = ' class="small"' if small else ""
    return f'<img{kind} src="{_uri(content.getvalue(), "png" if small else "jpeg")}" alt="">'


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
