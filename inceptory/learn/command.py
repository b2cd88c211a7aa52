"""The line that makes a run again."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from inceptory.learn.recipe import NAMES, Recipe, beside_time, differences, named
from inceptory.nets.variant import PUBLISHED, Variant


def train_command(data: str, model: str, out: Path | str, variant: Variant, recipe: Recipe) -> str:
    """`inceptory train ...` for a shell: the recipe by the nearest name, and what differs from it by flags.

    >>> train_command("my photos", "xception", "runs/x", PUBLISHED, Recipe(epochs=3, flip="off"))
    "inceptory train 'my photos' --model xception --out runs/x --epochs 3 --flip off"
    """
    name = min(NAMES, key=lambda name: len(differences(named(name, model), recipe)))
    words = ["inceptory", "train", data, "--model", model, "--out", str(out)]
    words += [] if name == NAMES[0] else ["--recipe", name]
    start = {**vars(named(name, model)), **beside_time({"time": recipe.time}), "time": None}
    for record, default in ((variant, vars(PUBLISHED)), (recipe, start)):
        words += [word for field in fields(record) for word in _flag(field.name, record, default)]
    return shlex.join(words)


def _flag(name: str, record: Any, default: dict[str, Any]) -> list[str]:
    value, flag = getattr(record, name), name.replace("_", "-")
    if value == default[name]:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{flag}", *map(str, values)]
