"""Ways to damage a file: seeded, so that each can be made again."""

from __future__ import annotations

import random
import re

NUMBERS = re.compile(rb"-?\d+(?:\.\d+)?")
ODD = (b"0", b"-1", b"1e999", b"NaN", b"null", b"true", b'"x"', b"[]", b"{}", b"9" * 30, b"0.5", b"[[[[1]]]]", b"")
WIDE = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"\xff" * 8, b"\0" * 8, b"\x01" + b"\0" * 7)


def damaged(content: bytes, seed: int) -> bytes:
    """The content with one to four changes."""
    draw = random.Random(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if content:
            content = draw.choice(WAYS)(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _set(content: bytes, draw: random.Random) -> bytes:
    at, new = draw.randrange(len(content)), draw.choice(WIDE)
    return content[:at] + new + content[at + len(new) :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def _drop(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + content[at + draw.randint(1, max(1, len(content) // 8)) :]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    piece = content[at : at + draw.randint(1, 200)]
    return content[:at] + piece * draw.choice((2, 3, 50)) + content[at:]


def _number(content: bytes, draw: random.Random) -> bytes:
    """A number in the text, or in a header of text, becomes another or something else."""
    found = list(NUMBERS.finditer(content[:20_000]))
    if not found:
        return _flip(content, draw)
    one = draw.choice(found)
    return content[: one.start()] + draw.choice(ODD) + content[one.end() :]


def _end(content: bytes, draw: random.Random) -> bytes:
    """Near one of the ends, where most formats keep their structure."""
    changed = bytearray(content)
    near = draw.randrange(min(64, len(changed)))
    changed[near if draw.random() < 0.5 else -1 - near] = draw.randrange(256)
    return bytes(changed)


WAYS = (_flip, _set, _cut, _drop, _repeat, _number, _end)
