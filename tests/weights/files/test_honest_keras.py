"""What Keras and safetensors wrote comes out as it was."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

from inceptory.weights.files.formats import Entry, open_weights
from tests.weights.files.makers import (
    KERNEL,
    every_kind,
    fault_of,
    hdf5,
    keras_3,
    keras_2016,
    keras_2016_model,
    keras_archive,
    opened,
    state,
    tensors_of,
)

FORMATS = ["earliest", ("v108", "v108"), "latest"]
OLD = {
    "conv2d_1/conv2d_1/kernel:0": Entry((2, 3, 4), "float32"),
    "conv2d_1/conv2d_1/bias:0": Entry((4,), "float64"),
    "bn/bn/beta:0": Entry((3,), "float16"),
}


@pytest.mark.parametrize("libver", FORMATS, ids=str)
def test_the_layout_of_2016_is_read_in_the_order_of_its_layers(tmp_path, libver):
    weights = opened(tmp_path, hdf5(keras_2016, libver=libver))
    assert (weights.kind, weights.entries, weights.config) == ("keras h5 2016", OLD, None)
    assert list(weights.entries) == list(OLD)
    assert weights.metadata == {"keras_version": "2.0.4", "backend": "tensorflow"}
    assert np.array_equal(weights.read("conv2d_1/conv2d_1/kernel:0"), KERNEL)
    assert weights.read("bn/bn/beta:0", dtype=None).dtype == np.float16


@pytest.mark.parametrize("libver", FORMATS, ids=str)
def test_a_whole_model_of_2016_is_read_with_its_config_as_plain_data(tmp_path, libver):
    weights = opened(tmp_path, hdf5(keras_2016_model, libver=libver))
    assert weights.entries == OLD
    assert weights.metadata["keras_version"] == "2.2.4"
    assert weights.config is not None
    assert len(weights.config["config"]["layers"]) == 2000


def test_lists_of_names_that_keras_cut_into_parts_are_joined(tmp_path):
    def fill(root):
        names = [f"layer_{i}".encode() for i in range(30)]
        for part in range(3):
            root.attrs[f"layer_names{part}"] = names[10 * part : 10 * part + 10]
        for i, name in enumerate(names):
            group = root.create_group(name)
            group.attrs["weight_names0"] = [b"w"]
            group["w"] = np.full(2, i, np.float32)

    weights = opened(tmp_path, hdf5(fill))
    assert list(weights.entries) == [f"layer_{i}/w" for i in range(30)]
    assert weights.read("layer_17/w").tolist() == [17, 17]


@pytest.mark.parametrize("libver", FORMATS, ids=str)
@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("layers", [1, 40, 700])
def test_many_layers_of_keras_3_are_read_whatever_index_they_lie_in(tmp_path, layers, track, libver):
    def fill(root):
        for i in range(layers):
            group = root.create_group(f"layers/a_long_name_of_a_layer_{i}/vars", track_order=track)
            group["0"] = np.full((2, 3), i, np.float32)
            group.attrs["name"] = f"own_{i}"

    weights = opened(tmp_path, hdf5(fill, libver=libver, track_order=track))
    assert len(weights.entries) == len(weights.layer_names) == layers
    last = f"layers/a_long_name_of_a_layer_{layers - 1}"
    assert weights.layer_names[last] == f"own_{layers - 1}"
    assert (weights.read(f"{last}/vars/0") == layers - 1).all()


@pytest.mark.parametrize("libver", FORMATS, ids=str)
def test_attributes_that_are_many_or_large_are_read(tmp_path, libver):
    names = [f"layer_{i}_{'x' * 40}".encode() for i in range(200)]

    def fill(root):
        for i in range(30):
            root.attrs[f"other_{i}"] = i
        root.attrs["layer_names"] = names
        for name in names:
            root.create_group(name)
        root[names[0]]["w"] = KERNEL
        root[names[0]].attrs["weight_names"] = [b"w"]

    assert list(opened(tmp_path, hdf5(fill, libver=libver)).entries) == [f"{names[0].decode()}/w"]


def test_keras_3_weights_are_named_by_their_path_without_the_optimizer_s(tmp_path):
    weights = opened(tmp_path, hdf5(keras_3))
    assert weights.kind == "keras weights.h5"
    assert weights.entries == {
        "layers/conv2d/vars/0": Entry((2, 3, 4), "float32"),
        "layers/conv2d/vars/1": Entry((4,), "float32"),
        "layers/dense/vars/0": Entry((2,), "bfloat16"),
    }
    assert weights.layer_names == {"layers/conv2d": "stem_conv", "layers/activation": "relu"}
    assert weights.read("layers/dense/vars/0").tolist() == [1, -2]


@pytest.mark.parametrize("method", [0, 8], ids=["stored", "deflated"])
def test_a_keras_archive_is_its_weights_and_its_config(tmp_path, method):
    weights = opened(tmp_path, keras_archive(method))
    assert weights.kind == "keras archive"
    assert weights.config == {"module": "keras", "class_name": "Functional", "config": {"name": "tiny"}}
    assert weights.metadata["keras_version"] == "3.15.1"
    assert weights.layer_names["layers/conv2d"] == "stem_conv"
    assert np.array_equal(weights.read("layers/conv2d/vars/0"), KERNEL)


@pytest.mark.parametrize(
    "options", [{"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"shuffle": True}, {}]
)
def test_chunks_are_put_together_packed_or_not(tmp_path, options):
    values = np.random.default_rng(0).normal(size=(37, 50)).astype(np.float32)
    content = hdf5(lambda root: root.create_dataset("dense/vars/0", data=values, chunks=(16, 17), **options))
    assert np.array_equal(opened(tmp_path, content).read("dense/vars/0"), values)


def test_a_chunk_that_skipped_a_filter_is_read_as_it_lies(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)

    def fill(root):
        place = root.create_dataset("dense/vars/0", values.shape, np.float32, chunks=(1, 16), compression="gzip")
        place[0] = values[0]
        # HDF5 leaves out a filter that gains nothing, and notes it in the chunk's mask.
        place.id.write_direct_chunk((1, 0), values[1].tobytes(), filter_mask=1)

    assert np.array_equal(opened(tmp_path, hdf5(fill)).read("dense/vars/0"), values)


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f2", "<i8", ">u4", "u1"])
def test_every_number_that_hdf5_stores_comes_out_in_the_machine_s_order(tmp_path, dtype):
    values = np.arange(6).astype(dtype)
    found = opened(tmp_path, hdf5(lambda root: root.create_dataset("vars/0", data=values))).read("vars/0", dtype=None)
    assert found.dtype == values.dtype.newbyteorder("=")
    assert np.array_equal(found, values)


def test_scalars_and_compact_datasets_are_read(tmp_path):
    def fill(root):
        root["a/vars/0"] = np.float32(2.5)
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        place = h5py.h5d.create(root["a/vars"].id, b"1", h5py.h5t.IEEE_F32LE, space, layout)
        place.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(3, dtype=np.float32))

    weights = opened(tmp_path, hdf5(fill))
    assert weights.read("a/vars/0") == 2.5
    assert weights.read("a/vars/1").tolist() == [0, 1, 2]


def test_an_empty_list_of_layers_holds_no_tensors(tmp_path):
    content = hdf5(lambda root: root.attrs.update({"layer_names": np.array([b"a"]), "x": 1}) or root.create_group("a"))
    assert "holds no tensors" in str(fault_of(tmp_path, content))


def test_every_type_of_safetensors_comes_out_as_it_was_saved(tmp_path):
    tensors = dict(state())
    weights = opened(tmp_path, safetensors.torch.save(tensors, metadata={"script": "<b>\x1b[2J\n"}))
    assert weights.kind == "safetensors"
    assert weights.metadata == {"script": "<b>\x1b[2J\n"}
    for name, value in tensors.items():
        right = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert weights.entries[name] == Entry(right.shape, str(value.dtype)[6:])
        assert np.array_equal(weights.read(name, dtype=None), right)


@pytest.mark.parametrize("kind", every_kind())
def test_the_content_decides_and_never_the_extension(tmp_path, kind):
    for name in ("x.html", "x.pth", "x.h5", "x.keras", "x.safetensors", "x"):
        assert opened(tmp_path, every_kind()[kind], name).kind == kind.split(",")[0]


def test_a_path_may_be_text_and_files_close_themselves_in_silence(tmp_path):
    for content in every_kind().values():
        tensors_of(opened(tmp_path, content))
    assert open_weights(str(tmp_path / "file")).path == tmp_path / "file"
