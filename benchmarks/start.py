"""How long the front door takes: every command that must answer without torch, started anew each time.

    python benchmarks/start.py [rounds]

Prints median and range of wall-clock seconds, the commands interleaved.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from datetime import date

COMMANDS = ("--help", "models", "models --json", "show inception_resnet_v2", "train --help", "evaluate --help")
COMMANDS += ("predict --help", "show --help", "models --help", "demo --help", "show inception_v5")


def seconds(words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "inceptory", *words.split()], capture_output=True, check=False)
    return time.perf_counter() - start


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    taken: dict[str, list[float]] = {words: [] for words in COMMANDS}
    for _ in range(rounds):
        for words in COMMANDS:
            taken[words].append(seconds(words))
    print(
        f"{date.today()}, {platform.processor() or platform.machine()}, Python {platform.python_version()}, n {rounds}"
    )
    for words, values in taken.items():
        print(f"| `inceptory {words}` | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")


if __name__ == "__main__":
    main()
