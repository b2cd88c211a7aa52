"""The child process that opens parquet files: what meets pyarrow meets it here, for a damaged file may end the process.

Questions (`system.children`): {"open": file, ...} is answered by one frame that describes the file,
{"read": file, ...} by a frame for every batch ("more") and an empty one, and either by a frame with a fault.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inceptory.data.sources.labels import cell_of
from inceptory.data.sources.layout import Layout
from inceptory.errors import ConfigError, DataError, InceptoryError, MissingError
from inceptory.system import children
from inceptory.system.files import LARGEST, reason

LABELS = ("label", "labels", "class")
LISTS = ("Sequence", "List", "LargeList")
"""What the data sets library calls a column of lists, by its version."""
BUFFER = 2**20
LARGEST_LABELS = 2**28
"""Bytes of a file's column of labels, unpacked: two hundred times those of ImageNet's names."""
MANY = 2**20
"""Rows above which a file has at least as many bytes."""
LARGEST_GROUP, PACKED = 256 * 2**20, 100
"""Bytes of a row group's pictures, unpacked, above which they may not be so many times what they are packed:
encoded pictures hardly shrink, and a file of a few KiB that grows to gigabytes is none of ours."""


FOOTERS: dict[str, Any] = {}
"""Metadata of the files whose pictures were read, by path."""


def serve() -> None:
    """Answer questions, within limits: a damaged file may ask for anything."""
    children.serve(_answer, limited=True)


def _answer(question: dict[str, Any], body: memoryview) -> Iterator[tuple[Any, ...]]:
    try:
        if "open" in question:
            yield _opened(Path(question["open"]), question)
        else:
            yield from _pictures(question, np.frombuffer(body, dtype="<i8"))
    except InceptoryError as fault:
        yield ({"fault": type(fault).__name__, "message": str(fault)},)


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Whatever pyarrow raises as an error of ours."""
    try:
        yield
    except InceptoryError:
        raise
    except FileNotFoundError:
        raise MissingError(f"{file}: no such file (has it been moved?)") from None
    except PermissionError as fault:
        raise MissingError(f"{file}: cannot be read, {reason(fault)} (check its permissions)") from None
    except MemoryError:
        raise DataError(f"{file}: asks for more memory than is given to one file (write it again)") from None
    except Exception as fault:
        # pyarrow reports a damaged page as an OSError, texts that are none as UnicodeDecodeError, and more.
        raise DataError(f"{file}: not a readable parquet file, {fault} (write it again)") from None


# Its description


