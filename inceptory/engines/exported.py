"""A folder of `export` as a model: looked over, and ready to answer. Without torch.

What a file of `torch.export` holds is a program, which is run as it is read, and parts of it are unpickled: nothing
here reads one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import mmap
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import EXTRA, Engine, Name, Precision
from inceptory.errors import ConfigError, DataError, MissingError
from inceptory.nets.catalogue import Plan
from inceptory.system import files
from inceptory.system.fetch import cache_folder
from inceptory.weights.card import Card
from inceptory.weights.seal import WORD, is_sealed, require_sealed

if TYPE_CHECKING:  # reading files of weights takes a tenth of a second to load, which no exported folder needs
    from inceptory.weights.model import Model

    Opened: TypeAlias = "Model | Exported"
    """What answers: an open file of weights, or an exported folder."""

Target = Literal["onnx", "openvino", "torch-export"]

FORMAT = 1
CARD = "card.json"
RECORD = "export"
"""Word of the card for what only an export knows."""
FILES: dict[Target, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch-export": ("model.pt2",),
}
"""The network in each kind of folder; the first is what a reader is given."""
ENGINES: dict[Target, Name] = {"onnx": "onnxruntime", "openvino": "openvino"}
OUTSIDE = b"\n\x08location"
"""How an ONNX file begins to say in which other file its numbers lie. Ours lie in the file itself."""
KEPT = 8
"""Compiled networks that stay in the cache; each takes as much as its file."""
AGAIN = "export it again"


@dataclass(frozen=True)
class Export:
    """What a card says of the folder that it lies in."""

    format: int
    to: Target
    precision: Precision
    source: str
    """sha256 of the file of weights."""
    files: dict[str, str]
    """sha256 of every other file, by name."""
    versions: dict[str, str]


@dataclass(frozen=True, eq=False)
class Exported:
    """An exported folder whose files are those that were written; stands where a `Model` does."""

    path: Path
    """The folder."""
    card: Card
    plan: Plan
    export: Export

    @property
    def remarks(self) -> tuple[str, ...]:
        """How it was read, which is always the usual way."""
        return ()

    @property
    def file_bytes(self) -> int:
        """Of the network's files."""
        return sum((self.path / name).stat().st_size for name in FILES[self.export.to])

    def require_classifier(self) -> None:
        """Raise ConfigError for a network that cannot name what is in pictures."""
        if not self.card.labels:
            raise ConfigError(f"{self.path}: knows no class names (export a model that does)")

    def require_preprocess(self) -> Preprocess:
        """How its pictures are prepared."""
        assert self.card.preprocess is not None, "without it nothing is exported or opened"
        return self.card.preprocess

    def digest(self) -> str:
        """sha256 that stands for its answers: of the network's files and its arithmetic."""
        facts = [self.export.to, self.export.precision, [self.export.files[name] for name in FILES[self.export.to]]]
        return hashlib.sha256(files.json_text(facts).encode()).hexdigest()

    @cached_property
    def computes(self) -> Name:
        """The engine that it is for; raises ConfigError for a program of torch.export."""
        if self.export.to not in ENGINES:
            remedy = "give the checkpoint, or export it --to onnx or openvino"
            raise ConfigError(f"{self.path}: is for torch.export.load, which runs what a file says ({remedy})")
        return ENGINES[self.export.to]

    def engine(self) -> Engine:
        """Raises ConfigError where its package is not installed or this machine lacks its precision."""
        if importlib.util.find_spec(self.computes) is None:
            raise ConfigError(f"{self.path}: needs {self.computes} ({EXTRA})")
        return engine_of(
            self.path, self.export.to, self.export.precision, self.card, cache=_room_to_compile(self.digest())
        )

    def close(self) -> None:
        """Nothing is open."""


def is_exported(model: object) -> bool:
    """Whether this is a folder of `export`, also one in which something is missing."""
    if not isinstance(model, str | Path) or not files.is_folder(model):
        return False
    return any(files.exists(Path(model, name)) for name in (CARD, *(name for each in FILES.values() for name in each)))


