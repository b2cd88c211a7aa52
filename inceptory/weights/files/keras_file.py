"""Tensors out of Keras' files: the HDF5 layout of 2016, `.weights.h5` and `.keras` archives of Keras 3.

A model's config is parsed as plain data and never evaluated; no layer is ever built from it.
Source of the layouts: keras/src/legacy/saving/legacy_h5_format.py and keras/src/saving/saving_lib.py
of Keras 3, read, not copied.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from itertools import count, takewhile
from typing import Any

from numpy.typing import NDArray

from inceptory.errors import WriteError
from inceptory.system.files import reason
from inceptory.weights.files.hdf5.data import Dataset
from inceptory.weights.files.hdf5.file import Tree, Value, read_tree
from inceptory.weights.files.keras_config import names_of_groups
from inceptory.weights.files.source import LARGEST, Contents, Entry, Source, check, quoted
from inceptory.weights.files.zip_file import STORED, Record, content, unpacked, verify

KIND_2016, KIND_WEIGHTS, KIND_ARCHIVE = "keras h5 2016", "keras weights.h5", "keras archive"
CONFIG, FACTS, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LARGEST_CONFIG = 4 * 2**20
MOST_TABLES, MOST_ITEMS = 50_000, 300_000
"""Of a config; the largest network of the family needs a fifth of them."""
MOST_GROWTH, FREE_GROWTH = 8, 2**20
"""How many times larger than the file its tensors may be, beyond a free MiB: compression has its limits."""

ATTRIBUTES = re.compile(r"(layer|weight)_names\d*|model_config|keras_version|backend|name|dtype")
ASIDE = ("optimizer", "optimizer_weights", "metrics", "compile_metrics", "loss_tracker")
"""Groups of a file that belong to the training and not to the network."""
GENERATORS = ("seed_generator", "generator")
"""Groups within a layer that hold the state of its random numbers."""
VARIABLE = re.compile(r"(?:(?P<layer>.*)/)?vars/[^/]+")


def is_keras_archive(archive: dict[str, Record]) -> bool:
    """Whether these are the records of a `.keras` archive."""
    return CONFIG in archive and WEIGHTS in archive


def read_keras_archive(source: Source, archive: dict[str, Record]) -> Contents:
    """Names, shapes and types of the tensors in a `.keras` archive, and its config; raises DataError."""
    config = _plain(source, CONFIG, content(source, archive[CONFIG], LARGEST_CONFIG))
    facts = _plain(source, FACTS, content(source, archive[FACTS], LARGEST_CONFIG)) if FACTS in archive else {}
    inner = read_keras_h5(_inner(source, archive[WEIGHTS]))
    metadata = {key: value for key, value in facts.items() if isinstance(value, str)}
    names = names_of_groups(config, {name.rsplit("/vars/", 1)[0] for name in inner.entries}) | inner.layer_names
    return Contents(KIND_ARCHIVE, inner.entries, inner.fetch, config, metadata, names)


def _inner(source: Source, record: Record) -> Source:
    """The HDF5 file of an archive, checked against its checksum."""
    source.require(record.size <= LARGEST, "its weights would take more than 2 GiB", "give a file of weights")
    if record.method == STORED:
        verify(source, record)
        return source.part(record.start, record.size)
    try:
        with tempfile.TemporaryFile() as file:
            for block in unpacked(source, record):
                file.write(block)
            file.flush()
            return Source.of(source.path, os.dup(file.fileno()))
    except OSError as fault:
        cause = reason(fault)
        raise WriteError(f"{source.path}: cannot be unpacked, {cause} (make room for temporary files)") from fault


def read_keras_h5(source: Source) -> Contents:
    """Names, shapes and types of the tensors in an HDF5 file of Keras; raises DataError."""
    tree = read_tree(source, lambda name: bool(ATTRIBUTES.fullmatch(name)))
    base = next((path for path in ("", "model_weights") if _listed(tree, path, "layer_names")), None)
    paths = _newer(source, tree) if base is None else _older(source, tree, base)
    entries = {name: _entry(source, tree, path) for name, path in paths.items()}
    check(source, entries)
    total = sum(entry.size for entry in entries.values())
    plausible = total <= MOST_GROWTH * source.size + FREE_GROWTH
    source.require(plausible, "its tensors would be far larger than the file", "give a file of weights")

    def fetch(name: str) -> NDArray[Any]:
        return tree.datasets[paths[name]].fetch(entries[name].dtype)

    root = tree.attributes.get("", {})
    return Contents(
        KIND_WEIGHTS if base is None else KIND_2016,
        entries,
        fetch,
        config=_config(source, root.get("model_config")),
        metadata={key: value for key in ("keras_version", "backend") if isinstance(value := root.get(key), str)},
        layer_names=_layer_names(tree) if base is None else {},
    )


def _listed(tree: Tree, path: str, name: str) -> list[str]:
    """The texts of an attribute, which Keras cuts into numbered ones where they are too long for one."""
    attributes = tree.attributes.get(path, {})
    if name in attributes:
        return _list(attributes[name])
    parts = takewhile(attributes.__contains__, (f"{name}{number}" for number in count()))
    return [text for part in parts for text in _list(attributes[part])]


def _list(value: Value) -> list[str]:
    return [value] if isinstance(value, str) else value


def _older(source: Source, tree: Tree, base: str) -> dict[str, str]:
    """Path by name, `layer/weight`, in the order of the layers, each with its list of weights."""
    paths: dict[str, str] = {}
    for layer in _listed(tree, base, "layer_names"):
        group = f"{base}/{layer}" if base else layer
        for weight in _listed(tree, group, "weight_names"):
            name, path = f"{layer}/{weight}", f"{group}/{weight}"
            source.require(path in tree.datasets, f"tensor {quoted(name)} is listed and not there")
            source.require(name not in paths, f"tensor {quoted(name)} is listed twice")
            paths[name] = path
    return paths


def _newer(source: Source, tree: Tree) -> dict[str, str]:
    """Path by name, which are the same: `layers/conv2d/vars/0`."""
    paths = {path: path for path in tree.datasets if VARIABLE.fullmatch(path) and not _aside(path.split("/"))}
    source.require(bool(paths), "an HDF5 file without weights of Keras", "give .safetensors, .pth/.pt, .h5 or .keras")
    return paths


def _aside(parts: list[str]) -> bool:
    return parts[0] in ASIDE or (len(parts) > 2 and parts[-3] in GENERATORS)


def _layer_names(tree: Tree) -> dict[str, str]:
    """The layers' own names by group, which newer versions of Keras 3 note beside the variables."""
    names = ((path.rpartition("/"), attributes.get("name")) for path, attributes in tree.attributes.items())
    return {group: name for (group, _, last), name in names if last == "vars" and isinstance(name, str)}


def _entry(source: Source, tree: Tree, path: str) -> Entry:
    dataset: Dataset = tree.datasets[path]
    if dataset.entry is not None:
        return dataset.entry
    explained = dataset.raw is not None and tree.attributes.get(path, {}).get("dtype") == "bfloat16"
    source.require(explained, f"tensor {quoted(path)} holds no numbers that are read", "save it as float32")
    return Entry(dataset.raw or (), "bfloat16")


def _config(source: Source, text: Value | None) -> dict[str, Any] | None:
    return _plain(source, "model_config", text.encode()) if isinstance(text, str) else None


def _plain(source: Source, what: str, text: bytes) -> dict[str, Any]:
    """A JSON table as plain data, of a size that a model's config may have."""
    small = len(text) <= LARGEST_CONFIG and text.count(b"{") <= MOST_TABLES and text.count(b",") <= MOST_ITEMS
    source.require(small, f"its {what} is too large for a model", "give a file of weights")
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise source.fault(f"its {what} is damaged, it is not JSON") from None
    source.require(isinstance(value, dict), f"its {what} is no table")
    return dict(value)
