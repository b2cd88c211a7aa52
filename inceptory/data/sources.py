"""Where labelled pictures come from: class folders, parquet, built-in digits. Names, labels, splits.

A split is a list of pictures that are not decoded yet. Nothing here imports torch, so that a
mistake in a path is answered at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.images import Picture
from inceptory.errors import ConfigError, DataError, MissingError, printable
from inceptory.files import reason

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of folders and files that mean a split."""
IGNORED = {"thumbs.db", "desktop.ini"}
SEED = 0
"""A split that we cut ourselves is the same for every run, so that evaluation finds it again."""


@dataclass(frozen=True)
class Split:
    """Pictures with labels; `names[i]` says where picture i lies."""

    pictures: Sequence[Picture]
    labels: NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The pictures of these rows, in this order."""
        return Split([self.pictures[i] for i in rows], self.labels[rows], [self.names[i] for i in rows])


@dataclass(frozen=True)
class Source:
    """A data set: class names in order, and splits "train", "validation", "test" as far as it has them."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]

    def split(self, name: str) -> Split:
        """The split of this name; raises ConfigError naming those that exist."""
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise ConfigError(f"{self.name}: has no split {name!r} (it has {known})")
        return self.splits[name]

    def with_validation(self, fraction: float) -> Source:
        """The same source with a stratified validation split cut from "train" where it has none."""
        if "validation" in self.splits or "train" not in self.splits:
            return self
        train = self.splits["train"]
        kept, held = stratified(train.labels, fraction)
        return replace(self, splits={**self.splits, "train": train.take(kept), "validation": train.take(held)})

    def fingerprint(self) -> str:
        """sha256 over classes, splits, names and labels: the same list of pictures, the same value."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for name, split in sorted(self.splits.items()):
            digest.update(f"\n{name} {len(split)}\n".encode())
            digest.update("\n".join(split.names).encode("utf-8", "surrogatepass"))
            digest.update(np.ascontiguousarray(split.labels).tobytes())
        return digest.hexdigest()


def stratified(labels: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows kept, rows held out): `fraction` of each class is held out, at least one where it has two."""
    random = np.random.default_rng(SEED)
    held: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(round(len(rows) * fraction), 1), len(rows) - 1) if fraction else 0
        held += random.permutation(rows)[:count].tolist()
    mask = np.zeros(len(labels), dtype=bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def open_source(data: str | Path) -> Source:
    """The labelled pictures behind a name or path, listed but not decoded.

    Raises MissingError where there is nothing, DataError where it is no data set.
    """
    if str(data) in BUILT_IN:
        return BUILT_IN[str(data)]()
    path = Path(data)
    try:
        if path.is_dir():
            return _parquet(path) if _parquet_files(path) else _folders(path)
        if path.is_file():
            if path.suffix.lower() != ".parquet":
                raise DataError(f"{path}: not a data set (give a folder of class folders or a .parquet file)")
            return _parquet(path)
    except OSError as fault:
        raise MissingError(f"{path}: cannot be read, {reason(fault)} (check its permissions)") from fault
    names = ", ".join(BUILT_IN)
    raise MissingError(f"{printable(data)}: no such data (give a folder, a .parquet file, or a built-in set: {names})")


def natural(text: str) -> tuple[Any, ...]:
    """Sort key that puts class2 before class10."""
    return tuple((not part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", text))


# Class folders


def _folders(path: Path) -> Source:
    inside = visible(path)
    parts = {SPLITS[folder.name.lower()]: folder for folder in inside if folder.name.lower() in SPLITS}
    if "train" not in parts and "test" not in parts:
        parts = {"train": path}
    listed = {split: _class_folders(folder) for split, folder in parts.items()}
    classes = sorted({name for found in listed.values() for name in found}, key=natural)
    _check_classes(path, classes, listed)
    return Source(str(path), tuple(classes), {split: _split(found, classes) for split, found in listed.items()})


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in natural order, without hidden ones and what systems leave behind."""
    found = (entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX")))
    return sorted(
        (entry for entry in found if entry.name.lower() not in IGNORED), key=lambda entry: natural(entry.name)
    )


def _class_folders(path: Path) -> dict[str, list[Path]]:
    return {folder.name: visible_files(folder) for folder in visible(path) if folder.is_dir()}


def visible_files(folder: Path) -> list[Path]:
    """Every visible file below a class folder, nested folders included."""
    found: list[Path] = []
    for entry in visible(folder):
        if entry.is_dir() and not entry.is_symlink():
            found += visible_files(entry)
        elif entry.is_file():
            found.append(entry)
    return found


def _check_classes(path: Path, classes: list[str], listed: dict[str, dict[str, list[Path]]]) -> None:
    if not classes:
        raise DataError(f"{path}: holds no class folders (put each class's pictures in a folder of its own)")
    if len(classes) == 1:
        raise DataError(f"{path}: holds one class only, {classes[0]!r} (a classifier needs two or more class folders)")
    for split, found in listed.items():
        for name, files in found.items():
            if not files:
                where = path / name if len(listed) == 1 else f"{path} ({split})"
                raise DataError(f"{where}: class folder {name!r} is empty (add pictures or remove it)")


def _split(found: dict[str, list[Path]], classes: list[str]) -> Split:
    rows = [(file, label) for label, name in enumerate(classes) for file in found.get(name, [])]
    files = [file for file, _ in rows]
    labels = np.asarray([label for _, label in rows], dtype=np.int64)
    return Split(files, labels, [str(file) for file in files])


# Parquet in the Hugging Face image layout


def _parquet_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")], key=lambda file: natural(file.name))


def _parquet(path: Path) -> Source:
    files = [path] if path.is_file() else _parquet_files(path)
    grouped: dict[str, list[Path]] = {}
    for file in files:
        word = re.split(r"[^a-z]", file.stem.lower())[0]
        grouped.setdefault(SPLITS.get(word, "train"), []).append(file)
    tables = {split: _read_tables(group) for split, group in grouped.items()}
    classes = next(iter(tables.values()))[0]
    for split, (names, _) in tables.items():
        if names != classes:
            raise DataError(f"{path}: split {split!r} names other classes than the rest (make them agree)")
    if len(classes) < 2:
        raise DataError(f"{path}: holds {len(classes)} class (a classifier needs two or more)")
    return Source(str(path), classes, {split: part for split, (_, part) in tables.items()})


def _read_tables(files: list[Path]) -> tuple[tuple[str, ...], Split]:
    """(class names, split) of the shards of one split."""
    pictures: list[Picture] = []
    raw: list[Any] = []
    names: list[str] = []
    classes: tuple[str, ...] | None = None
    for file in files:
        blobs, labels, classes = _read_table(file)
        pictures += blobs
        raw += labels
        names += [f"{file}:{row}" for row in range(len(blobs))]
    if classes is None:
        distinct = sorted(set(raw), key=lambda label: natural(str(label)))
        classes = tuple(str(label) for label in distinct)
        raw = [distinct.index(label) for label in raw]
    codes = np.asarray(raw, dtype=np.int64)
    if len(codes) and not 0 <= codes.min() <= codes.max() < len(classes):
        raise DataError(f"{files[0]}: a label lies outside the {len(classes)} named classes (mend the label column)")
    return classes, Split(pictures, codes, names)


def _read_table(file: Path) -> tuple[list[Picture], list[Any], tuple[str, ...] | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        image, label, classes = _columns(file, schema)
        table = pq.read_table(file, columns=[image, label])
    except pa.ArrowException as fault:
        raise DataError(f"{file}: not a readable parquet file, {fault} (write it again)") from None
    column = table.column(image).combine_chunks()
    blobs = column.field("bytes").to_pylist() if pa.types.is_struct(column.type) else column.to_pylist()
    if None in blobs:
        raise DataError(f"{file}: row {blobs.index(None)} holds no picture bytes (embed the pictures in the file)")
    return blobs, table.column(label).to_pylist(), classes


def _columns(file: Path, schema: Any) -> tuple[str, str, tuple[str, ...] | None]:
    """(image column, label column, class names if the file carries them)."""
    import pyarrow as pa

    features = _features(schema)
    image = next((name for name, kind in features.items() if kind.get("_type") == "Image"), None)
    label = next((name for name, kind in features.items() if kind.get("_type") == "ClassLabel"), None)
    for field in schema:
        if image is None and (pa.types.is_struct(field.type) or pa.types.is_binary(field.type)):
            image = field.name
        if label is None and field.name.lower() in ("label", "labels", "class"):
            label = field.name
    if image is None or label is None:
        raise DataError(f"{file}: no image and label columns among {schema.names} (name them image and label)")
    classes = features.get(label, {}).get("names")
    return image, label, tuple(map(str, classes)) if classes else None


def _features(schema: Any) -> dict[str, Any]:
    """What the file says of its columns in the data sets library's own metadata."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind for name, kind in found.items() if isinstance(kind, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


# Built-in sets


def _digits() -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, enlarged to 32x32; a fifth is the test split."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    small = (found.images * (255 / 16)).round().astype(np.uint8)
    pictures = [np.asarray(Image.fromarray(digit).resize((32, 32), Image.Resampling.BICUBIC)) for digit in small]
    everything = Split(pictures, found.target.astype(np.int64), [f"digits:{i}" for i in range(len(pictures))])
    train, test = stratified(everything.labels, 0.2)
    splits = {"train": everything.take(train), "test": everything.take(test)}
    return Source("digits", tuple(str(name) for name in found.target_names), splits)


BUILT_IN: dict[str, Callable[[], Source]] = {"digits": _digits}
