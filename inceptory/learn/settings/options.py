"""The flags of `train`: each option of a recipe, left open until someone sets it.

What a flag says counts most, then what the file of --config says, then the recipe. Where one of the
first two names another optimizer than the recipe, that one's own defaults come before the recipe's.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from cyclopts import Parameter

from inceptory.errors import ConfigError, DataError, UnknownName
from inceptory.learn.settings.recipe import (
    OPTIMIZERS,
    Recipe,
    beside_time,
    hints,
    is_of_kind,
    kind_wanted,
    takes_number,
    with_optimizer,
)
from inceptory.learn.settings.recipes import PAPERS, QUICK, TUTORIAL, named
from inceptory.system.files import read
from inceptory.system.text import shown


def _help(name: str, told: str) -> str:
    """The sentence of an option, what the recipes say, and what each optimizer brings along."""
    papers = {getattr(recipe, name) for recipe in PAPERS.values()}
    values = {"quick": shown(getattr(QUICK, name)), "tutorial": shown(getattr(TUTORIAL, name))}
    values["paper"] = shown(papers.pop()) if len(papers) == 1 else "by network"
    brought = {key: shown(own[name]) for key, own in OPTIMIZERS.items() if name in own}
    if len(set(brought.values())) > 1:
        values = {**brought, **{key: value for key, value in values.items() if key != "quick"}}
    if getattr(QUICK, name) is None:
        return told
    each = ", ".join(f"{key} {value}" for key, value in values.items())
    return f"{told} [{values['quick'] if len(set(values.values())) == 1 else each}]"


def _flag(name: str, told: str) -> Any:
    several = get_origin(hints()[name]) is tuple
    return Annotated[
        hints()[name] | None,
        Parameter(help=_help(name, told), consume_multiple=several, negative=None if hints()[name] is bool else ""),
    ]


if TYPE_CHECKING:

    class Options:
        """Options of a recipe by name; None leaves one to the recipe."""

        def __init__(self, **options: Any) -> None: ...

else:
    Options = make_dataclass(
        "Options",
        [(each.name, _flag(each.name, each.metadata["told"]), None) for each in fields(Recipe)],
        frozen=True,
        namespace={"__doc__": "Options of a recipe by name; None leaves one to the recipe."},
    )
    Options.__module__ = __name__

AS_THE_RECIPE = Options()
"""No option set."""


def given(options: Options) -> dict[str, Any]:
    """The options that were set."""
    return {name: value for name, value in vars(options).items() if value is not None}


def from_file(path: Path) -> dict[str, Any]:
    """Options in a TOML file, checked by name and kind; raises ConfigError naming the first that is wrong."""
    try:
        found = tomllib.loads(read(path).decode())
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: not TOML, {fault} (write lines such as epochs = 30)") from None
    known = ["recipe", *(each.name for each in fields(Recipe))]
    for name in found:
        if name not in known:
            raise ConfigError(f"{path}: {UnknownName('option of a recipe', name, known, 'inceptory train --help')}")
    return {name: _of_kind(path, name, value) for name, value in found.items()}


def _of_kind(path: Path, name: str, value: Any) -> Any:
    """A value of TOML as the option has it: whole numbers serve as fractions, lists as tuples."""
    plain = tuple(value) if isinstance(value, list) else value
    if not (isinstance(value, str) if name == "recipe" else is_of_kind(name, plain)):
        wanted = "a name" if name == "recipe" else kind_wanted(name)
        raise ConfigError(f"{path}: {name} = {value!r} is of the wrong kind ({wanted} is wanted)")
    if isinstance(value, list):
        return tuple(map(float, value))
    return float(value) if type(value) is int and takes_number(name) else value


def decided(recipe: str | Recipe | None, config: Path | None, options: Options, architecture: str) -> Recipe:
    """The recipe that flags, file and name give together, checked; raises UsageError or ConfigError."""
    told = {} if config is None else from_file(config)
    base = recipe or told.get("recipe", "quick")
    told.pop("recipe", None)
    start = base if isinstance(base, Recipe) else named(base, architecture)
    asked = {**told, **given(options)}
    start = with_optimizer(start, asked.get("optimizer", start.optimizer))
    made = replace(start, **(asked if isinstance(base, Recipe) else beside_time(asked)))
    made.check()
    return made
