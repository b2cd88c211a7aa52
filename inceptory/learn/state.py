"""Everything that an exact resume needs, in files that are whole or absent.

A state is one safetensors file: the tensors of network, average and optimizer, and as metadata the
position in the run, its history and the recipe. Its name carries the step and a digest of its
content, so that a damaged one is found and the one before is used. The last two are kept.

No generator is stored: every random number of a step is drawn from generators that the run's seed
and the number of the step start anew (`seeded`), so a run that begins in the middle draws the same.
"""

from __future__ import annotations

import hashlib
import json
import re
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
from inceptory.measure.results import Epoch
from inceptory.measure.tasks import SINGLE_LABEL, Task
from inceptory.system import files

FOLDER = "state"
KEPT = 2
"""States kept: the newest, and the one before in case the newest is damaged."""
DAMAGED = (ValueError, KeyError, TypeError, IndexError, RuntimeError, RecursionError, safetensors.SafetensorError)
"""What reading a state raises that holds something else than was written."""
NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.safetensors")
LARGE = 2**16
"""Bytes from which a tensor is a block of its own."""
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Types of each width that numpy has, too."""
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}


@dataclass
class Position:
    """Where a run stands, in plain numbers."""

    step: int = 0
    """Steps done."""
    rate: float = 0.0
    """Learning rate of the last step."""
    seen: int = 0
    """Pictures of the epoch under way."""
    losses: float = 0.0
    """Sum of what the steps make small."""
    plain: float = 0.0
    """Sum of their cross-entropies."""
    right: float = 0.0
    """How many of them were named right."""
    training: float = 0.0
    """Seconds spent in the steps of this epoch."""
    used: float = 0.0
    """Seconds spent in the run, from the start of each of its commands."""
    budget: dict[str, Any] = field(default_factory=dict)
    """What `Budget.to_json` gave of a timed run."""
    over: bool = False
    """Whether the last step is done and validated."""
    history: list[Epoch] = field(default_factory=list)
    """Epochs that are done and validated."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.__dict__, "history": [row.to_json() for row in self.history]}

    @classmethod
    def from_json(cls, plain: dict[str, Any], task: Task) -> Position:
        """The position that `to_json` gave, in a run of this task."""
        kinds = get_type_hints(cls)
        history = [msgspec.convert(row, task.epoch) for row in plain["history"]]
        return cls(
            **{name: msgspec.convert(plain[name], kinds[name]) for name in plain if name != "history"}, history=history
        )


@dataclass
class State:
    """A moment between two steps."""

    position: Position
    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    """What must be the same when the run goes on, and what is worth a notice when it is not."""


def seeded(seed: int, *place: int) -> torch.Generator:
    """The generator of one purpose at one place in a run, such as (step, rank)."""
    return torch.Generator().manual_seed(number(seed, *place))


def number(*parts: int) -> int:
    """A seed that depends on all parts and looks like none of them."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def save(folder: Path, state: State) -> Path:
    """Write a state and remove those before the last two; raises WriteError and loses nothing.

    A write that fails is tried once more: some faults of networks and disks pass.
    """
    try:
        path = _write(folder / FOLDER, state)
    except WriteError:
        path = _write(folder / FOLDER, state)
    for old in listed(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def _write(folder: Path, state: State) -> Path:
    with files.pending(folder / "new") as file, _Digest() as digest:
        for block in _blocks(state):
            digest.add(block)
            file.write(block)
        # The disk works while the digest is still on its way.
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
    """A digest computed beside the writing, since a disk and a processor can work at the same time."""

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
        """The next bytes."""
        self._blocks.put(block)

    def value(self) -> str:
        """The digest of all of them."""
        self._blocks.put(None)
        self._thread.join()
        return self._digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    # Laid out by numpy, in this thread alone: torch's own threads would wait for the digest's.
    whole = _as_it_lies(tensor.detach().cpu()).view(INTEGERS[tensor.element_size()]).numpy()
    return np.ascontiguousarray(whole).reshape(-1).view(np.uint8).data


def _channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _as_it_lies(tensor: Tensor) -> Tensor:
    """The tensor with its dimensions in the order of its memory, so that nothing is moved to write it."""
    return tensor.permute(0, 2, 3, 1) if _channels_last(tensor) else tensor


def _header(state: State) -> memoryview:
    """safetensors' header: its length, then JSON, filled with spaces to a multiple of eight."""
    at, table = 0, dict[str, Any]()
    for name, tensor in state.tensors.items():
        end, shape = at + tensor.nbytes, _as_it_lies(tensor).shape
        table[name] = {"dtype": TYPES[tensor.dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    last = [name for name, tensor in state.tensors.items() if _channels_last(tensor)]
    plain = {"position": state.position.to_json(), "facts": state.facts, "channels_last": last}
    table["__metadata__"] = {key: json.dumps(value) for key, value in plain.items()}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def listed(folder: Path) -> list[Path]:
    """The states of a run, newest first."""
    found = (folder / FOLDER).glob("*.safetensors") if (folder / FOLDER).is_dir() else ()
    return sorted((path for path in found if NAME.fullmatch(path.name)), key=lambda path: path.name, reverse=True)


def newest(folder: Path, task: Task = SINGLE_LABEL) -> tuple[State | None, list[str]]:
    """The newest state that is whole, and a line for each damaged one that was passed over.

    Raises ConfigError for a state that another version wrote, DataError where there are states and none is whole.
    """
    notes: list[str] = []
    for path in listed(folder):
        try:
            return _read(path, task), notes
        except (*DAMAGED, DataError, OSError) as fault:
            notes.append(f"{path}: damaged, {fault}; the one before is used")
    if notes:
        told = f"{folder / FOLDER}: all {len(notes)} saved states are damaged, the newest: {notes[0].partition(';')[0]}"
        raise DataError(f"{told} (restore one from a copy; to begin anew choose another --out)")
    return None, notes


def _read(path: Path, task: Task) -> State:
    match = NAME.fullmatch(path.name)
    assert match is not None, "only such names are listed"
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != match[2]:
            raise DataError("its content is not what was written")
    with files.in_utf8(path) as name, safetensors.safe_open(name, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    told = msgspec.json.decode(metadata["position"], type=dict[str, Any])
    other = sorted(told.keys() ^ {each.name for each in fields(Position)})
    if other:
        raise ConfigError(f"{path}: of another version of inceptory, by its {other[0]} (go on with that one)")
    for name in json.loads(metadata["channels_last"]):
        tensors[name] = tensors[name].permute(0, 3, 1, 2)
    return State(Position.from_json(told, task), tensors, msgspec.json.decode(metadata["facts"], type=dict[str, Any]))


def tidy(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for place in (folder, folder / FOLDER):
        for left in place.glob(f"{files.TEMPORARY}*"):
            left.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove all states: the run is finished and its checkpoints tell the rest."""
    for path in listed(folder):
        path.unlink(missing_ok=True)
    if (folder / FOLDER).is_dir() and not any((folder / FOLDER).iterdir()):
        (folder / FOLDER).rmdir()


def finite(tensors: dict[str, Tensor]) -> Iterator[str]:
    """Names of tensors that hold NaN or infinity."""
    for name, tensor in tensors.items():
        # A sum is finite only if every value is.
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.sum())):
            yield name
