"""Pages that are one file, open without a network and run nothing: templates, and pictures inside. Without torch.

Everything that a template prints is escaped, and control characters and invalid Unicode are made visible: the name of
a class or file cannot become an HTML element.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from inceptory.errors import printable
from inceptory.report.explained import veil
from inceptory.system.outputs import MARK
from inceptory.system.text import shown

if TYPE_CHECKING:
    import numpy as np
    from jinja2 import Environment
    from numpy.typing import NDArray

THUMBNAIL, NEIGHBOUR = 160, 96
"""Longest side of a picture of a mistake, and of a picture near it, in pixels."""


def render(template: str, **values: object) -> str:
    """A template of this room, filled in."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def source(name: str) -> str:
        return files("inceptory.report").joinpath("templates", name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        # The result of a macro or of `escape` is HTML already.
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"mark": MARK, "style": Markup(source("page.css"))}
    environment.globals |= {"shown": shown, "drawing": drawing, "thumbnail": thumbnail, "heated": heated}
    environment.globals |= {"NEIGHBOUR": NEIGHBOUR}
    return environment


@dataclass(frozen=True)
class Picture:
    """A picture inside a page."""

    uri: str
    width: int
    """Width on the page, in pixels."""
    kinds: str
    """CSS classes of its element, for `page.css`."""


def drawing(png: bytes, photos: bool) -> Picture:
    """A PNG of `plots`; `photos` keeps its colours when the page is dark."""
    # It has 1.5 times the pixels of its place on the page, so that it is sharp on fine screens.
    width, height = (int.from_bytes(png[start : start + 4], "big") * 2 // 3 for start in (16, 20))
    # On a phone a wide drawing is scrolled sideways, since it would be too small to read at the screen's width.
    return Picture(_uri(png, "png"), width, " ".join(["wide"] * (width > 2 * height) + ["photos"] * photos))


def thumbnail(pixels: NDArray[np.uint8], side: int = THUMBNAIL) -> Picture:
    """A picture (H, W, C), shrunk to so many pixels if it is larger; small ones are enlarged without smoothing."""
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small = max(picture.size) <= side // 2
    content = io.BytesIO()
    if small:
        picture.save(content, "PNG")
    else:
        picture.thumbnail((side, side))
        picture.save(content, "JPEG", quality=85)
    return Picture(_uri(content.getvalue(), "png" if small else "jpeg"), picture.width, "small" if small else "")


def heated(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> Picture:
    """The thumbnail of a picture (H, W, C) under its heat (H, W), as `explain` lays it over."""
    return thumbnail(covered(pixels, heat))


def covered(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3): a picture (H, W, C) under the veil of its heat (H, W)."""
    import numpy as np

    over = veil(heat)
    mixed = (1 - over[..., 3:]) * pixels + 255 * over[..., 3:] * over[..., :3]
    return np.rint(mixed).astype(np.uint8)


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