def _opened(file: Path, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A file's columns, row groups and labels; (n,) int64 numbers of the labels of its rows among the known ones."""
    layout = Layout(path_column=question["path_column"], label_column=question["label_column"])
    with _readable(file), pq.ParquetFile(file) as opened:
        schema, metadata = opened.schema_arrow, opened.metadata
        image, label, others, classes = _columns(file, schema, layout)
        within = image + ".bytes" * pa.types.is_struct(schema.field(image).type)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        _check_sizes(file, groups, within, label)
        leaves = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
        words = [path for path in leaves if _is_of(path, label)]
    # Words are read as numbers of different ones: a few bytes could be gigabytes of the same word.
    with _readable(file), pq.ParquetFile(file, metadata=metadata, read_dictionary=words) as opened:
        labels = opened.read(columns=[label], use_threads=False).column(0)
        if not len(labels):
            raise DataError(f"{file}: holds no rows (write it again)")
        if len(labels) != sum(group.num_rows for group in groups):
            raise DataError(f"{file}: holds other rows than it says (write it again)")
        leaf = leaves.index(within)
        _check_bytes(file, opened, within, [group.column(leaf).statistics for group in groups])
        distinct, codes = _labels(file, labels, classes)
    description = {
        "label": label,
        "also": others,
        "classes": classes,
        "image": within,
        "groups": [group.num_rows for group in groups],
        "sizes": [group.column(leaf).total_uncompressed_size for group in groups],
        "known": distinct,
        "several": _is_list(labels.type),
    }
    return description, codes.tobytes()


def _is_of(path: str, column: str) -> bool:
    """Whether what lies at a path is a column, or a part of one."""
    return path == column or path.startswith(f"{column}.")


def _check_sizes(file: Path, groups: Sequence[Any], image: str, label: str) -> None:
    """Raise DataError where the file says itself that it unpacks to more than is given to it."""
    labels, rows = 0, [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) > max(MANY, file.stat().st_size):
        raise DataError(f"{file}: says that it holds {sum(rows):,} rows, more than it has bytes (write it again)")
    for number, group in enumerate(groups):
        for place in range(group.num_columns):
            column = group.column(place)
            size, packed = column.total_uncompressed_size, column.total_compressed_size
            if size < 0 or packed < 0:
                raise DataError(f"{file}: its row group {number} has less than no bytes (write it again)")
            if column.path_in_schema == image and size > max(LARGEST_GROUP, PACKED * packed):
                problem = f"the pictures of row group {number} take {packed:,} bytes and {size:,} unpacked"
                raise DataError(f"{file}: {problem} (write it again in smaller row groups)")
            if _is_of(column.path_in_schema, label):
                labels += size
    if labels > LARGEST_LABELS:
        problem = f"the labels take {labels:,} bytes unpacked (at most {LARGEST_LABELS:,}; write it in several files)"
        raise DataError(f"{file}: {problem}")


def _blobs(column: Any) -> Any:
    """The pictures of a column of {bytes, path} or of plain bytes."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _check_bytes(file: Path, opened: Any, image: str, statistics: Sequence[Any]) -> None:
    """Raise DataError where the file's own counts tell of pictures without bytes."""
    first = 0
    for number, counts in enumerate(statistics):
        if counts is not None and counts.null_count:
            blobs = _blobs(opened.read_row_group(number, columns=[image]).column(0))
            raise DataError(f"{file}: {_without_bytes(first + pc.index(blobs.is_null(), True).as_py())}")
        first += opened.metadata.row_group(number).num_rows


def _without_bytes(row: int) -> str:
    return f"row {row} holds no picture bytes (embed the pictures in the file)"


# Pictures


def _pictures(question: dict[str, Any], rows: NDArray[np.int64]) -> Iterator[tuple[Any, ...]]:
    """Rows of one row group, in ascending order, a little at a time: their lengths, -1 for none, and their bytes."""
    file, start = Path(question["read"]), 0
    with (
        _readable(file),
        pq.ParquetFile(file, metadata=FOOTERS.get(question["read"]), buffer_size=BUFFER) as opened,
    ):
        FOOTERS[question["read"]] = opened.metadata
        for some in opened.iter_batches(
            question["at_once"], [question["group"]], [question["image"]], use_threads=False
        ):
            chosen = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(some))]
            blobs = _blobs(some.column(0))
            if len(chosen) < len(some) or blobs.null_count:
                blobs = blobs.take(pa.array(chosen - start))  # of a null, too, nothing is left
            yield {"more": len(blobs)}, *_parts(blobs)
            start += len(some)
            if start > rows[-1]:
                break
    yield ({},)


def _parts(blobs: Any) -> tuple[bytes, memoryview]:
    """(lengths of pictures, -1 for none and less for one that is too large to be sent; their bytes in one piece)."""
    lengths = pc.fill_null(pc.binary_length(blobs), -1).to_numpy(zero_copy_only=False).astype("<i8")
    large = lengths > LARGEST
    if large.any():
        blobs = blobs.take(pa.array(np.arange(len(blobs)), mask=large))
        lengths[large] *= -1
    _, ends, content = blobs.buffers()
    kind = np.int64 if pa.types.is_large_binary(blobs.type) else np.int32
    first = int(np.frombuffer(ends, kind)[blobs.offset]) if len(blobs) else 0
    size = int(lengths[lengths > 0].sum())
    return lengths.tobytes(), memoryview(content or b"").cast("B")[first : first + size]


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _labels(
    file: Path, column: Any, classes: tuple[str, ...] | None
) -> tuple[list[tuple[int | str, ...] | None], NDArray[np.int64]]:
    """(the labels that rows have, None for no label; the number among them of each row)."""
    numbers_of: dict[tuple[int | str, ...] | None, int] = {}
    codes, start = np.empty(len(column), dtype="<i8"), 0
    kind: type[int] | type[str] | None = None if classes is None else int
    for chunk in column.chunks:
        values, places = _values(chunk)
        used, first, of_row = np.unique(places, return_index=True, return_inverse=True)
        numbers = np.empty(len(used), dtype="<i8")
        for i in np.argsort(first):
            row, value = start + int(first[i]), values[used[i]]
            try:
                cell = cell_of(value)
            except ValueError as fault:
                raise DataError(f"{file}: row {row} {fault}") from None
            labels = cell if cell is None or isinstance(cell, tuple) else (cell,)
            for label in labels or ():
                kind = kind or type(label)
                if type(label) is not kind:
                    raise DataError(f"{file}: row {row} has the label {value!r} (labels are all numbers or all words)")
            numbers[i] = numbers_of.setdefault(labels, len(numbers_of))
        codes[start : start + len(chunk)] = numbers[of_row]
        start += len(chunk)
    return list(numbers_of), codes


