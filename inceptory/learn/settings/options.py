"""The flags of `train`: each option of a recipe, left open until someone sets it.

A flag overrides the user's own recipe file, which overrides the named recipe. Where a flag or the file names
another optimizer than the recipe, the defaults of that optimizer override the recipe's options.
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from cyclopts import Parameter

from inceptory.learn.settings.recipe import OPTIMIZERS, Recipe, beside_time, hints, with_optimizer
from inceptory.learn.settings.recipes import PAPERS, document, opened
from inceptory.system.text import shown


def _help(name: str, sentence: str) -> str:
    """The help text of an option: its sentence, then its value in each recipe and the default of each optimizer."""
    papers = {getattr(document(paper), name) for paper in PAPERS.values()}
    quick = getattr(document("quick"), name)
    values = {recipe: shown(getattr(document(recipe), name)) for recipe in ("quick", "fast", "tutorial")}
    values["paper"] = shown(papers.pop()) if len(papers) == 1 else "by network"
    defaults = {key: shown(own[name]) for key, own in OPTIMIZERS.items() if name in own}
    if len(set(defaults.values())) > 1:
        # quick and fast have those of sgd and muon.
        values = {**defaults, **{key: value for key, value in values.items() if key not in ("quick", "fast")}}
    if quick is None:
        return sentence
    each = ", ".join(f"{key} {value}" for key, value in values.items())
    return f"{sentence} [{shown(quick) if len(set(values.values())) == 1 else each}]"


def _flag(name: str, sentence: str) -> Any:
    several = get_origin(hints()[name]) is tuple
    return Annotated[
        hints()[name] | None,
        Parameter(help=_help(name, sentence), consume_multiple=several, negative=None if hints()[name] is bool else ""),
    ]


if TYPE_CHECKING:

    class Options:
        """Options of a recipe by name; None leaves one to the recipe."""

        def __init__(self, **options: Any) -> None: ...

else:
    Options = make_dataclass(
        "Options",
        [(each.name, _flag(each.name, each.metadata["sentence"]), None) for each in fields(Recipe)],
        frozen=True,
        namespace={"__doc__": "Options of a recipe by name; None leaves one to the recipe."},
    )
    Options.__module__ = __name__

AS_THE_RECIPE = Options()
"""No option set."""


def given(options: Options) -> dict[str, Any]:
    """The options that were set."""
    return {name: value for name, value in vars(options).items() if value is not None}


def decided(recipe: str | Path | Recipe | None, options: Options, architecture: str | None) -> Recipe:
    """The recipe of a name, of a file or from Python, changed by the flags, and checked.

    Names are those of a network, or where it is None of one that is trained further.

    Raises UsageError or ConfigError, and what `recipes.opened` raises.
    """
    changes = given(options)
    if isinstance(recipe, Recipe):
        start = recipe
    else:
        start, in_file = opened(recipe, architecture)
        changes = beside_time({**in_file, **changes})
    start = with_optimizer(start, changes.get("optimizer", start.optimizer))
    changed = replace(start, **changes)
    changed.check()
    return changed
