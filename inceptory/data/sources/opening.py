"""The only place that knows every kind of data set: from a name or path to its labelled pictures.

Nothing here imports torch, so that a mistake in a path is answered at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from inceptory.data.sources import built_in, tables
from inceptory.data.sources.folders import source as folders
from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.data.sources.parquet import source as parquet
from inceptory.data.sources.source import Progress, Source
from inceptory.data.sources.tars import source as tars
from inceptory.errors import DataError, MissingError, printable
from inceptory.system.files import is_file, is_folder, reason

KINDS = ".csv, .tsv, .parquet or .tar"


def open_source(data: str | Path, progress: Progress | None = None, layout: Layout = AUTO) -> Source:
    """The labelled pictures behind a name or path, listed but not decoded.

    A built-in set that is not on this machine is downloaded once; `progress` is called with its bytes.
    Raises MissingError where there is nothing, DataError where it is no data set or `layout` must
    say more, ConfigError where it says what does not fit.
    """
    if str(data) in built_in.SETS:
        layout.only(data)
        return built_in.SETS[str(data)](progress)
    path = Path(data)
    try:
        if is_folder(path):
            return _open_folder(path, layout)
        if is_file(path) or tars.is_pattern(path):
            return _open_file(path, layout)
    except OSError as fault:
        raise MissingError(f"{path}: cannot be read, {reason(fault)} (check its permissions)") from fault
    names = ", ".join(built_in.SETS)
    raise MissingError(f"{printable(data)}: no such data (give a folder, a file, or a built-in set: {names})")


def place_of(data: str) -> str:
    """A data set's name or path so that it is found from any folder; `is_place` knows it again."""
    return data if data in built_in.SETS else os.path.abspath(data)


def is_place(name: str) -> bool:
    """Whether data can be found by its name, as `place_of` has it; what Python handed over cannot."""
    return name in built_in.SETS or os.path.isabs(name)


def _open_folder(path: Path, layout: Layout) -> Source:
    listing = Listing(path)
    if files := parquet.files_of(listing):
        return parquet.open_files(path, files, layout)
    if files := tars.files_of(listing):
        return tars.open_files(path, files, layout)
    layout.only(path, "split_folders")
    return folders.open_folders(listing, layout)


def _open_file(path: Path, layout: Layout) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return parquet.open_files(path, [path], layout)
    if suffix in tables.SUFFIXES:
        return tables.open_table(path, layout)
    if tars.is_tar(path.name):
        return tars.open_files(path, tars.shards(path), layout)
    raise DataError(f"{path}: not a data set (give a folder of class folders, or a {KINDS} file)")
