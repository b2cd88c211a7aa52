"""A pickle read as data: a stack machine over inert values, on which a name never becomes code.

A name (a "global") must be on the caller's list, and what a call of it gives is built by the
caller's own function; any other name ends the reading. Opcodes: protocols 0 to 5 as CPython's
pickletools documents them; those that only serve programs are left out on purpose.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_OPCODES = 400_000
"""A state dict takes about 45 for each tensor."""
LONGEST_LINE = 2**12
LONGEST_STRING = 2**16
"""Bytes of a string that is kept; a longer one is skipped, for it cannot be a name."""
LONGEST_INTEGER = 16
LONGEST_DECIMAL = 40

STOP = ord(".")

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
        self._position = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, start: int = 0) -> tuple[Any, int]:
        """(value, position behind the pickle); raises RefusedName or BrokenPickle."""
        self._position = start
        try:
            for _ in range(MOST_OPCODES):
                code = self._data[self._position]
                self._position += 1
                if code == STOP:
                    return self._last(), self._position
                self._step(code)
        except (LookupError, ValueError, struct.error):
            raise BrokenPickle("it is cut short or damaged") from None
        raise BrokenPickle(f"it has more than {MOST_OPCODES:,} instructions")

    def _step(self, code: int) -> None:
        action = ACTIONS.get(code)
        if action is None:
            raise BrokenPickle(f"it uses instruction {code:#04x}, which no weights need")
        action(self)

    def _last(self) -> Any:
        value = self.pop()
        if self._stack or self._marks:
            raise BrokenPickle("it leaves values behind")
        return value

    # Bytes

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self._position + count
        if count < 0 or end > len(self._data):
            raise BrokenPickle("it is cut short")
        data = self._data[self._position : end]
        self._position = end
        return data

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        self.take(count)

    def number(self, form: str) -> Any:
        """The next number, as `struct` names its form."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The text up to the end of the line."""
        end = self._data.find(b"\n", self._position, self._position + LONGEST_LINE)
        if end < 0:
            raise BrokenPickle("a line does not end")
        return self.take(end + 1 - self._position)[:-1].decode("utf-8")

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
            raise BrokenPickle("it counts its values strangely")
        self._memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Put a noted value on the stack."""
        self.push(self._memo[index])

    # Values

    def integer(self, text: str) -> None:
        """A decimal integer; "00" and "01" are the truth values of protocol 1."""
        text = text.removesuffix("L")
        if len(text) > LONGEST_DECIMAL:
            raise BrokenPickle("it holds an integer that no weights need")
        self.push(text == "01" if text in ("00", "01") else int(text))

    def bytes_integer(self, length: int) -> None:
        """A little-endian two's complement integer."""
        if length > LONGEST_INTEGER:
            raise BrokenPickle("it holds an integer that no weights need")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def string(self, length: int, encoding: str) -> None:
        """A string of so many bytes."""
        data = self.take(length)
        self.push(data.decode(encoding) if length <= LONGEST_STRING else "")

    def raw(self, length: int) -> None:
        """Bytes, kept for nothing but their place on the stack."""
        self.push(self.take(length)[:LONGEST_LINE])

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

    def name(self, module: Any, name: Any) -> None:
        """A name, or the end of the reading."""
        path = f"{module}.{name}"
        if path not in self._names:
            raise RefusedName(path)
        self.push(Name(path))

    def name_from_stack(self) -> None:
        """A name whose two parts lie on the stack."""
        module, name = self.pop_tuple(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise BrokenPickle("it names something that is no text")
        self.name(module, name)

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
        told = self.pop()
        self.push(self._persistent(told if isinstance(told, tuple) else ()))

    def instance(self) -> None:
        """Old protocols' call of a class: its name is read and nothing on the list is one."""
        self.name(self.line(), self.line())
        raise BrokenPickle("it makes an object of a class")


def pairs(keys: Any, values: Any) -> dict[str, Any]:
    """A dict of those items whose key is a text."""
    # Only texts: their hashes are salted, so a file cannot make them collide.
    return {key: value for key, value in zip(keys, values, strict=False) if isinstance(key, str)}


def _dict(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push({})
    machine.update(values)


def _named_object(machine: Machine) -> None:
    raise BrokenPickle("it makes an object of a class")


def _with_words(machine: Machine) -> None:
    """An object of a class with arguments by name, which tell nothing of what is on the list."""
    machine.pop()
    machine.call()


ACTIONS: dict[int, Callable[[Machine], None]] = {
    ord("("): Machine.mark,
    ord("0"): Machine.discard,
    ord("1"): lambda m: m.pop_mark().clear(),
    ord("2"): lambda m: m.push(m.top()),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    # Numbers
    ord("I"): lambda m: m.integer(m.line()),
    ord("L"): lambda m: m.integer(m.line()),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.number("<B")),
    ord("M"): lambda m: m.push(m.number("<H")),
    ord("G"): lambda m: m.push(m.number(">d")),
    0x8A: lambda m: m.bytes_integer(m.number("<B")),
    0x8B: lambda m: m.bytes_integer(m.number("<I")),
    # Texts and bytes; those of Python 2 are Latin-1
    ord("S"): lambda m: m.push(m.line()),
    ord("V"): lambda m: m.push(m.line()),
    ord("T"): lambda m: m.string(m.number("<i"), "latin-1"),
    ord("U"): lambda m: m.string(m.number("<B"), "latin-1"),
    ord("X"): lambda m: m.string(m.number("<I"), "utf-8"),
    0x8C: lambda m: m.string(m.number("<B"), "utf-8"),
    0x8D: lambda m: m.string(m.number("<Q"), "utf-8"),
    ord("B"): lambda m: m.raw(m.number("<I")),
    ord("C"): lambda m: m.raw(m.number("<B")),
    0x8E: lambda m: m.raw(m.number("<Q")),
    0x96: lambda m: m.raw(m.number("<Q")),
    # Containers
    ord(")"): lambda m: m.push(()),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    0x8F: lambda m: m.push([]),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    ord("l"): lambda m: m.push(m.pop_mark()),
    ord("d"): _dict,
    0x91: lambda m: m.push(m.pop_mark()),
    0x85: lambda m: m.push(m.pop_tuple(1)),
    0x86: lambda m: m.push(m.pop_tuple(2)),
    0x87: lambda m: m.push(m.pop_tuple(3)),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.pop_mark()),
    0x90: lambda m: m.extend(m.pop_mark()),
    ord("s"): lambda m: m.update(list(m.pop_tuple(2))),
    ord("u"): lambda m: m.update(m.pop_mark()),
    # Memo
    ord("p"): lambda m: m.remember(_index(m.line())),
    ord("q"): lambda m: m.remember(m.number("<B")),
    ord("r"): lambda m: m.remember(m.number("<I")),
    0x94: Machine.remember,
    ord("g"): lambda m: m.recall(_index(m.line())),
    ord("h"): lambda m: m.recall(m.number("<B")),
    ord("j"): lambda m: m.recall(m.number("<I")),
    # Names and calls
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: Machine.name_from_stack,
    ord("R"): Machine.call,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent,
    ord("i"): Machine.instance,
    ord("o"): _named_object,
    # An object of a class is made as by a call of it.
    0x81: Machine.call,
    0x92: _with_words,
    # Protocol and frame say nothing that we need
    0x80: lambda m: m.skip(1),
    0x95: lambda m: m.skip(8),
}


def _index(text: str) -> int:
    if not re.fullmatch(r"\d{1,7}", text, re.ASCII):
        raise BrokenPickle("it counts its values strangely")
    return int(text)
