"""Honest weight files of every kind as bytes, and the pieces that hostile ones are made of."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors.torch
import torch
from numpy.typing import DTypeLike, NDArray

from inceptory.errors import InceptoryError
from inceptory.weights.files.formats import Weights, open_weights

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7.5
TYPES = (torch.float16, torch.float32, torch.float64, torch.bfloat16)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)


def state() -> OrderedDict[str, torch.Tensor]:
    """A state dict with every type, views, a shared storage, a scalar and metadata."""
    generator = torch.Generator().manual_seed(1)
    tensors: OrderedDict[str, Any] = OrderedDict()
    for dtype in TYPES:
        tensors[f"conv.{str(dtype)[6:]}"] = torch.randn(3, 4, 5, generator=generator).to(dtype)
    for dtype in INTEGERS:
        tensors[f"conv.{str(dtype)[6:]}"] = torch.arange(7).to(dtype)
    tensors["mask"] = torch.tensor([True, False, True])
    tensors["bn.num_batches_tracked"] = torch.tensor(3)
    return tensors


def views() -> OrderedDict[str, torch.Tensor]:
    """Tensors that share one storage, strided and cut out."""
    whole = torch.arange(60.0).reshape(3, 4, 5)
    tied = {"whole": whole, "turned": whole.transpose(0, 2), "part": whole[1:, ::2], "one": whole[2, 3, 4:]}
    return OrderedDict(tied, parameter=torch.nn.Parameter(torch.ones(3)), empty=torch.empty(0, 3))


def saved(root: Any, legacy: bool = False, protocol: int = 2) -> bytes:
    """What torch.save writes."""
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return file.getvalue()


def small() -> dict[str, torch.Tensor]:
    """A state dict of three tensors."""
    return {"weight": torch.from_numpy(KERNEL), "bias": torch.arange(4.0), "count": torch.tensor(5)}


def safetensors_file() -> bytes:
    """What the safetensors package writes."""
    return safetensors.torch.save(small(), metadata={"format": "pt"})


def hdf5(fill: Any, **options: Any) -> bytes:
    """An HDF5 file that `fill` has written into."""
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as root:
        fill(root)
    return file.getvalue()


def keras_2016(root: h5py.Group) -> None:
    """The layout of 2016: layers and their weights by lists of names."""
    root.attrs["layer_names"] = np.array([b"conv2d_1", b"activation_1", b"bn"])
    root.attrs["backend"] = b"tensorflow"
    root.attrs["keras_version"] = "2.0.4"
    conv = root.create_group("conv2d_1")
    conv.attrs["weight_names"] = [b"conv2d_1/kernel:0", b"conv2d_1/bias:0"]
    conv["conv2d_1/kernel:0"] = KERNEL
    conv["conv2d_1/bias:0"] = np.arange(4, dtype=np.float64)
    root.create_group("activation_1").attrs["weight_names"] = []
    norm = root.create_group("bn")
    norm.attrs["weight_names"] = np.array(["bn/beta:0"], dtype=h5py.string_dtype())
    norm["bn/beta:0"] = np.ones(3, np.float16)


def keras_2016_model(root: h5py.Group) -> None:
    """The same below `model_weights`, with the config that `model.save` adds and the optimizer's state."""
    keras_2016(root.create_group("model_weights"))
    root.create_group("optimizer_weights")["Adam/m:0"] = np.ones(5)
    root.attrs["keras_version"] = b"2.2.4"
    root.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {"layers": ["x" * 60] * 2000}})


def keras_3(root: h5py.Group) -> None:
    """The layout of Keras 3: variables by number in a group of each layer."""
    for number, values in enumerate((KERNEL, np.arange(4, dtype=np.float32))):
        variables = root.require_group("layers/conv2d/vars")
        variables[str(number)] = values
    variables.attrs["name"] = "stem_conv"
    root.create_group("layers/activation/vars").attrs["name"] = "relu"
    half = root.create_dataset("layers/dense/vars/0", data=np.array([0x3F80, 0xC000], "<u2").view("V2"))
    half.attrs["dtype"] = "bfloat16"
    root["optimizer/vars/0"] = np.ones(3)


