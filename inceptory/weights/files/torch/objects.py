"""What a torch state dict is made of, as records: storages, and dense strided views of them.

Each constructor stands for the torch function of the same name and checks what it is given; none
of them touches a byte of a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from inceptory.weights.files.source import MOST_DIMENSIONS, STORED, Entry, itemsize
from inceptory.weights.files.torch.pickle_reader import INERT, BrokenPickle, Inert, Name, Names, pairs

STORAGES = {
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.DoubleStorage": "float64",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of `count` elements that lies elsewhere in the file under `key`, or a part of it."""

    key: str
    dtype: str
    count: int
    start: int = 0
    length: int = 0

    @property
    def size(self) -> int:
        """Bytes of the whole run."""
        return self.count * itemsize(self.dtype)


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: where it starts in its storage and how far apart its elements are, in elements."""

    storage: Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def entry(self) -> Entry:
        """Shape and type."""
        return Entry(self.shape, self.storage.dtype)

    @property
    def span(self) -> int:
        """Elements of the storage from the first to the last one."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))


def storage(reference: tuple[Any, ...]) -> Storage:
    """The storage that a persistent id stands for: ("storage", type, key, device, count[, view])."""
    match reference:
        case ("storage", Name(path), str(key), _, int(count)) | ("storage", Name(path), str(key), _, int(count), None):
            return _whole(path, key, count)
        case ("storage", Name(path), str(key), _, int(count), (_, int(start), int(length))):
            whole = _whole(path, key, count)
            if start < 0 or length < 0 or start + length > count:
                raise BrokenPickle("a part of a storage lies outside of it")
            return replace(whole, start=start, length=length)
        case _:
            raise BrokenPickle("it refers to something that is no storage of numbers")


def _whole(path: str, key: str, count: int) -> Storage:
    if path not in STORAGES or isinstance(count, bool) or count < 0:
        raise BrokenPickle("a storage is described wrongly")
    return Storage(key, STORAGES[path], count, 0, count)


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[str, Any]:
    match arguments:
        case ():
            return {}
        case (dict() as items,):
            return items
        case (list() as items,) if all(isinstance(item, list | tuple) and len(item) == 2 for item in items):
            # Python 2 wrote the items as a list of pairs. It is used up, so that a file cannot
            # have the same long list turned into a dict over and over.
            keys, values = [item[0] for item in items], [item[1] for item in items]
            items.clear()
            return pairs(keys, values)
        case _:
            raise BrokenPickle("an ordered dict is not made of pairs")


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    match arguments:
        case (list() as sizes,) | (tuple() as sizes,):
            return _naturals(sizes)
        case _:
            raise BrokenPickle("a shape is not made of sizes")


def _naturals(values: Sequence[Any]) -> tuple[int, ...]:
    if len(values) > MOST_DIMENSIONS or not all(type(value) is int and value >= 0 for value in values):
        raise BrokenPickle("a tensor has an impossible shape or strides")
    return tuple(values)


def _tensor(arguments: tuple[Any, ...]) -> View:
    match arguments:
        case (Storage() as whole, int() as start, tuple() as shape, tuple() as strides, *more) if len(more) <= 3:
            pass
        case _:
            raise BrokenPickle("a tensor is not dense or is described wrongly")
    if len(more) == 3 and more[2]:
        raise BrokenPickle("a tensor is conjugated or negated")
    if len(shape) != len(strides):
        raise BrokenPickle("a tensor has other strides than dimensions")
    view = View(whole, whole.start + _naturals((start,))[0], _naturals(shape), _naturals(strides))
    # An expanded tensor repeats cells by strides of 0. How large it becomes is bounded for the whole file.
    cells = prod(size for size, stride in zip(shape, strides, strict=True) if stride)
    if cells > whole.length or start + view.span > whole.length:
        raise BrokenPickle("a tensor reaches beyond its storage")
    return view


def _parameter(arguments: tuple[Any, ...]) -> View:
    match arguments:
        case (View() as view, *_):
            return view
        case _:
            raise BrokenPickle("a parameter is not made of a tensor")


def inert(_: tuple[Any, ...]) -> Inert:
    """The stand-in for everything that we do not need."""
    return INERT


def _defaultdict(_: tuple[Any, ...]) -> dict[str, Any]:
    return {}


def _counter(arguments: tuple[Any, ...]) -> dict[str, Any]:
    return arguments[0] if arguments and isinstance(arguments[0], dict) else {}


def _deque(_: tuple[Any, ...]) -> list[Any]:
    return []


BESIDE = (
    *("argparse.Namespace", "types.SimpleNamespace", "torch.device", "_codecs.encode"),
    *("numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{maker}" for core in ("core", "_core") for maker in ("scalar", "_reconstruct")),
    *(f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in ("set", "frozenset", "bytearray")),
    *(
        f"pathlib.{local}{pure}{system}Path"
        for local in ("", "_local.")
        for pure in ("", "Pure")
        for system in ("Posix", "Windows")
    ),
    *(f"datetime.{kind}" for kind in ("datetime", "date", "time", "timedelta", "timezone")),
)
"""What trainers keep beside the weights: settings, numbers of NumPy, paths and times. It tells us nothing."""
TYPES = (
    *(f"torch.{kind}" for kind in (*STORED, "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")),
    *(
        f"{module}.{kind}"
        for module in ("builtins", "__builtin__")
        for kind in ("int", "float", "bool", "str", "list", "dict")
    ),
)
"""Types that may be named, and are never called."""

NAMES: Names = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.defaultdict": _defaultdict,
    "collections.Counter": _counter,
    "collections.deque": _deque,
    **dict.fromkeys(BESIDE, inert),
    **dict.fromkeys(STORAGES),
    **dict.fromkeys(TYPES),
}
"""Everything that a file of weights may name."""
