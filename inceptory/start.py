"""Where the console script begins: an interrupt is answered even while the commands are still being loaded."""

from __future__ import annotations

import sys


def main() -> int:
    """`inceptory WORDS`; the exit code."""
    try:
        from inceptory.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("error: interrupted (nothing was begun)", file=sys.stderr)
        return 75
