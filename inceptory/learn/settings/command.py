"""The line that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from inceptory.data.sources.layout import AUTO, Layout
from inceptory.learn.settings.recipe import Recipe, beside_time, with_optimizer
from inceptory.learn.settings.recipes import recipes
from inceptory.learn.settings.transfer import ALONE, OF_THE_HEAD, Transfer
from inceptory.nets.variant import PUBLISHED, Variant
from inceptory.system.text import differences


def transfer_command(
    data: str,
    backbone: str,
    out: Path | str,
    image: int | None,
    recipe: Recipe,
    transfer: Transfer,
    layout: Layout,
) -> str:
    """`inceptory train --from ...` for a shell, with what a head knows of a recipe.

    >>> transfer_command("photos", "x.pth", "runs/x", 299, Recipe(seed=3), Transfer(views=2), AUTO)
    'inceptory train photos --from x.pth --out runs/x --image 299 --views 2 --seed 3'
    """
    words = ["inceptory", "train", data, "--from", backbone, "--out", str(out), "--image", str(image)]
    words += [word for field in fields(transfer) for word in _flag(field.name, transfer, vars(ALONE))]
    if transfer.finetune:
        words += _recipe_flags(recipe, None)
    else:
        words += [word for name in OF_THE_HEAD for word in _flag(name, recipe, vars(Recipe()))]
    return shlex.join([*words, *_layout_flags(layout)])


def train_command(
    data: str, model: str, out: Path | str, variant: Variant, recipe: Recipe, layout: Layout = AUTO
) -> str:
    """`inceptory train ...` for a shell: the recipe by the nearest name, and what differs from it by flags.

    >>> train_command("my photos", "xception", "runs/x", PUBLISHED, Recipe(epochs=3, flip="off"))
    "inceptory train 'my photos' --model xception --out runs/x --epochs 3 --flip off"
    """
    words = ["inceptory", "train", data, "--model", model, "--out", str(out)]
    words += [word for field in fields(variant) for word in _flag(field.name, variant, vars(PUBLISHED))]
    return shlex.join([*words, *_recipe_flags(recipe, model), *_layout_flags(layout)])


def _recipe_flags(recipe: Recipe, model: str | None) -> list[str]:
    """A recipe as the nearest of a network's names (`decided`), and what differs from it by flags."""
    # A named optimizer brings its own defaults, so only what differs from those needs a flag.
    bases = {name: with_optimizer(base, recipe.optimizer) for name, base in recipes(model).items()}
    name = min(bases, key=lambda name: len(differences(bases[name], recipe)))
    words = [] if name == next(iter(bases)) else ["--recipe", name]
    words += [] if bases[name] is recipes(model)[name] else ["--optimizer", recipe.optimizer]
    start = {**vars(bases[name]), **beside_time({"time": recipe.time}), "time": None}
    return words + [word for field in fields(recipe) for word in _flag(field.name, recipe, start)]


def _layout_flags(layout: Layout) -> Iterator[str]:
    """The flags of a layout, as --flag=value: a column may have any name, also one that looks like a flag."""
    for field in fields(layout):
        value = getattr(layout, field.name)
        if value != field.default:
            for each in value if isinstance(value, tuple) else (value,):
                yield f"--{field.name.replace('_', '-')}={each}"


def train_call(
    model: str,
    out: Path | str,
    variant: Variant,
    recipe: Recipe,
    layout: Layout = AUTO,
    backbone: str | None = None,
    transfer: Transfer = ALONE,
) -> str:
    """`inceptory.train(data, ...)`, for pictures that came from Python.

    >>> train_call("xception", "runs/x", PUBLISHED, Recipe(epochs=3, flip="off"))
    "inceptory.train(data, model='xception', out='runs/x', recipe=inceptory.Recipe(epochs=3, flip='off'))"
    """
    arguments = {"model": repr(model)} if backbone is None else {"backbone": repr(backbone)}
    arguments["out"] = repr(str(out))
    if backbone is not None:
        variant = Variant(image=variant.image)  # the rest is the backbone's own
    # Optimizer and time change the defaults of other options. The recipe is compared with those defaults, and both
    # are always written if they are not the usual ones.
    bare = Recipe(optimizer=recipe.optimizer, time=recipe.time)
    needed = {key for key in ("optimizer", "time") if getattr(recipe, key) != getattr(Recipe(), key)}
    records: tuple[tuple[str, Any, Any, set[str]], ...] = (
        ("variant", variant, PUBLISHED, set()),
        ("transfer", transfer, ALONE, set()),
        ("recipe", recipe, bare, needed),
        ("layout", layout, AUTO, set()),
    )
    for name, record, default, always in records:
        values = {field.name: getattr(record, field.name) for field in fields(record)}
        changed = {key: value for key, value in values.items() if key in always or value != getattr(default, key)}
        if changed:
            arguments[name] = (
                f"inceptory.{type(record).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"
            )
    return f"inceptory.train(data, {', '.join(f'{key}={value}' for key, value in arguments.items())})"


def _flag(name: str, record: Any, default: dict[str, Any]) -> list[str]:
    value, flag = getattr(record, name), name.replace("_", "-")
    if value == default[name]:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{flag}", *map(str, values)]
