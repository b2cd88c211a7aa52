"""Tensors out of what torch.save wrote: zip archives (since 1.6) and the older stream of pickles.

Source of both layouts: torch/serialization.py of PyTorch 0.4 to 2.9, read, not copied. Nothing of
torch takes part in the reading.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from inceptory.weights.files.source import STORED, Contents, Source, check, itemsize, numbers, quoted
from inceptory.weights.files.torch.objects import NAMES, Storage, View, storage
from inceptory.weights.files.torch.pickle_reader import BrokenPickle, Machine, Module, Names, RefusedName
from inceptory.weights.files.torch.script import REMARK, SCRIPT_NAMES, flattened
from inceptory.weights.files.zip_file import AMBIGUOUS, Record, content, only_stored, verify

KIND_ZIP, KIND_LEGACY = "torch zip", "torch legacy"
LARGEST_PICKLE = 8 * 2**20
"""Bytes of pickle that we read; the largest network of the family needs a fortieth of it."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""First two values of a file of the older kind."""
DEEPEST = 3
"""Dicts inside of dicts in which tensors are looked for."""
KNOWN_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "")
"""Where trainers put the tensors of the network, most telling first; the last is the file's own dict."""
RANKS = {key: rank for rank, key in enumerate(KNOWN_KEYS)}
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
"""Where trainers put the average of the network's weights, which is what they report the accuracy of."""
DATA = re.compile(r"torch\.(_utils\._rebuild_\w+|_tensor\._rebuild_\w+|(storage\.)?\w*Storage)")
"""Makers of tensors that are not dense: no danger, and not read."""
MODELS = ("torch.nn.", "torch.fx.", "torch.jit.", "__main__.")
SYSTEM = {"__builtin__", "builtins", "commands", "copy_reg", "numpy", "torch", "distutils", "pip", "setuptools"}
"""Packages that hostile files call, beside the standard library of this Python."""
RECIPE = "where you trust its author, load it with its own code, save only the state dict, and give that"
DISTRUST = "do not open it with anything else; ask its author for .safetensors"

Place = Callable[[Storage], int]
"""Where the bytes of a storage begin; raises DataError where they are damaged."""


