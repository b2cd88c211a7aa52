"""Workers that make trouble over some pictures. They import this module, so it imports no torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from inceptory.data.feed import decoding, workers
from tests.data.pictures import encoded, noise

FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(40)]


def deadly(picture: bytes, counter: str, row: int, how: str) -> None:
    """One picture ends or stops the process that decodes it, as often as a file says."""
    if picture != FILES[row] or not (left := int(Path(counter).read_text())):
        return
    Path(counter).write_text(str(left - 1))
    if how == "hangs":
        time.sleep(600)
    os.kill(os.getpid(), signal.SIGKILL if how == "is killed" else signal.SIGSTOP)


def faulty(picture: bytes) -> None:
    """A bug in the decoding."""
    raise ZeroDivisionError(f"row {FILES.index(picture)}")


def chatty(picture: bytes) -> None:
    """A decoder that prints."""
    print("noise " * 100)
    os.write(1, b"more noise\n")


def torchless(picture: bytes) -> None:
    """Decoding where torch must not be imported."""
    if "torch" in sys.modules:
        raise ImportError("torch is here")


def serve(trouble: str, *words: object) -> None:
    """The worker that has this trouble with every picture."""
    plain, make = decoding.open_picture, globals()[trouble]

    def odd(picture: bytes, name: str) -> object:
        make(picture, *words)
        return plain(picture, name)

    decoding.open_picture = odd  # type: ignore[assignment]
    workers.serve()


def child(trouble: str, *words: object) -> str:
    """The source of that worker."""
    return workers.CHILD.replace(
        "from inceptory.data.feed.workers import serve; serve()",
        f"from tests.data.troubled import serve; serve({', '.join(map(repr, (trouble, *words)))})",
    )
