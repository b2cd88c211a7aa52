"""Labelled pictures that Python hands over: a path, arrays, or data sets with the interface of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inceptory.data.sources.arrays import from_arrays
from inceptory.data.sources.datasets import from_dataset
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.source import Progress, Source
from inceptory.errors import ConfigError, UsageError


def source_of(data: object, progress: Progress | None = None, layout: Layout = AUTO) -> Source:
    """The labelled pictures behind whatever `train` and `evaluate` take; `layout` names the columns of a data set.

    A name or path as for `open_source`; a `Source`; a pair (pictures, labels) or a dict from names of
    splits to such pairs, as for `from_arrays`; a Hugging Face Dataset or DatasetDict, as for
    `from_dataset`. Raises UsageError for anything else, ConfigError where `layout` says what does not
    fit, and what those raise.
    """
    if isinstance(data, str | Path):
        return open_source(data, progress, layout)
    if isinstance(data, Source):
        if layout != AUTO:
            raise ConfigError(f"{data.name}: is opened already (say its layout where it is opened, not here)")
        return data
    if _is_dataset(data) or (isinstance(data, Mapping) and data and all(map(_is_dataset, data.values()))):
        return _dataset(data, layout)
    if _is_pair(data):
        layout.only("arrays")
        return from_arrays(*data)  # type: ignore[misc]
    if isinstance(data, Mapping) and data and all(map(_is_pair, data.values())):
        layout.only("arrays")
        pairs = {str(split): tuple(pair) for split, pair in data.items()}
        return from_arrays(*({split: pair[part] for split, pair in pairs.items()} for part in (0, 1)))
    kinds = "a path, a pair of pictures and labels, a dict of such pairs by split, or a Hugging Face Dataset"
    raise UsageError(f"data of the type {type(data).__name__}: not labelled pictures (give {kinds})")


def _dataset(data: object, layout: Layout) -> Source:
    """A data set, with the columns that a layout names."""
    layout.only("dataset", "path_column", "label_column")
    labels = layout.label_column or (None,)
    if len(labels) > 1:
        raise ConfigError(f"dataset: --label-column {' '.join(map(str, labels))}: too many for a data set (name one)")
    return from_dataset(data, image=layout.path_column, label=labels[0])


def _is_pair(data: object) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2


def _is_dataset(data: object) -> bool:
    """Also a stream, which `from_dataset` answers."""
    return hasattr(data, "column_names") and hasattr(data, "features")
