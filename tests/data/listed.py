"""Run as a script: open data sets as the commands do and say how often each folder of theirs was listed.

    python listed.py ROOT DATA...

Prints JSON: for each data and each of check, evaluate and train the folders below ROOT, each with its count.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter

from inceptory.data.check.check import check
from inceptory.data.sources.given import source_of
from inceptory.data.sources.layout import AUTO
from inceptory.errors import InceptoryError
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.verbs import _opened

COMMANDS = {
    "check": check,
    "evaluate": lambda data: source_of(data).with_validation(0.1).fingerprint(),
    "train": lambda data: _opened(data, Recipe(), AUTO)[0].fingerprint(),
}


def main() -> None:
    root, *every = sys.argv[1:]
    counts: Counter[str] = Counter()

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("os.listdir", "os.scandir") and str(arguments[0]).startswith(root):
            counts[os.path.relpath(str(arguments[0]), root)] += 1

    sys.addaudithook(count)
    listed: dict[str, dict[str, dict[str, int]]] = {}
    for data in every:
        for name, command in COMMANDS.items():
            counts.clear()
            with contextlib.suppress(InceptoryError):
                command(data)
            listed.setdefault(data, {})[name] = dict(counts)
    print(json.dumps(listed))


if __name__ == "__main__":
    main()
