"""Everything that an exact resume needs, in files that are whole or absent.

A state is one safetensors file: the tensors of network, average and optimizer, and as metadata the
position in the run and its history. Its name holds the step and a digest of its content, so that a
damaged file is noticed and the one before it is used. The last two are kept.

No random generator is stored: each step draws from new generators that are seeded with the run's seed
and the number of the step (`seeded`), so a resumed run draws the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from queue import SimpleQueue
from typing import Any, get_type_hints

import msgspec
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from inceptory.errors import ConfigError, DataError, WriteError
from inceptory.learn.settings.folder import STATE, STATES, states_in
from inceptory.measure.results import Epoch
from inceptory.measure.tasks import SINGLE_LABEL, Task
from inceptory.system import files

ORDER, CHANCE, GLOBAL, CROPS, EASY = range(5)
"""What random numbers are drawn for: an epoch's order, augmentation, dropout, random crops, pictures left out."""
KEPT = 2
"""States that are kept: the newest, and the one before it in case the newest is damaged."""
DAMAGED = (ValueError, KeyError, TypeError, IndexError, RuntimeError, RecursionError, safetensors.SafetensorError)
"""Errors raised while reading a state whose content is not what was written."""
LARGE = 2**16
"""Tensors of so many bytes are written as a block of their own, smaller ones are joined."""
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by their width in bytes: numpy has no bfloat16, so all bytes are handled as integers."""
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}


@dataclass
class Position:
    """How far a run has come, in plain numbers."""

    step: int = 0
    """Steps done."""
    rate: float = 0.0
    """Learning rate of the last step."""
    seen: int = 0
    """Pictures trained on in the present epoch."""
    losses: float = 0.0
    """Sum of their objectives, which the steps minimise."""
    plain: float = 0.0
    """Sum of their cross-entropies."""
    right: float = 0.0
    """How many of them were answered correctly."""
    training: float = 0.0
    """Seconds spent in the steps of this epoch."""
    used: float = 0.0
    """Seconds spent in the run by all of its commands, each counted from its start."""
    budget: dict[str, Any] = field(default_factory=dict)
    """`Budget.to_json` of a timed run."""
    over: bool = False
    """Whether the last step is done and validated."""
    history: list[Epoch] = field(default_factory=list)
    """Epochs that are done and validated."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "history": [row.to_json() for row in self.history]}

    @classmethod
    def from_json(cls, plain: dict[str, Any], task: Task) -> Position:
        """The position from the values of `to_json`, in a run of this task."""
        types = get_type_hints(cls)
        history = [msgspec.convert(row, task.epoch) for row in plain["history"]]
        return cls(
            **{name: msgspec.convert(plain[name], types[name]) for name in plain if name != "history"}, history=history
        )


@dataclass
class State:
    """A run between two of its steps."""

    position: Position
    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    """`loop.facts`: some must be the same when the run goes on, a change of the others is reported."""


def seeded(seed: int, *place: int) -> torch.Generator:
    """A new generator, seeded by the run's seed, a purpose, and where in the run it is used, such as (step, rank)."""
    return torch.Generator().manual_seed(number(seed, *place))


def number(*parts: int) -> int:
    """A seed that depends on all parts, as a hash does: similar parts give unrelated seeds."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def save(folder: Path, state: State) -> Path:
    """Write a state and remove all but the last two; a WriteError leaves the earlier states as they were.

    A write that fails is tried once more: some faults of networks and disks are gone a moment later.
    """
    try:
        path = _write(folder / STATES, state)
    except WriteError:
        path = _write(folder / STATES, state)
    for old in states_in(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def _write(folder: Path, state: State) -> Path:
    with files.pending(folder / "new") as file, _Digest() as digest:
        for block in _blocks(state):
            digest.add(block)
            file.write(block)
        # The disk writes while the digest is still being computed.
        file.sync()
        file.path = folder / f"{state.position.step:09d}-{digest.value()}.safetensors"
    return file.path


def _blocks(state: State) -> Iterator[memoryview]:
    """The file's bytes, small tensors joined: many small blocks would make writer and digest wait for each other."""
    small = bytearray(_header(state))
    for tensor in state.tensors.values():
        if tensor.nbytes < LARGE:
            small += _bytes_of(tensor)
            continue
        yield memoryview(small)
        yield _bytes_of(tensor)
        small = bytearray()
    yield memoryview(small)


