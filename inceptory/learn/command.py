"""The line that makes a run again."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any


def train_command(data: str, model: str, out: Path | str, *options: tuple[Any, Any]) -> str:
    """`inceptory train ...` for a shell; each option is a record and the record of its defaults.

    >>> train_command("my photos", "xception", "runs/x", (Recipe(epochs=3, flip=False), Recipe()))
    "inceptory train 'my photos' --model xception --out runs/x --epochs 3 --no-flip"
    """
    words = ["inceptory", "train", data, "--model", model, "--out", str(out)]
    for record, default in options:
        words += [word for field in fields(record) for word in _flag(field.name, record, default)]
    return shlex.join(words)


def _flag(name: str, record: Any, default: Any) -> list[str]:
    value, flag = getattr(record, name), name.replace("_", "-")
    if value == getattr(default, name):
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]
