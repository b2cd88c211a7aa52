"""A pickle read as data: a stack machine over inert values, on which a name never becomes code.

A name (a "global") must be on the caller's list, and what a call of it gives is built by the
caller's own function; any other name ends the reading. The bytes are cut into instructions and their
arguments by the standard library's pickletools, which runs nothing (protocols 0 to 5); what they mean
is decided here, and those that only serve programs are left out on purpose.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

MOST_OPCODES = 400_000
"""A state dict takes about 45 for each tensor."""
LONGEST_STRING = 2**16
"""Characters of a string that is kept; a longer one cannot be a name."""
LONGEST_INTEGER = 128
"""Bits of a number."""

Constructor = Callable[[tuple[Any, ...]], Any]
Names = Mapping[str, Constructor | None]
"""What may be named, each with what a call of it gives; None may be named but not called."""


class RefusedName(Exception):
    """The pickle names something that is not on the list; `str()` is the name."""


class BrokenPickle(Exception):
    """The bytes are no pickle, or one that no state dict needs; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name that is on the list."""

    path: str


class Inert:
    """Something that a trainer keeps beside the weights: it holds nothing and can do nothing."""


INERT = Inert()


class Module(dict[str, Any]):
    """An object of a program, as the record of its attributes."""


class Machine:
    """Reads one pickle out of `data`; nothing that it builds can do anything.

    Values are None, bool, int, float, str, bytes, list (for sets too), tuple, dict with str keys
    only, Name, INERT, and what the constructors give.
    """

    def __init__(self, data: bytes, names: Names, persistent: Constructor) -> None:
        self._data = data
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        """(value, position after the pickle); raises RefusedName or BrokenPickle."""
        try:
            for code, argument, position in islice(pickletools.genops(self._data), MOST_OPCODES):
                if code.name == "STOP":
                    assert position is not None, "bytes have positions"
                    return self._last(), position + 1
                if code.name not in ACTIONS:
                    raise BrokenPickle(f"it uses instruction {ord(code.code):#04x}, which no weights need")
                ACTIONS[code.name](self, argument)
        except (LookupError, ValueError):
            raise BrokenPickle("it is cut short or damaged") from None
        raise BrokenPickle(f"it has more than {MOST_OPCODES:,} instructions")

    def _last(self) -> Any:
        value = self.pop()
        if self._stack or self._marks:
            raise BrokenPickle("it leaves values behind")
        return value

    # Stack and memo

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the value on top."""
        self._above(1)
        return self._stack.pop()

    def top(self) -> Any:
        """The value on top."""
        self._above(1)
        return self._stack[-1]

    def pop_tuple(self, count: int) -> tuple[Any, ...]:
        """Take the last values."""
        self._above(count)
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        return values

    def _above(self, count: int) -> None:
        if len(self._stack) - (self._marks[-1] if self._marks else 0) < count:
            raise BrokenPickle("it takes values that are not there")

    def mark(self) -> None:
        """Remember the height of the stack."""
        self._marks.append(len(self._stack))

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def discard(self) -> None:
        """Drop the value on top, or the mark where one is there."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self.pop()

    def remember(self, index: int | None = None) -> None:
        """Note the value on top under a number, by default the next one."""
        index = len(self._memo) if index is None else index
        if not 0 <= index <= MOST_OPCODES:
            raise BrokenPickle("it numbers its values out of range")
        self._memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Put a noted value on the stack."""
        self.push(self._memo[index])

    # Values

    def integer(self, value: int) -> None:
        """A number, or a truth value of protocol 1."""
        if value.bit_length() > LONGEST_INTEGER:
            raise BrokenPickle("it holds an integer that no weights need")
        self.push(value)

    def text(self, value: str) -> None:
        """A string; raises ValueError for a lone surrogate, which pickletools lets pass and UTF-8 cannot hold."""
        kept = value if len(value) <= LONGEST_STRING else ""
        kept.encode()
        self.push(kept)

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top."""
        target = self.top()
        if not isinstance(target, list):
            raise BrokenPickle("it appends to what is no list")
        target.extend(values)

    def update(self, values: list[Any]) -> None:
        """Set items of the dict on top; keys that are no text name no tensor and are dropped."""
        target = self.top()
        if not isinstance(target, dict) or len(values) % 2:
            raise BrokenPickle("it sets items of what is no dict")
        target.update(pairs(values[::2], values[1::2]))

    # Names and calls

    def name(self, path: str) -> None:
        """A name; raises RefusedName for one that is not on the list."""
        if path not in self._names:
            raise RefusedName(path)
        self.push(Name(path))

    def name_from_stack(self) -> None:
        """A name whose two parts lie on the stack."""
        module, name = self.pop_tuple(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise BrokenPickle("it names something that is no text")
        self.name(f"{module}.{name}")

    def call(self) -> None:
        """What the constructor of a name makes of its arguments."""
        callee, arguments = self.pop_tuple(2)
        build = self._names[callee.path] if isinstance(callee, Name) else None
        if build is None or not isinstance(arguments, tuple):
            raise BrokenPickle("it calls what cannot be called")
        self.push(build(arguments))

    def build(self) -> None:
        """The state of an object: a module's attributes; that of dicts and of what is inert is of no use."""
        target, state = self.pop_tuple(2)
        if isinstance(target, Module) and isinstance(state, dict):
            target.update(state)
        if not isinstance(target, dict | Inert):
            raise BrokenPickle("it sets the state of what has none")
        self.push(target)

    def persistent(self) -> None:
        """What the caller makes of a reference to something outside."""
        reference = self.pop()
        self.push(self._persistent(reference if isinstance(reference, tuple) else ()))

    def instance(self, path: str) -> None:
        """An object of a class in old protocols: the name is checked, and no name on the list is such a class."""
        self.name(path)
        raise BrokenPickle("it makes an object of a class")


