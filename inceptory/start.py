"""Where the console script begins and ends: an interrupt is answered while commands load, and changes no answer."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """`inceptory WORDS`; the exit code."""
    try:
        from inceptory.cli import main as run

        code = run()
    except KeyboardInterrupt:
        print("error: interrupted (nothing was begun)", file=sys.stderr)
        code = 75
    # All that follows is the interpreter's own end, in which Python would let the signal kill the process: torch takes
    # a third of a second to be put away, and whoever interrupts then would read -2 after a whole answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code