def is_torch_zip(archive: dict[str, Record]) -> bool:
    """Whether these are the records of an archive that torch wrote, weights or program."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in archive) or _is_program(archive)


def _is_program(archive: dict[str, Record]) -> bool:
    return bool({"serialized_exported_program.json", "archive_format", "models/model.json"} & _inner(archive))


def _is_script(archive: dict[str, Record]) -> bool:
    return "constants.pkl" in (inner := _inner(archive)) or any(name.startswith("code/") for name in inner)


def _inner(archive: dict[str, Record]) -> set[str]:
    """Names in the archive, with and without the folder that they lie in."""
    return {name.partition("/")[2] for name in archive} | set(archive)


def read_torch_zip(source: Source, archive: dict[str, Record], raw: bool) -> Contents:
    """Names, shapes and types of the tensors in a zip archive of torch; `raw` takes those that are no average.

    Raises DataError.
    """
    source.require(not _is_program(archive), "a program, not weights", RECIPE)
    prefix = _prefix(source, archive)
    script = _is_script(archive)
    # The code of a program, and only that, is compressed.
    only_stored(
        source, {name: archive[name] for name in archive if not (script and name.startswith(f"{prefix}/code/"))}
    )
    if (order := archive.get(f"{prefix}/byteorder")) is not None:
        source.require(content(source, order, 6) == b"little", "was written on a big-endian machine", RECIPE)
    data = content(source, archive[f"{prefix}/data.pkl"], LARGEST_PICKLE)
    root, end, storages = unpickle(source, data, SCRIPT_NAMES if script else NAMES)
    source.require(end == len(data), f"{AMBIGUOUS}, bytes lie after its pickle")
    views, remarks = _script_views(source, root) if isinstance(root, Module) else _views(source, root, raw)
    for needed in storages.values():
        _stored(source, archive, prefix, needed)
    checked: set[str] = set()

    def place(storage: Storage) -> int:
        record = _stored(source, archive, prefix, storage)
        if storage.key not in checked:
            verify(source, record)
            checked.add(storage.key)
        return record.start

    return replace(_contents(source, KIND_ZIP, views, place), remarks=remarks)


def _prefix(source: Source, archive: dict[str, Record]) -> str:
    """The folder that everything in the archive lies in."""
    folders = {name.partition("/")[0] for name in archive}
    source.require(len(folders) == 1, f"{AMBIGUOUS}, it holds several archives of torch")
    return folders.pop()


def _stored(source: Source, archive: dict[str, Record], prefix: str, storage: Storage) -> Record:
    record = archive.get(f"{prefix}/data/{storage.key}")
    # Padding of less than an element is accepted. A longer record would only cost time for its checksum.
    if record is None or not storage.size <= record.size < storage.size + itemsize(storage.dtype):
        raise source.fault(f"storage {quoted(storage.key)} is missing or not as long as it says")
    return record


def read_torch_legacy(source: Source, raw: bool) -> Contents:
    """Names, shapes and types of the tensors in a file of pickles; `raw` takes those that are no average.

    Raises DataError.

    The order: magic number, protocol, facts about the machine, the object, the keys of the
    storages, then each storage as its number of elements (8 bytes) and its bytes.
    """
    first, position, _ = _next(source, 0)
    source.require(first == MAGIC, "a pickle without weights of torch", "give .safetensors, .pth/.pt, .h5 or .keras")
    protocol, position, _ = _next(source, position)
    source.require(protocol == PROTOCOL, "was written by a version of torch that is not read", RECIPE)
    machine, position, _ = _next(source, position)
    little = isinstance(machine, dict) and machine.get("little_endian") is True
    source.require(little, "was written on a big-endian machine", RECIPE)
    root, position, storages = _next(source, position)
    keys, position, _ = _next(source, position)
    places = _places(source, keys, storages, position)
    views, remarks = _views(source, root, raw)
    return replace(_contents(source, KIND_LEGACY, views, lambda storage: places[storage.key]), remarks=remarks)


def _next(source: Source, position: int) -> tuple[Any, int, dict[str, Storage]]:
    value, length, storages = unpickle(source, source.at(position, min(LARGEST_PICKLE, source.size - position)))
    return value, position + length, storages


def _places(source: Source, keys: Any, storages: dict[str, Storage], position: int) -> dict[str, int]:
    """Where the bytes of each storage begin; the last one ends with the file."""
    places: dict[str, int] = {}
    listed = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    source.require(listed and sorted(keys) == sorted(storages), "its list of storages is damaged")
    for key in keys:
        count = int.from_bytes(source.at(position, 8), "little")
        places[key] = position + 8
        position = places[key] + storages[key].size
        fits = count == storages[key].count and position <= source.size
        source.require(fits, f"storage {quoted(key)} has another size than its tensors")
    source.require(position == source.size, f"{AMBIGUOUS}, bytes lie after its tensors")
    return places


def unpickle(source: Source, data: bytes, names: Names = NAMES) -> tuple[Any, int, dict[str, Storage]]:
    """(value, bytes, storages by key) of the pickle that `data` begins with; raises DataError."""
    storages: dict[str, Storage] = {}

    def refer(arguments: tuple[Any, ...]) -> Storage:
        described = storage(arguments)
        first = storages.setdefault(described.key, described)
        if (first.dtype, first.count) != (described.dtype, described.count):
            raise BrokenPickle("a storage is described in two ways")
        return described

    try:
        return *Machine(data, names, refer).run(), storages
    except RefusedName as refused:
        _refuse(source, str(refused))
    except BrokenPickle as broken:
        raise source.fault(f"its pickle is not that of weights: {broken}") from None


def refuse_named_program(source: Source) -> None:
    """Raise DataError where the file is a pickle of any kind that names something not allowed."""
    data = source.at(0, min(LARGEST_PICKLE, source.size))
    with contextlib.suppress(BrokenPickle):
        try:
            Machine(data, NAMES, storage).run()
        except RefusedName as refused:
            _refuse(source, str(refused))


def _refuse(source: Source, name: str) -> NoReturn:
    """Raise DataError with the remedy for such a name: other tensors, a class of a model, or a call of the system."""
    if DATA.fullmatch(name):
        raise source.fault(
            f"more than dense weights: it names {quoted(name)}", "save only a state dict of dense tensors"
        )
    top = name.partition(".")[0]
    model = name.startswith(MODELS) or (top.isidentifier() and top not in sys.stdlib_module_names | SYSTEM)
    raise source.fault(f"a program, not weights: it names {quoted(name)}", RECIPE if model else DISTRUST)


def _views(source: Source, root: Any, raw: bool) -> tuple[dict[str, View], tuple[str, ...]]:
    """The tensors of the one mapping that is the network's, and remarks on the choice.

    An average is preferred to the plain weights, unless it lacks some of them or `raw` is set.
    """
    mappings = sorted(_mappings(root), key=lambda mapping: mapping[:2])
    source.require(bool(mappings), "holds no tensors by name", "give a file with a state dict")
    averages = [mapping for mapping in mappings if mapping[2] in AVERAGED]
    plain = [mapping for mapping in mappings if mapping[2] not in AVERAGED] or averages
    several = len(plain) > 1 and plain[0][:2] == plain[1][:2]
    names = ", ".join(quoted(name) for _, _, name, _ in plain[:3])
    source.require(not several, f"holds several sets of tensors: {names}", "save one of them alone")
    chosen = _tensors(plain[0])
    if averages and averages[0] is not plain[0]:
        average, where = _tensors(averages[0]), averages[0][2]
        if _several_cells(average) < _several_cells(chosen):
            return chosen, (f"plain weights: the average in {where} lacks some",)
        if raw:
            return chosen, (f"plain weights, not their average in {where}",)
        return average, (f"averaged weights, from {where} (--raw takes the plain ones)",)
    return chosen, ()


def _script_views(source: Source, root: Module) -> tuple[dict[str, View], tuple[str, ...]]:
    """The tensors of a program, and the remark on it."""
    try:
        return flattened(root), (REMARK,)
    except BrokenPickle as broken:
        raise source.fault(f"its pickle is not that of weights: {broken}") from None


def _tensors(mapping: tuple[int, int, str, dict[str, Any]]) -> dict[str, View]:
    return {name: value for name, value in mapping[3].items() if isinstance(value, View)}


def _several_cells(views: dict[str, View]) -> int:
    """How many tensors are more than a single number: counters are, and an average has its own."""
    return sum(bool(view.shape) for view in views.values())


def _mappings(root: Any) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """(rank, depth, key, mapping) of each dict that holds tensors itself; the lowest is the network's."""
    level, visited = [("", root)], set[int]()
    for depth in range(DEEPEST):
        inner: list[tuple[str, Any]] = []
        for key, value in level:
            if isinstance(value, dict) and id(value) not in visited:
                visited.add(id(value))
                inner += value.items()
                if any(isinstance(item, View) for item in value.values()):
                    yield RANKS.get(key, len(RANKS)), depth, key, value
        level = inner


def _contents(source: Source, kind: str, views: dict[str, View], place: Place) -> Contents:
    entries = {name: view.entry for name, view in views.items()}
    check(source, entries)

    def fetch(name: str) -> NDArray[Any]:
        view = views[name]
        width = itemsize(view.storage.dtype)
        data = source.at(place(view.storage) + view.start * width, view.span * width)
        # Along a dimension of one cell no step is ever taken, so its stride may be any number.
        strides = [stride * width if size > 1 else 0 for size, stride in zip(view.shape, view.strides, strict=True)]
        stored = np.ndarray(view.shape, STORED[view.storage.dtype], data, strides=strides if data else None)
        return numbers(stored, view.storage.dtype)

    return Contents(kind, entries, fetch)
