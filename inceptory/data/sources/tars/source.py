"""WebDataset tars: members that share a name up to its first dot are one example, 0001.jpg and 0001.cls.

A tar is listed once by its headers; pictures are then read from their places in it. Nothing is
ever unpacked. The label stands in NAME.cls (a number or a word) or in NAME.json under "label" or
"class"; a file classes.txt beside the tars, or in one of them, names the numbers line by line. A
list under these words, or "labels" or "classes", makes the tars multi-label: every picture may show
several classes, and an empty list none.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.folders.listing import Listing, natural
from inceptory.data.sources.labels import HIDDEN, IN_LISTS, Cell, Labels, cell_of, hides, several_hot
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.data.sources.sequences import Frozen, Texts
from inceptory.data.sources.shards import below, by_split
from inceptory.data.sources.source import Source, Split, check_classes, numbered
from inceptory.data.sources.tars.index import Member, is_compressed, members
from inceptory.errors import DataError, MissingError
from inceptory.system.files import LARGEST, is_file, is_folder, read, reason, regular, too_large

PICTURES = {ending.removeprefix(".") for ending in ENDINGS}
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
LONGEST_LABEL = 2**20
"""Bytes of a member that may hold a label."""
BUFFER = 2**15
"""Bytes read at a time: headers of small pictures come many at once, large pictures are jumped over."""


def is_tar(name: str) -> bool:
    """Whether a name is meant as that of a tar, or as a pattern for several."""
    return name.lower().endswith((".tar", *COMPRESSED))


def is_pattern(path: Path) -> bool:
    """Whether a path stands for several tars: photos/train-*.tar."""
    return is_tar(path.name) and bool(re.search(r"[*?]", path.name)) and is_folder(path.parent)


def files_of(listing: Listing) -> list[Path]:
    """Tars of a folder, or of its folders where nothing else lies in them; raises DataError for several sets."""
    files = below(listing, is_tar, firm=False)
    return files if set(listing.folders()) <= {file.relative_to(listing.root).parts[0] for file in files} else []


def shards(path: Path) -> list[Path]:
    """The tars that a path or pattern stands for; raises MissingError where there are none."""
    if is_file(path):
        return [path]
    files = sorted(path.parent.glob(path.name), key=lambda file: natural(file.name))
    if not files:
        raise MissingError(f"{path}: no such tar (check the pattern)")
    return files


class TarPictures(Frozen[bytes]):
    """Pictures by their places in tars: each is one reading, so that any order costs the same and none is held."""

    def __init__(self, files: Sequence[str], ends: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        self._files, self._ends, self._places = tuple(files), ends, places

    def __len__(self) -> int:
        return len(self._places)

    def item(self, row: int) -> bytes:
        """The bytes of a picture; raises MissingError or DataError."""
        file = self._files[int(np.searchsorted(self._ends, row, side="right"))]
        offset, size = map(int, self._places[row])
        if size > LARGEST:
            raise DataError(too_large(f"{file}: a picture", size))
        try:
            with open(file, "rb", buffering=0) as tar:
                tar.seek(offset)
                data = tar.read(size)
        except OSError as fault:
            raise MissingError(f"{file}: cannot be read, {reason(fault)} (check its permissions)") from fault
        if len(data) < size:
            raise DataError(f"{file}: has become shorter (open the data again)")
        return data


class _Labels:
    """Labels as they come, each kept once."""

    def __init__(self) -> None:
        self.known: dict[Cell, int] = {}

    def code(self, label: Cell) -> int:
        """Its number in the order in which labels were met."""
        return self.known.setdefault(label, len(self.known))


@dataclass
class _Shard:
    """One tar, listed."""

    file: Path
    places: array[int]
    """Offset and size of each picture."""
    names: bytearray
    """Their names, one a line."""
    codes: array[int]
    classes: list[str] | None = None


def open_files(path: Path, files: Sequence[Path], layout: Layout = AUTO) -> Source:
    """Tars whose names, or the names of whose folders, say their split; raises DataError."""
    layout.only(path)
    labels = _Labels()
    parts = {split: [_list(file, labels) for file in group] for split, group in by_split(path, files).items()}
    every = [shard for group in parts.values() for shard in group]
    folder = path if is_folder(path) else path.parent
    classes, order = _meanings(path, _named(path, folder, every), labels)
    splits = {split: _split(group, order, folder) for split, group in parts.items()}
    return Source(str(path), classes, splits, (IN_LISTS,) if order.ndim == 2 else ())


def _split(shards: Sequence[_Shard], order: Labels, folder: Path) -> Split:
    places = np.concatenate([np.frombuffer(shard.places, dtype=np.int64) for shard in shards]).reshape(-1, 2)
    codes = np.concatenate([np.frombuffer(shard.codes, dtype=np.int64) for shard in shards])
    ends = np.cumsum([len(shard.codes) for shard in shards])
    common = str(folder / "x")[:-1]
    names = Texts(common, (f"{str(shard.file)[len(common) :]}:{name}" for shard in shards for name in _names(shard)))
    return Split(TarPictures([str(shard.file) for shard in shards], ends, places), order[codes], names)


def _names(shard: _Shard) -> Iterator[str]:
    start = 0
    while (end := shard.names.find(b"\n", start)) >= 0:
        yield shard.names[start:end].decode("utf-8", "surrogatepass")
        start = end + 1


# Classes


def _named(path: Path, folder: Path, shards: Sequence[_Shard]) -> list[str] | None:
    """Names of the numbers, where classes.txt gives them."""
    inside = [shard.classes for shard in shards if shard.classes is not None]
    if any(names != inside[0] for names in inside):
        raise DataError(f"{path}: its tars hold different classes.txt (make them agree)")
    beside = folder / "classes.txt"
    if is_file(beside):
        return _class_names(str(beside), read(beside, LONGEST_LABEL))
    return inside[0] if inside else None


def _class_names(name: str, data: bytes) -> list[str]:
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{name}: not text in UTF-8 (save it as UTF-8)") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) < len(names):
        raise DataError(f"{name}: names a class twice (one class a line, each once)")
    return names


def _meanings(path: Path, named: list[str] | None, labels: _Labels) -> tuple[tuple[str, ...], Labels]:
    """(class names, what each label stands for in the order in which labels were met): (M,), or (M, K) for lists."""
    lists = [label if isinstance(label, tuple) else (label,) for label in labels.known]
    each = {label: place for place, label in enumerate(dict.fromkeys(label for group in lists for label in group))}
    classes, order = _classes(path, named, list(each))
    if not any(isinstance(label, tuple) for label in labels.known):
        return classes, order
    return classes, several_hot([[int(order[each[label]]) for label in group] for group in lists], len(classes))


def _classes(
    path: Path, named: list[str] | None, labels: Sequence[str | int]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """(class names, the number of each label)."""
    if len({type(label) for label in labels}) > 1:
        raise DataError(f"{path}: some labels are words and some are numbers (make them agree)")
    if HIDDEN in labels and hides([set(labels)], named=named is not None):
        raise DataError(f"{path}: the label {HIDDEN} stands for a hidden one (leave those examples out)")
    if named is None:
        classes, code = numbered(path, map(str, labels))
        return classes, np.asarray([code[str(label)] for label in labels], dtype=np.int64)
    check_classes(path, named)
    number = {name: row for row, name in enumerate(named)}
    order = [label if isinstance(label, int) else number.get(label, -1) for label in labels]
    for label, row in zip(labels, order, strict=True):
        if not 0 <= row < len(named):
            raise DataError(
                f"{path}: the label {label!r} is not one of the {len(named)} classes of classes.txt (fix it)"
            )
    return tuple(named), np.asarray(order, dtype=np.int64)


# One tar


def _list(file: Path, labels: _Labels) -> _Shard:
    """Every example of a tar, in its order."""
    if is_compressed(regular(file)):
        raise DataError(f"{file}: is compressed (unpack it to a plain .tar: pictures are read from their places in it)")
    shard = _Shard(file, array("q"), bytearray(), array("q"))
    example = _Example("")
    with open(file, "rb", buffering=BUFFER) as stream:
        for member in members(stream, str(file)):
            base = member.name.rpartition("/")[2]
            kind = base.partition(".")[2]
            if base == "classes.txt":
                shard.classes = _class_names(f"{file}:{member.name}", member.read(LONGEST_LABEL))
            if base == "classes.txt" or base.startswith("."):
                continue
            key = member.name.removesuffix(kind)
            if key != example.key:
                example.finish(shard, labels)
                example = _Example(key)
            example.add(shard.file, member, kind.lower())
    example.finish(shard, labels)
    if not shard.codes:
        raise DataError(f"{file}: holds no pictures with labels (give NAME.jpg and NAME.cls for each)")
    return shard


class _Example:
    """The members of one name."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.picture: Member | None = None
        self.label: Cell | None = None

    def add(self, file: Path, member: Member, kind: str) -> None:
        """Note a picture or a label; other kinds are passed over."""
        if kind in PICTURES:
            if self.picture is not None:
                raise DataError(f"{file}: {self.key}* holds two pictures (give each a name of its own)")
            self.picture = member
        elif kind == "cls":
            self.label = _label(member.read(LONGEST_LABEL).decode("utf-8", "replace").strip())
        elif kind == "json":
            label = _json_label(file, member)
            self.label = label if label is not None else self.label

    def finish(self, shard: _Shard, labels: _Labels) -> None:
        """Keep the example; what has no picture is none."""
        if self.picture is None:
            return
        if self.label is None or self.label == "":
            raise DataError(f"{shard.file}: {self.picture.name} has no label (give {self.key}cls or {self.key}json)")
        shard.places.extend((self.picture.offset, self.picture.size))
        shard.names += self.picture.name.replace("\n", " ").encode("utf-8", "surrogatepass") + b"\n"
        shard.codes.append(labels.code(self.label))


def _label(text: str) -> str | int:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else text


def _json_label(file: Path, member: Member) -> Cell | None:
    try:
        content = json.loads(member.read(LONGEST_LABEL))
    except (ValueError, RecursionError):
        raise DataError(f"{file}: {member.name} is not JSON (write it again)") from None
    if not isinstance(content, dict):
        return None
    label = next((content[word] for word in ("label", "class", "cls", "labels", "classes") if word in content), None)
    try:
        cell = cell_of(label)
    except ValueError as fault:
        raise DataError(f"{file}: {member.name} {fault}") from None
    if isinstance(cell, tuple):
        return tuple(one.strip() if isinstance(one, str) else one for one in cell)
    return cell.strip() if isinstance(cell, str) else cell
