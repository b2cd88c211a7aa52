"""From what a person calls a model to a file: a path, a run folder, a folder of timm's, a published name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inceptory.errors import ConfigError, DataError, UsageError
from inceptory.nets.catalogue import catalogue
from inceptory.system.files import exists, is_folder
from inceptory.weights.files.tf_checkpoint import index_of
from inceptory.weights.published.hub_config import FILES
from inceptory.weights.published.record import Published
from inceptory.weights.published.records import find, record


@dataclass(frozen=True)
class Resolved:
    """A file, and its record where it was given by its published name."""

    path: Path
    record: Published | None = None
    raw: bool = False
    """Whether to take the plain weights where the file also holds their average."""


def resolve(model: Path | str, weights: Path | str | None = None, *, raw: bool = False) -> Resolved:
    """The file behind a path or a published name, fetched if need be; `weights` is a copy fetched by hand.

    Raises UnknownName for a published name that does not exist, MissingError where nothing can be fetched,
    UsageError for a copy of what has no published name, ConfigError for an exported folder.
    """
    path, name = index_of(Path(model)), str(model)
    is_path = exists(path) or not _is_published_name(name)
    if is_path and weights is not None:
        raise UsageError(f"--weights {weights}: {name} is not a published name (give the file itself as the model)")
    if is_path:
        return Resolved(_inside(path) if is_folder(path) else path, raw=raw)
    published = record(name)
    if not published.readable:
        raise DataError(f"{name}: cannot be read yet, {published.why_not} (inceptory weights lists those that can)")
    if weights is not None:
        return Resolved(index_of(Path(weights)), published, raw)
    from inceptory.weights.published.download import fetch

    return Resolved(fetch(published), published, raw)


def _inside(folder: Path) -> Path:
    """The weights in a folder of a run, or in one that timm wrote."""
    present = [folder / file for file in FILES if (folder / file).exists()]
    if not present and exists(folder / "card.json"):
        remedy = "give the checkpoint that it was made from"
        raise ConfigError(f"{folder}: is an exported folder, which only predict and evaluate take ({remedy})")
    return present[0] if present else folder / FILES[0]


def _is_published_name(name: str) -> bool:
    return find(name) is not None or ("." in name and name.split(".")[0] in catalogue())
