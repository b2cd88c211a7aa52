"""Run as a script: open data sets or pictures and say what came of it, and how much memory this process grew by.

    python measured.py PATH...

Prints one JSON list: what came of each path, and the MiB that it cost beside what an idle process takes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from inceptory.data.feed.decoding import Decoder
from inceptory.data.picture.decode import open_picture
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source
from inceptory.errors import InceptoryError
from tests.weights.files.watched import high_water

STEPS = Preprocess(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)


def read(path: Path) -> str:
    try:
        if path.suffix in (".jpg", ".png", ".jp2"):
            return f"0 {open_picture(path, path.name).size}"
        split = open_source(path).split("train")
        faults = Decoder(split.pictures, STEPS)(range_of(split), [str(name) for name in split.names]).faults
        return f"65 {faults[0][1]}" if faults else "0"
    except InceptoryError as fault:
        return f"{fault.exit_code} {fault}"


def range_of(split: object) -> object:
    import numpy as np

    return np.arange(len(split))  # type: ignore[arg-type]


def main() -> None:
    warm, *paths = map(Path, sys.argv[1:])
    read(warm)
    told = []
    for path in paths:
        idle = high_water()
        told.append((read(path), high_water() - idle))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
