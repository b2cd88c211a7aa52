"""The flags of `train`: each option of a recipe, left open until someone sets it.

What a flag says counts most, then what somebody's own file says, then the named recipe. Where one of the
first two names another optimizer than the recipe, that one's own defaults come before the recipe's.
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from cyclopts import Parameter

from inceptory.learn.settings.recipe import OPTIMIZERS, Recipe, beside_time, hints, with_optimizer
from inceptory.learn.settings.recipes import NAMES, PAPERS, document, opened
from inceptory.system.text import shown


def _help(name: str, told: str) -> str:
    """The sentence of an option, what the recipes say, and what each optimizer brings along."""
    papers = {getattr(document(paper), name) for paper in PAPERS.values()}
    quick = getattr(document("quick"), name)
    values = {"quick": shown(quick), "tutorial": shown(getattr(document("tutorial"), name))}
    values["paper"] = shown(papers.pop()) if len(papers) == 1 else "by network"
    brought = {key: shown(own[name]) for key, own in OPTIMIZERS.items() if name in own}
    if len(set(brought.values())) > 1:
        values = {**brought, **{key: value for key, value in values.items() if key != "quick"}}
    if quick is None:
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


def decided(recipe: str | Path | Recipe | None, options: Options, architecture: str) -> Recipe:
    """The recipe that a name, a file or Python gives, and flags on top of it, checked.

    Raises UsageError or ConfigError, and what `recipes.opened` raises.
    """
    asked = given(options)
    if isinstance(recipe, Recipe):
        start = recipe
    else:
        start, changed = opened(recipe or NAMES[0], architecture)
        asked = beside_time({**changed, **asked})
    start = with_optimizer(start, asked.get("optimizer", start.optimizer))
    made = replace(start, **asked)
    made.check()
    return made
