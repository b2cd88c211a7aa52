"""Weight files opened in a child, under the eyes of `watched.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import inceptory

LARGEST_GROWTH = 64
"""MiB over idle that refusing may cost."""
WATCHED = Path(__file__).with_name("watched.py")


def watch(folder: Path, contents: dict[str, bytes], *options: str) -> dict[str, tuple[str, float, list]]:
    """What came of each file in a child that logs every event, by name; no memory was wasted either."""
    paths = []
    for i, content in enumerate(contents.values()):
        paths.append(folder / f"file{i}")
        paths[-1].write_bytes(content)
    root = str(Path(inceptory.__file__).parents[1])
    child = subprocess.run(
        [sys.executable, str(WATCHED), *options, *map(str, paths)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        timeout=300,
    )
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout.splitlines()[-1])
    assert told["grown"] <= LARGEST_GROWTH or options
    return dict(zip(contents, told["files"], strict=True))
