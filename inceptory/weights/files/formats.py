"""Tensors out of anybody's weight file, without running anything in it.

    with open_weights("inception_v3_google-0cc3c7bd.pth") as weights:
        shapes = {name: entry.shape for name, entry in weights.entries.items()}
        kernel = weights.read("Conv2d_1a_3x3.conv.weight")

Opening looks at the content, never at the extension, and allocates nothing of a tensor's size: a
caller compares names and shapes with the architecture first, and reads afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inceptory.weights.files.caffe_file import read_caffe, read_onnx
from inceptory.weights.files.keras_file import is_keras_archive, read_keras_archive, read_keras_h5
from inceptory.weights.files.recognise import ACCEPTED, CAFFE, HDF5, ONNX, PICKLE, SAFETENSORS, TABLE, ZIP, recognise
from inceptory.weights.files.safetensors_file import read_safetensors
from inceptory.weights.files.source import Contents, Entry, Source, quoted
from inceptory.weights.files.tf_checkpoint import index_of, read_checkpoint
from inceptory.weights.files.torch.file import is_torch_zip, read_torch_legacy, read_torch_zip
from inceptory.weights.files.zip_file import records

__all__ = ["Entry", "Weights", "open_weights"]


@dataclass(frozen=True, eq=False)
class Weights:
    """An open weight file: what is in it, and the way to each tensor. Closes itself, or by `with`."""

    path: Path
    kind: str
    """"safetensors", "torch zip", "torch legacy", "keras h5 2016", "keras weights.h5", "keras archive",
    "tensorflow checkpoint", "tensorflow checkpoint of 2016", "caffe model", "onnx model"."""
    entries: dict[str, Entry]
    """Shape and type of every tensor by name, in the file's order; nothing of the training's state.

    Keras 2016: `layer/weight`, each as its list has it; Keras 3: the path, `layers/conv2d/vars/0`.
    """
    config: dict[str, Any] | None
    """Keras: the model's config as plain data, where the file has one."""
    metadata: dict[str, str]
    """Texts beside the tensors: safetensors' own, Keras' versions."""
    layer_names: dict[str, str]
    """Keras 3: a layer's own name by its group, where the file notes it."""
    remarks: tuple[str, ...]
    """What was chosen where the file left a choice, such as averaged weights instead of the plain ones."""
    _contents: Contents = field(repr=False)
    _source: Source = field(repr=False)

    def read(self, name: str, dtype: DTypeLike | None = np.float32) -> NDArray[Any]:
        """One tensor as a fresh array; raises DataError where it is damaged or not there.

        Floating point comes out as `dtype`, rounded where that has fewer digits; integers and
        booleans as they are. None keeps the stored type, but bfloat16, which numpy does not
        have, is always widened to float32.
        """
        if name not in self.entries:
            raise self._source.fault(f"has no tensor {quoted(name)}", "see what it has in `entries`")
        with _as_faults(self._source):
            array = self._contents.fetch(name)
            return array if dtype is None or array.dtype.kind != "f" else self._cast(name, array, np.dtype(dtype))

    def digest(self, algorithm: str) -> str:
        """Hexadecimal hash ("sha256", "md5") of the very file that is open."""
        return self._source.digest(algorithm)

    def require_unchanged(self) -> None:
        """Raise DataError where the file was written to since it was opened: a hash of it says nothing then."""
        self._source.require_unchanged()

    def close(self) -> None:
        """Close the file; arrays that were read stay."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cast(self, name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        if array.dtype == dtype:
            return array
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        overflowed = np.count_nonzero(np.isinf(cast)) - np.count_nonzero(np.isinf(array))
        self._source.require(not overflowed, f"tensor {quoted(name)} holds numbers beyond {dtype}", "read it as it is")
        return cast


def open_weights(path: Path | str, *, raw: bool = False) -> Weights:
    """Open a weight file of any kind that we read; see `Weights`.

    Where the file holds plain weights and their average, the average is read, or with `raw` the plain ones.
    Raises MissingError where there is no file to read, DataError where it holds no weights, and
    then says what it holds instead.
    """
    source = Source.open(index_of(Path(path)))
    try:
        with _as_faults(source):
            contents = READERS[recognise(source)](source, raw)
    except BaseException:
        source.close()
        raise
    return Weights(
        source.path,
        contents.kind,
        contents.entries,
        contents.config,
        contents.metadata,
        contents.layer_names,
        contents.remarks,
        _contents=contents,
        _source=source,
    )


def _read_zip(source: Source, raw: bool) -> Contents:
    archive = records(source)
    if is_keras_archive(archive):
        return read_keras_archive(source, archive)
    if is_torch_zip(archive):
        return read_torch_zip(source, archive, raw)
    what = "a NumPy archive" if archive and all(name.endswith(".npy") for name in archive) else "a zip archive"
    raise source.fault(f"{what} without weights that we read", ACCEPTED)


READERS: dict[str, Callable[[Source, bool], Contents]] = {
    ZIP: _read_zip,
    HDF5: lambda source, _: read_keras_h5(source),
    SAFETENSORS: lambda source, _: read_safetensors(source),
    PICKLE: read_torch_legacy,
    TABLE: lambda source, _: read_checkpoint(source),
    CAFFE: lambda source, _: read_caffe(source),
    ONNX: lambda source, _: read_onnx(source),
}


@contextmanager
def _as_faults(source: Source) -> Iterator[None]:
    """Errors of a reader as DataError: a structure that passes its checks and is still wrong is the file's fault."""
    try:
        yield
    except (ValueError, LookupError, ArithmeticError, struct.error) as fault:
        raise source.fault("its structure is damaged") from fault
    except (MemoryError, RecursionError):
        raise source.fault("asks for more memory than there is", "give a file of weights") from None
