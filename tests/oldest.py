"""The oldest versions that pyproject.toml allows, as requirements: `make oldest` installs them.

    python tests/oldest.py

What only checks or tests the code (linters, pytest) is taken as new as it comes.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
RANGE = re.compile(r"([\w-]+)>=([\w.]+)")


def oldest() -> list[str]:
    """name==version of every dependency, and of those of the extras that files of pictures and weights need."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["keras"], *extras["heic"]]
    matched = [RANGE.fullmatch(each) for each in wanted]
    if None in matched:
        raise SystemExit(f"{PROJECT}: every dependency must read name>=version")
    return [f"{found[1]}=={found[2]}" for found in matched if found]


if __name__ == "__main__":
    print(*oldest())
