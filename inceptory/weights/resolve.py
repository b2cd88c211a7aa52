"""From what a person calls a model to a file: a path, a run folder, a folder of timm's, a published name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inceptory.errors import DataError, UsageError
from inceptory.nets.catalogue import catalogue
from inceptory.system.files import exists, is_folder
from inceptory.weights.files.tf_checkpoint import index_of
from inceptory.weights.published.hub_config import FILES
from inceptory.weights.published.records import Published, find, record


@dataclass(frozen=True)
class Resolved:
    """A file, and the record of it where it was meant by its published name."""

    path: Path
    record: Published | None = None
    raw: bool = False
    """Whether a trainer's weights as they are are meant, and not the average beside them."""


def resolve(model: Path | str, weights: Path | str | None = None, *, raw: bool = False) -> Resolved:
    """The file behind a path or a published name, fetched if need be; `weights` is a copy fetched by hand.

    Raises UnknownName for a published name that does not exist, MissingError where nothing can be had,
    UsageError for a copy of what has no published name.
    """
    path, name = index_of(Path(model)), str(model)
    here = exists(path) or not _is_published_name(name)
    if here and weights is not None:
        raise UsageError(f"--weights {weights}: {name} is not a published name (give the file itself as the model)")
    if here:
        return Resolved(_inside(path) if is_folder(path) else path, raw=raw)
    found = record(name)
    if not found.readable:
        raise DataError(f"{name}: cannot be read yet, {found.why_not} (inceptory weights lists those that can)")
    if weights is not None:
        return Resolved(index_of(Path(weights)), found, raw)
    from inceptory.weights.published.download import fetch

    return Resolved(fetch(found), found, raw)


def _inside(folder: Path) -> Path:
    """The weights in a folder of a run, or in one that timm wrote."""
    there = [folder / file for file in FILES if (folder / file).exists()]
    return there[0] if there else folder / FILES[0]


def _is_published_name(name: str) -> bool:
    return find(name) is not None or ("." in name and name.split(".")[0] in catalogue())
