"""The tensors of a TorchScript archive as data: modules are records of attributes, code is never looked at.

torch/csrc/jit/serialization/{export_module,pickler}.cpp, read, not copied.
"""

from __future__ import annotations

from typing import Any

from inceptory.weights.files.source import MOST_TENSORS
from inceptory.weights.files.torch.objects import NAMES, View, inert
from inceptory.weights.files.torch.pickle_reader import BrokenPickle, Constructor, Module, Names

CLASSES = "__torch__."
"""What the names of a program's classes begin with."""
MOST_ATTRIBUTES = 20 * MOST_TENSORS
"""Attributes that are looked at; modules that hold each other many times would take forever."""
DEEPEST = 32
"""Modules inside of modules."""
REMARK = "the tensors of a TorchScript program, whose code is not looked at"


def _module(_: tuple[Any, ...]) -> Module:
    return Module()


class _ScriptNames(dict[str, Constructor | None]):
    """The names of a state dict, and the classes of a program: each object is a record of its attributes."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(CLASSES))

    def __missing__(self, name: str) -> Constructor:
        return _module


LISTS = {f"torch.jit._pickle.build_{kind}list": inert for kind in ("int", "double", "bool", "tensor")}
SCRIPT_NAMES: Names = _ScriptNames({**NAMES, **LISTS, "torch.jit._pickle.restore_type_tag": inert})


def flattened(root: Module) -> dict[str, View]:
    """The tensors of a program's module by their paths, as its state dict would call them."""
    tensors: dict[str, View] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), root)]
    count = 1
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, View):
            tensors[".".join(path)] = value
        elif isinstance(value, Module):
            count += len(value)
            if count > MOST_ATTRIBUTES or len(path) > DEEPEST:
                raise BrokenPickle("its modules are nested without end")
            # In reverse, because the next one is taken from the end.
            waiting += [((*path, key), value[key]) for key in reversed(value)]
    return tensors