def pairs(keys: Any, values: Any) -> dict[str, Any]:
    """A dict of those items whose key is a text."""
    # Only texts: their hashes are salted, so a file cannot make them collide.
    return {key: value for key, value in zip(keys, values, strict=False) if isinstance(key, str)}


def _dict(machine: Machine, _: Any) -> None:
    values = machine.pop_mark()
    machine.push({})
    machine.update(values)


def _object(machine: Machine, _: Any) -> None:
    raise BrokenPickle("it makes an object of a class")


def _with_words(machine: Machine, _: Any) -> None:
    """An object of a class with keyword arguments, of which nothing on the list needs any."""
    machine.pop()
    machine.call()


def _path(pair: str) -> str:
    """A name of two lines, between which pickletools puts a space."""
    return pair.replace(" ", ".", 1)


Action = Callable[[Machine, Any], None]
TEXTS = ("STRING", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
INTEGERS = ("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4")
ACTIONS: dict[str, Action] = {
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.discard(),
    "POP_MARK": lambda m, _: m.pop_mark().clear(),
    "DUP": lambda m, _: m.push(m.top()),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    **dict.fromkeys(INTEGERS, Machine.integer),
    **dict.fromkeys(("FLOAT", "BINFLOAT"), Machine.push),
    **dict.fromkeys(TEXTS, Machine.text),
    # Bytes are kept for nothing but their place on the stack.
    **dict.fromkeys(BYTES, lambda m, _: m.push(b"")),
    # Containers
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push([]),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "DICT": _dict,
    "FROZENSET": lambda m, _: m.push(m.pop_mark()),
    "TUPLE1": lambda m, _: m.push(m.pop_tuple(1)),
    "TUPLE2": lambda m, _: m.push(m.pop_tuple(2)),
    "TUPLE3": lambda m, _: m.push(m.pop_tuple(3)),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.pop_mark()),
    "SETITEM": lambda m, _: m.update(list(m.pop_tuple(2))),
    "SETITEMS": lambda m, _: m.update(m.pop_mark()),
    # Memo
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.recall),
    # Names and calls
    "GLOBAL": lambda m, pair: m.name(_path(pair)),
    "STACK_GLOBAL": lambda m, _: m.name_from_stack(),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.persistent(),
    "INST": lambda m, pair: m.instance(_path(pair)),
    "OBJ": _object,
    # An object of a class is made as by a call of it.
    "NEWOBJ": lambda m, _: m.call(),
    "NEWOBJ_EX": _with_words,
    # Instructions that hold nothing that we need.
    **dict.fromkeys(("PROTO", "FRAME"), lambda _, __: None),
}
"""What each instruction does, by pickletools' name for it."""