def open_exported(folder: Path | str) -> Exported:
    """The model in a folder of `export`, once each of its files is as it was written.

    Raises MissingError for a file that is not there, DataError for one that was changed and for another format.
    """
    folder = Path(folder)
    card, export = _read(folder / CARD)
    # The package loads while the files are compared, which leaves the interpreter free.
    loading = Thread(target=_load, args=(export.to,))
    loading.start()
    try:
        for name in FILES[export.to]:
            _check(folder / name, export.files.get(name))
    finally:
        loading.join()
    return Exported(folder, card, card.plan(), export)


def engine_of(folder: Path, to: Target, precision: Precision, card: Card, cache: Path | None = None) -> Engine:
    """The engine of the network's file in a folder; in `cache` OpenVINO keeps what it has compiled."""
    assert card.preprocess is not None, "without it nothing is exported or opened"
    path, several = folder / FILES[to][0], card.multi_label
    if to == "openvino":
        from inceptory.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path, card.preprocess, multi_label=several, precision=precision, cache=cache)
    from inceptory.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(path, card.preprocess, multi_label=several, precision=precision)


def _load(to: Target) -> None:
    with suppress(ImportError):  # told by `Exported.engine`
        if to in ENGINES:
            import_module(ENGINES[to])


def _check(path: Path, digest: str | None) -> None:
    """Raise MissingError or DataError for a file that is not the one of this sha256."""
    if not files.exists(path):
        raise MissingError(f"{path}: is missing ({AGAIN})")
    changed = DataError(f"{path}: is not the file that was exported, it is damaged or was changed ({AGAIN})")
    try:
        with open(files.regular(path), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if hashlib.sha256(content).hexdigest() != digest:
                raise changed
            if path.suffix == ".onnx" and content.find(OUTSIDE) >= 0:
                raise DataError(f"{path}: names another file for its numbers ({AGAIN})")
    except ValueError:  # nothing can be mapped of an empty file
        raise changed from None
    except OSError as fault:
        raise MissingError(f"{path}: cannot be read, {files.reason(fault)} (check its permissions)") from fault


def _read(path: Path) -> tuple[Card, Export]:
    """The card in a folder, and what it says of that."""
    if not files.exists(path):
        raise MissingError(f"{path}: is missing ({AGAIN})")
    text = files.read(path).decode(errors="replace").rstrip("\n")
    try:
        plain: dict[str, Any] = json.loads(text)
        record = plain.pop(RECORD)
        if record["format"] != FORMAT:
            raise DataError(f"{path}: is of another format than this version reads ({AGAIN}, or update inceptory)")
        export = msgspec.convert(record, Export)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise DataError(f"{path}: not as `export` writes it, {type(fault).__name__} {fault} ({AGAIN})") from None
    if not is_sealed(text):
        raise DataError(f"{path}: has no digest of its own, it was changed ({AGAIN})")
    require_sealed(path, text, ())
    plain.pop(WORD)
    card = Card.from_json(files.json_text(plain), str(path))
    if card.preprocess is None:
        raise DataError(f"{path}: knows no preprocessing ({AGAIN})")
    return card, export


def compiled() -> list[Path]:
    """What OpenVINO has kept of compiled networks, the one used last first."""
    used: list[tuple[float, Path]] = []
    with suppress(OSError, ValueError):
        for path in (cache_folder() / "engines" / "openvino").glob("*/*"):
            status = path.stat()
            used.append((max(status.st_atime, status.st_mtime), path))
    return [path for _, path in sorted(used, reverse=True)]


def _room_to_compile(digest: str) -> Path | None:
    """Where OpenVINO may keep a compiled network, less the oldest ones; None where there is no room.

    Each has a folder of its own: OpenVINO knows a network by its path, size and time, and another may have the same.
    """
    folder = cache_folder() / "engines" / "openvino" / digest[:32]
    with suppress(OSError, ValueError):
        folder.mkdir(parents=True, exist_ok=True)
        for path in compiled()[KEPT:]:
            path.unlink(missing_ok=True)
            files.remove_empty([path.parent])
        return folder
    return None
