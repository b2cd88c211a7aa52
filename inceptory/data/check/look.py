"""What one picture of a data set is like, and the child process that finds it out.

A question (`system.children`) is {"name", "path"}, or {"name"} with the bytes of the picture; the answer is a Look.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inceptory.data.picture.decode import Picture, content_of, examine
from inceptory.errors import InceptoryError
from inceptory.system import children

SIDE = 16
"""Of the grey thumbnail by which near duplicates are found."""


@dataclass(frozen=True)
class Look:
    """One picture, looked at. With a fault everything else is empty."""

    fault: str = ""
    """Why it cannot be used, beginning with its name."""
    format: str = ""
    width: int = 0
    height: int = 0
    traits: tuple[str, ...] = ()
    content: str = ""
    """Digest of the file's bytes, 128 bits in hexadecimal."""
    pixels: str = ""
    """Digest of the upright picture's size and colours."""
    thumbnail: str = ""
    """SIDE x SIDE grey values, in base64."""


def look(picture: Picture, name: str) -> Look:
    """Decode one picture and describe it; a picture that cannot be used is a Look with a fault."""
    try:
        data = picture if isinstance(picture, np.ndarray) else content_of(picture, name)
        examined = examine(data, name)
    except InceptoryError as fault:
        return Look(fault=str(fault))
    grey = examined.picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return Look(
        format=examined.format,
        width=examined.picture.width,
        height=examined.picture.height,
        traits=tuple(sorted(examined.traits)),
        content=_digest(data.tobytes() if isinstance(data, np.ndarray) else data),
        pixels=_digest(repr(examined.picture.size).encode() + examined.picture.convert("RGB").tobytes()),
        thumbnail=base64.b64encode(grey.tobytes()).decode(),
    )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def question(picture: Path | bytes, name: str) -> tuple[Any, ...]:
    """The question for a picture: JSON and bytes."""
    return ({"name": name}, picture) if isinstance(picture, bytes) else ({"name": name, "path": str(picture)},)


def look_of(answer: dict[str, Any]) -> Look:
    """The Look of an answer."""
    return Look(**{**answer, "traits": tuple(answer["traits"])})


def serve() -> None:
    """The child, with limits on what a decoder may take."""
    children.serve(_answer, limited=True)


def _answer(question: dict[str, Any], body: memoryview) -> Iterator[tuple[dict[str, Any]]]:
    picture = Path(question["path"]) if "path" in question else bytes(body)
    yield (asdict(look(picture, question["name"])),)
