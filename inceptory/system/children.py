"""What child processes have in common: their limits, and the frames in which they are spoken with. No pickle, no torch.

A frame is the lengths of two parts, a JSON object, and bytes.
"""

from __future__ import annotations

import contextlib
import json
import struct
from typing import IO, Any

import numpy as np

HEAD = struct.Struct("<QQ")
"""Before each frame: bytes of its JSON and of what follows."""
MEMORY = 4 * 2**30
"""Bytes of address space for a child: several times what the largest accepted picture takes."""

PIPE = 2**20
"""Bytes that a pipe holds, where the system lets that be said: fewer turns for large frames."""


def widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold PIPE bytes."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
    except (ImportError, AttributeError, OSError):  # only Linux can, and it has a limit for each user
        return


def send(pipe: IO[bytes], told: dict[str, Any], *parts: bytes | memoryview) -> None:
    """Write one frame, its bytes in parts."""
    head = json.dumps(told).encode()
    pipe.write(HEAD.pack(len(head), sum(len(part) for part in parts)))
    pipe.write(head)
    for part in parts:
        pipe.write(part)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], memoryview]:
    """Read one frame; raises EOFError where the other side is gone."""
    sizes = HEAD.unpack(_take(pipe, HEAD.size))
    head, body = (_take(pipe, size) for size in sizes)
    told: dict[str, Any] = json.loads(bytes(head))
    return told, body


def _take(pipe: IO[bytes], size: int) -> memoryview:
    whole = view = np.empty(size, dtype=np.uint8).data  # a bytearray would be filled with zeros first
    while view:
        got = pipe.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        view = view[got:]
    return whole


def limit() -> None:
    """Bound what this process may take: address space, no core, no file written."""
    try:
        import resource
    except ImportError:  # Windows has none of these limits
        return
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        # A system that knows a limit and does not let it be set is left as it is.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
