"""What a piece of code loads, seen in a fresh Python."""

from __future__ import annotations

import subprocess
import sys


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Names of the modules that are there after the code has run; its arguments are in sys.argv[1:]."""
    script = f"import sys\n{code}\nprint('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())
