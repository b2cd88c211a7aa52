"""Recipes as documents: TOML files with options by name.

Those of the package are in inceptory/recipes: quick for few epochs, fast for the network that is made for it, the
tutorial's, and that of each network's own paper. Their first lines give the result, the command, the machine and the
date. A user's own file is named by its path, checked just as strictly, and may say which of the named recipes it
changes.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from inceptory.errors import ConfigError, DataError, UnknownName, UsageError
from inceptory.learn.settings.recipe import Recipe, check_option, is_of_kind, kind_wanted, takes_number
from inceptory.system.files import read

NAMES = ("quick", "fast", "tutorial", "paper")
FURTHER = ("finetune", "tutorial-finetune")
"""Recipes by which a trained network is trained further."""
HEAD = "tutorial-bottleneck"
"""The recipe of a plain last layer on a trained network: settings of `Transfer` alone."""
PAPERS = {
    "googlenet": "paper_googlenet",
    **dict.fromkeys(("bn_inception", "inception_v2"), "paper_bn_inception"),
    "inception_v3": "paper_inception_v3",
    **dict.fromkeys(("inception_v4", "inception_resnet_v1", "inception_resnet_v2"), "paper_inception_v4"),
    "xception": "paper_xception",
    **dict.fromkeys(("xception41", "xception65", "xception71"), "paper_xception_aligned"),
}
"""The document of each network's own paper. Their learning rates are for batches of 32 on each of up to 50 machines
that did not wait for one another; here one process does the same steps one after another, with no stale gradients."""
LARGEST = 2**20
"""Bytes of a document that are read; the package's own have 2,000 at most."""


@cache
def document(name: str) -> Recipe:
    """The recipe of one of the package's own documents, such as "paper_xception"."""
    file = resources.files("inceptory").joinpath("recipes", f"{name}.toml")
    return Recipe(**options_of(file.name, file.read_bytes()))


def documents(architecture: str | None) -> dict[str, str]:
    """The document for each recipe name of a network, the usual one first; None: of one that is trained further.

    The CIFAR-10 networks have no paper and so no "paper".
    """
    if architecture is None:
        return {name: name for name in FURTHER}
    if architecture == "cifar_inception_fast":
        return {"fast": "fast", "quick": "quick"}
    older = architecture in ("cifar_inception_v1", "cifar_inception_v2")
    own = {"quick": "quick", "tutorial": "tutorial_200" if older else "tutorial"}
    return own | ({"paper": PAPERS[architecture]} if architecture in PAPERS else {})


def recipes(architecture: str | None) -> dict[str, Recipe]:
    """The named recipes of a network."""
    return {name: document(file) for name, file in documents(architecture).items()}


def named(name: str | None, architecture: str | None) -> Recipe:
    """The recipe of this name for a network, None: the usual one; raises UsageError.

    Its number of epochs is a default only: a run with --time ignores it (`beside_time`).
    """
    own = documents(architecture)
    name = name or next(iter(own))
    if name in own:
        return document(own[name])
    if architecture is None and name in NAMES:
        raise UsageError(f"--recipe {name}: for fresh weights (choose {', '.join((*own, HEAD))}, or leave --from out)")
    if architecture is not None and name in (*FURTHER, HEAD):
        raise UsageError(f"--recipe {name}: for a trained network (give one by --from, or choose {', '.join(own)})")
    if name in NAMES:
        raise UsageError(f"--recipe {name}: {architecture} has none (choose {', '.join(own)})")
    raise UsageError(f"--recipe {name}: no such recipe (choose {', '.join(own)}, or give a FILE.toml)")


def opened(recipe: str | Path | None, architecture: str | None) -> tuple[Recipe, dict[str, Any]]:
    """(a named recipe, the options that a user's file changes in it), from a name or the path of a file.

    None is the usual recipe.

    Raises UsageError for an unknown name, and what `from_file` raises.
    """
    if recipe is None or (isinstance(recipe, str) and not recipe.lower().endswith(".toml")):
        return named(recipe, architecture), {}
    changed = from_file(Path(recipe))
    try:
        return named(changed.pop("recipe", None), architecture), changed
    except UsageError as fault:
        raise ConfigError(f"{recipe}: {fault}") from None


def from_file(path: Path) -> dict[str, Any]:
    """Options in a user's file, `recipe` among them; raises MissingError and what `options_of` raises."""
    return options_of(path, read(path, LARGEST))


def options_of(path: Path | str, content: bytes) -> dict[str, Any]:
    """Options in a TOML file, checked one by one; raises DataError, or ConfigError naming the first that is wrong."""
    try:
        plain = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: not TOML, {fault} (write lines such as epochs = 30)") from None
    names = ["recipe", *(each.name for each in fields(Recipe))]
    for name in plain:
        if name not in names:
            raise ConfigError(f"{path}: {UnknownName('option of a recipe', name, names, 'inceptory train --help')}")
    return {name: _option(path, name, value) for name, value in plain.items()}


def _option(path: Path | str, name: str, value: Any) -> Any:
    """A TOML value in the type of its option: whole numbers become floats where needed, lists tuples."""
    plain = tuple(value) if isinstance(value, list) else value
    if not (isinstance(value, str) if name == "recipe" else is_of_kind(name, plain)):
        kind = "a name" if name == "recipe" else kind_wanted(name)
        raise ConfigError(f"{path}: {name} = {value!r} is of the wrong kind ({kind} is wanted)")
    if name == "recipe":
        return value
    try:
        check_option(name, plain)
    except UsageError as fault:
        raise ConfigError(f"{path}: {fault}") from None
    if isinstance(plain, tuple):
        return tuple(map(float, plain))
    return float(value) if type(value) is int and takes_number(name) else value
