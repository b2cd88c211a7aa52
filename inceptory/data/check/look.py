"""What one picture of a data set is like, and the child process that finds it out.

The child reads requests on its standard input and answers on its standard output: a line of JSON
each way, after a request the bytes of the picture where it is no file. No pickle on the wire.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from inceptory.data.picture.decode import Picture, content_of, examine
from inceptory.errors import InceptoryError
from inceptory.system.children import limit

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
        found = examine(data, name)
    except InceptoryError as fault:
        return Look(fault=str(fault))
    grey = found.picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return Look(
        format=found.format,
        width=found.picture.width,
        height=found.picture.height,
        traits=tuple(sorted(found.traits)),
        content=_digest(data.tobytes() if isinstance(data, np.ndarray) else data),
        pixels=_digest(repr(found.picture.size).encode() + found.picture.convert("RGB").tobytes()),
        thumbnail=base64.b64encode(grey.tobytes()).decode(),
    )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def ask(pipe: IO[bytes], picture: Path | bytes, name: str) -> None:
    """Write one request; the child's `serve` reads it."""
    inside = isinstance(picture, bytes)
    where = {"bytes": len(picture)} if isinstance(picture, bytes) else {"path": str(picture)}
    pipe.write(json.dumps({"name": name, **where}).encode() + b"\n")
    if inside:
        pipe.write(picture)  # type: ignore[arg-type]
    pipe.flush()


def answer(pipe: IO[bytes]) -> Look | None:
    """Read one answer; None where the child has gone."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    plain: dict[str, Any] = json.loads(line)
    return Look(**{**plain, "traits": tuple(plain["traits"])})


def serve() -> None:
    """The child: answer requests until there are no more, with limits on what a decoder may take."""
    limit()
    replies = os.fdopen(os.dup(1), "wb")
    # What a C library prints must not end up among the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        picture = Path(asked["path"]) if "path" in asked else sys.stdin.buffer.read(asked["bytes"])
        replies.write(json.dumps(asdict(look(picture, asked["name"]))).encode() + b"\n")
        replies.flush()
