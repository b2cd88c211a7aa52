"""`features`: any kind of data in, a file of vectors out, pictures that cannot be read told and left out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from inceptory import extract_features, from_arrays, from_dataset
from inceptory.cli import main
from inceptory.errors import ConfigError, DataError, Doubt, UsageError
from inceptory.features import features as module
from inceptory.features import pictures
from tests.conftest import paint
from tests.data.hub import ClassLabel, Dataset, Image
from tests.data.parquet_files import store
from tests.features.conftest import backbone

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 33, 34, 3), dtype=np.uint8)


def given(model, data, **options):
    """Features in plain fp32."""
    return extract_features(model, data, **{"precision": "fp32", "engine": "torch"} | options)


# Kinds of data


def test_splits_come_one_after_the_other_each_named(model):
    data = {"train": (PIXELS[:3], ["b", "a", "b"]), "test": (PIXELS[3:], ["a", "a", "b"])}
    features = given(model, data)
    assert features.splits == ("train",) * 3 + ("test",) * 3
    assert features.classes == ("a", "b")
    assert features.labels.tolist() == [1, 0, 1, 0, 0, 1]
    whole = given(model, from_arrays(PIXELS, list("aabbab")))
    assert whole.computed == 0
    assert np.array_equal(whole.vectors, features.vectors)


def test_arrays_sources_and_data_sets_from_python_give_the_same_vectors(model):
    whole = given(model, (PIXELS, list("aabbab")))
    assert np.array_equal(given(model, from_arrays(PIXELS, list("aabbab"))).vectors, whole.vectors)
    from PIL import Image as Pillow

    columns = {"image": [Pillow.fromarray(one) for one in PIXELS], "label": [0, 0, 1, 1, 0, 1]}
    data = Dataset(columns, {"image": Image(), "label": ClassLabel(["a", "b"])})
    features = given(model, data)
    assert np.array_equal(features.vectors, whole.vectors)
    assert features.labels.tolist() == given(model, from_dataset(data)).labels.tolist() == [0, 0, 1, 1, 0, 1]


def test_grey_pixels_and_the_same_bytes_in_another_shape_are_other_pictures(model):
    square, flat = PIXELS[:2].reshape(2, 34, 33, 3), PIXELS[:2]
    given(model, (flat, list("ab")))
    assert given(model, (square, list("ab"))).computed == 2


def test_a_parquet_file_and_the_files_in_it_share_their_vectors(model, photos, tmp_path):
    whole = given(model, photos)
    files = [Path(name).read_bytes() for name in whole.names]
    path = store(tmp_path / "photos.parquet", [whole.classes[label] for label in whole.labels], _structs(files))
    features = given(model, path)
    assert features.computed == 0
    assert np.array_equal(features.vectors, whole.vectors)
    assert np.array_equal(given(model, path, cache=False, views=2).vectors, given(model, photos, views=2).vectors)


def _structs(files):
    import pyarrow as pa

    from tests.data.parquet_files import IMAGE

    return pa.array([{"bytes": data, "path": "x.png"} for data in files], IMAGE)


def test_pictures_that_may_show_several_classes(model, tmp_path):
    features = given(model, (PIXELS[:3], [[1, 1], [0, 1], [0, 0]]), out=tmp_path / "x.parquet")
    assert features.labels.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert pq.read_table(tmp_path / "x.parquet")["label"].to_pylist() == [["0", "1"], ["1"], []]


def test_a_folder_without_labels_with_folders_in_it(model, photos, tmp_path):
    for name in ("0.png", "1.png"):
        (photos / "red" / name).rename(photos / name)
    with pytest.warns(Doubt, match=rf"^{photos}: pictures lie beside its folders, so .* \(move those pictures"):
        features = given(model, photos, out=tmp_path / "x.parquet")
    assert [os.path.relpath(name, photos) for name in features.names] == [
        *("0.png", "1.png"),
        *("blue/0.png", "blue/1.png", "red/2.png"),
    ]
    assert set(features.splits) == {pictures.ALL}
    assert features.classes == ()
    assert features.labels.tolist() == [pictures.UNLABELLED] * 5
    assert pq.read_table(tmp_path / "x.parquet")["label"].to_pylist() == [None] * 5


@pytest.mark.parametrize("data", ["0.png", ".", "../red", "../red/0.png"])
def test_paths_as_they_were_given_name_the_pictures(data, model, photos, monkeypatch):
    monkeypatch.chdir(photos / "red")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = given(model, data)
    assert len(features) == (1 if data.endswith(".png") else 3)
    assert all(Path(name).is_file() for name in features.names)
    assert features.names[0] == ("0.png" if data in (".", "0.png") else "../red/0.png")


def test_a_folder_of_nothing_and_a_wrong_kind_are_told(model, tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"^\S*bare: holds no class folders"):
        given(model, tmp_path / "bare")
    with pytest.raises(UsageError, match=r"^data of the type int: not labelled pictures"):
        given(model, 3)


# Pictures that cannot be read


def test_pictures_that_cannot_be_read_are_named_and_left_out(model, photos, capsys):
    whole = given(model, photos)
    (photos / "blue" / "1.png").write_bytes(b"no picture")
    (photos / "red" / "0.png").unlink()
    (photos / "red" / "0.png").symlink_to(photos / "nowhere")
    (photos / "red" / "3.png").mkdir()
    for _ in range(2):
        features = given(model, photos)
        assert [Path(name).parts[-2:] for name in features.names] == [
            *(("blue", "0.png"), ("red", "1.png"), ("red", "2.png"))
        ]
        assert np.array_equal(features.vectors, whole.vectors[[0, 3, 4]])
        assert features.labels.tolist() == [0, 1, 1]
        assert features.computed == 0
        (fault,) = features.skipped
        assert fault.startswith(str(photos / "blue" / "1.png"))
        err = capsys.readouterr().err
        assert f"skipped: {photos / 'blue' / '1.png'}" in err
        assert "skipped 1 unreadable pictures, 3 remain" in err


def test_files_whose_bytes_cannot_be_had_are_told_with_their_reason(model, photos, monkeypatch, capsys):
    from inceptory.errors import MissingError
    from inceptory.features import content

    plain = content.files.read

    def read(path):
        if path.name == "1.png":
            raise MissingError(f"{path}: cannot be read, permission denied (check its permissions)")
        return plain(path)

    monkeypatch.setattr(content.files, "read", read)
    features = given(model, photos, views=2)
    assert features.vectors.shape[:2] == (3, 2)
    assert [fault.partition(": ")[2] for fault in features.skipped] == [
        "cannot be read, permission denied (check its permissions)"
    ] * 2
    assert "skipped 2 unreadable pictures, 3 remain" in capsys.readouterr().err


def test_nothing_but_unreadable_pictures_is_one_line_and_no_file(model, photos, tmp_path, capsys):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    assert main(["features", str(model), str(photos), "--out", str(tmp_path / "x.npz")]) == 65
    err = capsys.readouterr().err
    assert err.startswith(f"error: {photos / 'blue' / '0.png'}")
    assert err.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()


# Files


def test_npz_holds_everything_and_no_pickle(model, photos, tmp_path):
    features = given(model, photos, out=tmp_path / "x.npz", views=2)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"vectors", "labels", "names", "splits", "classes", "about"}
        assert np.array_equal(arrays["vectors"], features.vectors)
        assert arrays["labels"].tolist() == features.labels.tolist()
        assert arrays["names"].tolist() == list(features.names)
        assert arrays["splits"].tolist() == ["train"] * 5
        assert arrays["classes"].tolist() == ["blue", "red"]
        about = json.loads(str(arrays["about"]))
    assert about == json.loads(json.dumps(features.about))
    assert (about["views"], about["layer"], about["model"]) == (2, "bottleneck", str(model))


def test_parquet_holds_a_row_a_picture(model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    features = given(model, photos, out=tmp_path / "x.parquet", views=2)
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.metadata.num_row_groups == 3
    table = file.read()
    assert table["name"].to_pylist() == list(features.names)
    assert table["split"].to_pylist() == ["train"] * 5
    assert table["label"].to_pylist() == ["blue"] * 2 + ["red"] * 3
    vectors = np.asarray(table["vector"].to_pylist(), dtype=np.float32)
    assert np.array_equal(vectors.reshape(features.vectors.shape), features.vectors)
    assert json.loads(table.schema.metadata[b"about"])["views"] == 2


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_names_that_are_not_utf8(ending, model, photos, tmp_path):
    os.rename(photos / "red" / "0.png", os.fsencode(photos / "red") + b"/caf\xe9.png")
    os.rename(photos / "blue", os.fsencode(photos) + b"/bl\xfc")
    out = tmp_path / f"x{ending}"
    features = given(model, photos, out=out)
    assert all(os.path.exists(name) for name in features.names)
    if ending == ".npz":
        with np.load(out, allow_pickle=False) as arrays:
            assert all(os.path.exists(str(name)) for name in arrays["names"])
            assert str(arrays["classes"][0]) == os.fsdecode(b"bl\xfc")
    else:
        table = pq.read_table(out)
        assert any(name.endswith("caf\\udce9.png") for name in table["name"].to_pylist())
        assert table["label"].to_pylist()[0] == "bl\\udcfc"


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_file_of_this_command_is_replaced_and_anothers_is_not(ending, model, photos, tmp_path):
    out = tmp_path / f"x{ending}"
    given(model, photos, out=out)
    given(model, photos, out=out, layer="embedding")
    out.write_bytes(b"somebody's")
    with pytest.raises(ConfigError, match=r"--out \S+: exists and is not features of inceptory's .*--force"):
        given(model, photos, out=out)
    assert out.read_bytes() == b"somebody's"
    given(model, photos, out=out, force=True)
    assert out.stat().st_size > 1000


def test_what_is_read_is_never_replaced(model, photos, tmp_path):
    data = store(tmp_path / "photos.parquet", ["a", "b", "a", "b"])
    content = data.read_bytes()
    with pytest.raises(UsageError, match="is read by this command"):
        given(model, data, out=data, force=True)
    assert data.read_bytes() == content
    paint(tmp_path / "in.png", (1, 2, 3), 0)
    (photos / "red" / "x.npz").write_bytes(b"somebody's")
    with pytest.raises(UsageError, match="belongs to"):
        given(model, photos, out=photos / "red" / "x.npz", force=True)


def test_a_pipe_is_written_to(model, photos, tmp_path):
    pipe = tmp_path / "x.npz"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        content = pool.submit(pipe.read_bytes)
        features = given(model, photos, out=pipe)
    with np.load(io.BytesIO(content.result(timeout=60)), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["vectors"], features.vectors)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(ending, model, photos, tmp_path, capsys):
    out = tmp_path / "results" / f"x{ending}"
    with files_of_at_most(5000):
        assert main([*_words(model, photos, out), "--views", "4", "--no-cache"]) == 74
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {out}: cannot be written, file too large, ")
    assert " bytes or more needed and " in line
    assert not out.parent.exists()


def test_a_cache_that_cannot_grow_changes_no_answer(model, photos, tmp_path, capsys):
    expected = given(model, photos, cache=False)
    with files_of_at_most(30_000):
        assert main([*_words(model, photos, tmp_path / "x.npz")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert "what it computes is not kept for the next time (make room" in line
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["vectors"], expected.vectors)


@contextlib.contextmanager
def files_of_at_most(size):
    """No file may grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _words(model, photos, out) -> list[str]:
    return ["features", str(model), str(photos), "--out", str(out), "--precision", "fp32", "--engine", "torch"]