def _values(chunk: Any) -> tuple[list[Any], NDArray[np.int64]]:
    """(values, the place among them of each row); a word that many rows share stands there once."""
    if pa.types.is_dictionary(chunk.type):
        values = [*chunk.dictionary.to_pylist(), None]
        return values, pc.fill_null(chunk.indices.cast(pa.int64()), len(values) - 1).to_numpy(zero_copy_only=False)
    return chunk.to_pylist(), np.arange(len(chunk))


def _is_picture(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _columns(file: Path, schema: Any, layout: Layout) -> tuple[str, str, tuple[str, ...], tuple[str, ...] | None]:
    """(column of pictures, of labels, others that may hold labels, names that the file gives to numbers).

    As is said, else by the file's metadata, else by usual names.
    """
    features = _features(schema)
    images = [field.name for field in schema if _is_picture(field.type)]
    images.sort(key=lambda name: features.get(name, {}).get("_type") != "Image")
    named = {
        name: classes for name, kind in features.items() if (classes := _class_names(file, name, kind)) is not None
    }
    labels = [name for name in schema.names if name in named] or [n for n in schema.names if n.lower() in LABELS]
    if layout.path_column is not None:
        images = [_named_column(file, images, "path", layout.path_column)]
    if layout.label_column is not None:
        labels = [
            _named_column(file, [name for name in schema.names if name not in images], "label", *layout.label_column)
        ]
    if not images or not labels:
        problem = f"no image and label columns among {schema.names}"
        raise DataError(f"{file}: {problem} (name them image and label, or say --label-column NAME)")
    return images[0], labels[0], tuple(labels[1:]), named.get(labels[0]) or None


def _named_column(file: Path, columns: Sequence[str], what: str, *names: str) -> str:
    """The one column of these that was named; raises ConfigError."""
    if len(names) > 1 or names[0] not in columns:
        problem = f"--{what}-column {' '.join(names)}: not one of {', '.join(map(repr, columns)) or 'no columns'}"
        raise ConfigError(f"{file}: {problem} (name one of them)")
    return names[0]


def _class_names(file: Path, column: str, kind: dict[str, Any]) -> tuple[str, ...] | None:
    """The names of a ClassLabel, or of a list of them; None for another kind of column. Raises DataError."""
    inner = kind.get("feature") if kind.get("_type") in LISTS else kind
    if not isinstance(inner, dict) or inner.get("_type") != "ClassLabel":
        return None
    names = inner.get("names") or ()
    if not isinstance(names, list | tuple):
        problem = f"its metadata give the classes of {column!r} as {str(names)[:40]!r}"
        raise DataError(f"{file}: {problem} (write a list of names)")
    return tuple(map(str, names))


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the file says of its columns in the data sets library's own metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        # A list of one kind was once written as just that.
        lists = {
            name: {"_type": "List", "feature": kind[0]} for name, kind in features.items() if isinstance(kind, list)
        }
        return lists | {name: kind for name, kind in features.items() if isinstance(kind, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):  # no such metadata
        return {}