class _Digest:
    """A digest computed by a thread while the file is written: disk and processor work at the same time."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._blocks: SimpleQueue[memoryview | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> _Digest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.value()

    def _work(self) -> None:
        for block in iter(self._blocks.get, None):
            self._digest.update(block)

    def add(self, block: memoryview) -> None:
        """Take in the next bytes."""
        self._blocks.put(block)

    def value(self) -> str:
        """The digest of all bytes."""
        self._blocks.put(None)
        self._thread.join()
        return self._digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    # Copied by numpy, which uses this thread only: torch's threads would wait for the thread of the digest.
    array = _as_it_lies(tensor.detach().cpu()).view(INTEGERS[tensor.element_size()]).numpy()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _as_it_lies(tensor: Tensor) -> Tensor:
    """The tensor with its dimensions in the order of its memory, so that it can be written without a copy."""
    return tensor.permute(0, 2, 3, 1) if _channels_last(tensor) else tensor


def _header(state: State) -> memoryview:
    """The header of a safetensors file: its length, then JSON, padded with spaces to a multiple of eight."""
    start, table = 0, dict[str, Any]()
    for name, tensor in state.tensors.items():
        end, shape = start + tensor.nbytes, _as_it_lies(tensor).shape
        table[name] = {"dtype": TYPES[tensor.dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    channels_last = [name for name, tensor in state.tensors.items() if _channels_last(tensor)]
    plain = {"position": state.position.to_json(), "facts": state.facts, "channels_last": channels_last}
    table["__metadata__"] = {key: json.dumps(value) for key, value in plain.items()}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def newest(folder: Path, task: Task = SINGLE_LABEL) -> tuple[State | None, list[str]]:
    """The newest undamaged state, and a line for each damaged one that was newer.

    Raises ConfigError for a state that another version wrote, DataError where all states are damaged.
    """
    notes: list[str] = []
    for path in states_in(folder):
        try:
            return _read(path, task), notes
        except (*DAMAGED, DataError, OSError) as fault:
            notes.append(f"{path}: damaged, {fault}; the one before is used")
    if notes:
        newest_fault = notes[0].partition(";")[0]
        problem = f"{folder / STATES}: all {len(notes)} saved states are damaged, the newest: {newest_fault}"
        raise DataError(f"{problem} (restore one from a copy; to begin anew choose another --out)")
    return None, notes


def _read(path: Path, task: Task) -> State:
    match = STATE.fullmatch(path.name)
    assert match is not None, "only such names are listed"
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != match[2]:
            raise DataError("its content is not what was written")
    with files.in_utf8(path) as name, safetensors.safe_open(name, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    position = msgspec.json.decode(metadata["position"], type=dict[str, Any])
    strange = sorted(position.keys() ^ {each.name for each in fields(Position)})
    if strange:
        raise ConfigError(f"{path}: of another version of inceptory, by its {strange[0]} (go on with that one)")
    for name in json.loads(metadata["channels_last"]):
        tensors[name] = tensors[name].permute(0, 3, 1, 2)
    return State(
        Position.from_json(position, task), tensors, msgspec.json.decode(metadata["facts"], type=dict[str, Any])
    )


def finite(tensors: dict[str, Tensor]) -> Iterator[str]:
    """Names of tensors that hold NaN or infinity."""
    for name, tensor in tensors.items():
        # The sum of all values is finite only if each of them is.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.sum())):
            yield name