def packed(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as out:
        for name, content in files:
            out.writestr(name, content)
    return archive.getvalue()


def keras_archive(method: int = zipfile.ZIP_STORED, weights: bytes | None = None, config: bytes | None = None) -> bytes:
    """What Keras 3 writes as `.keras`."""
    plain = {"module": "keras", "class_name": "Functional", "config": {"name": "tiny"}}
    return packed(
        ("metadata.json", b'{"keras_version": "3.15.1", "date_saved": "2026-11-22@10:15:02"}'),
        ("config.json", json.dumps(plain).encode() if config is None else config),
        ("model.weights.h5", hdf5(keras_3) if weights is None else weights),
        method=method,
    )


def every_kind() -> dict[str, bytes]:
    """One honest file of each kind."""
    return {
        "safetensors": safetensors_file(),
        "torch zip": saved(small()),
        "torch legacy": saved(small(), legacy=True),
        "keras h5 2016": hdf5(keras_2016),
        "keras h5 2016, newer HDF5": hdf5(keras_2016_model, libver=("v108", "v108")),
        "keras weights.h5": hdf5(keras_3),
        "keras archive": keras_archive(),
        "keras archive, deflated": keras_archive(zipfile.ZIP_DEFLATED),
    }


def opened(folder: Path, content: bytes, name: str = "file") -> Weights:
    """The weights of a file with this content."""
    (folder / name).write_bytes(content)
    return open_weights(folder / name)


def tensors_of(weights: Weights, dtype: DTypeLike | None = np.float32) -> dict[str, NDArray[Any]]:
    """Every tensor of an open file by name, floating point as `dtype`."""
    return {name: weights.read(name, dtype) for name in weights.entries}


def fault_of(folder: Path, content: bytes, name: str = "file") -> InceptoryError:
    """The error that a file with this content gives, which is one line with a remedy."""
    try:
        with opened(folder, content, name) as weights:
            tensors_of(weights)
    except InceptoryError as fault:
        told = str(fault)
        assert told.startswith(str(folder / name))
        assert told.endswith(")")
        assert told.isprintable()
        assert len(told) < 300 + len(str(folder))
        return fault
    raise AssertionError("the file was accepted")


MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""First value of a file of torch's older kind, as a pickle."""


def legacy(body: bytes, keys: bytes = b"].", storages: bytes = b"") -> bytes:
    """A file of torch's older kind around the pickle of an object."""
    machine = b"\x80\x02}U\x0dlittle_endian\x88s."
    return MAGIC + b"\x80\x02M\xe9\x03." + machine + body + b"\x80\x02" + keys + storages


def torch_zip(body: bytes, *more: tuple[str, bytes]) -> bytes:
    """An archive as torch lays it out, around the pickle of an object."""
    return packed(("archive/data.pkl", body), ("archive/version", b"3\n"), *more)


def text(value: str) -> bytes:
    """The instruction for a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    """The instruction for an integer."""
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def storage(count: int, key: str = "0", kind: str = "FloatStorage", more: bytes = b"") -> bytes:
    """The instructions for a reference to a storage."""
    named = b"ctorch\n" + kind.encode() + b"\n"
    return b"(" + text("storage") + named + text(key) + text("cpu") + number(count) + more + b"tQ"


def tensor(where: bytes, start: int, shape: tuple[int, ...], strides: tuple[int, ...], more: bytes = b"") -> bytes:
    """The instructions for a tensor as torch rebuilds it."""
    sizes, steps = (b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides))
    built = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + number(start) + sizes + steps + built + more + b"tR"


def mapping(**values: bytes) -> bytes:
    """The pickle of a dict."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in values.items()) + b"u."