# The command


def test_the_command_says_what_it_made(model, photos, tmp_path, capsys):
    out = tmp_path / "x.npz"
    assert main([*_words(model, photos, out)]) == 0
    length = given(model, photos).vectors.shape[1]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"5 x {length} numbers of layer bottleneck, 5 vectors computed now, cpu fp32"
    )
    assert main([*_words(model, photos, out), "--layer", "embedding", "--views", "3", "--image", "40"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"5 x 3 x {length} numbers of layer embedding, 15 vectors computed now, cpu fp32"
    )
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out
    assert "5 vectors of cifar_inception_v1, bottleneck, 32 pixels, cpu fp32, used 20" in listed
    assert "15 vectors of cifar_inception_v1, embedding, 40 pixels" in listed


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--layer", "x"], 64, "'x': no such layer of cifar_inception_v1 ("),
        (["--image", "0"], 64, "--image 0: too small"),
        (["--device", "cuda"], 78, "--device cuda: not on this machine"),
        (["--out", "x.txt"], 64, "end it in .npz or .parquet"),
        (["--views", "x"], 64, "--views x: of the wrong kind"),
        (["--split-folders", "on"], 65, "no folder is named train"),
    ],
)
def test_misuse_is_one_line_and_computes_nothing(words, code, named, model, photos, capsys, monkeypatch, kept_in):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["features", str(model), str(photos), *words]) == code
    err = capsys.readouterr().err
    assert named in err
    assert err.count("\n") == 1
    assert not kept_in.exists()


def test_a_limit_that_is_no_size_is_told_before_anything_is_read(model, photos, monkeypatch, capsys):
    monkeypatch.setenv("INCEPTORY_CACHE_LIMIT", "much")
    monkeypatch.setattr("inceptory.features.extract.digests", lambda *_: pytest.fail("pictures were read"))
    assert main(["features", str(model), str(photos)]) == 64
    assert capsys.readouterr().err == "error: INCEPTORY_CACHE_LIMIT much: not a size (such as 500MB or 20GB)\n"


def test_a_network_without_a_classifier_has_vectors_too(photos, tmp_path):
    path = backbone(tmp_path / "bare.safetensors", classes=0)
    assert len(given(path, photos)) == 5
