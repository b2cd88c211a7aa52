"""Sets by name, found in every form that their publishers give them, or downloaded once and checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, FashionMNIST

from inceptory.data.picture.decode import open_picture
from inceptory.data.sources import built_in
from inceptory.data.sources.opening import open_source
from inceptory.errors import DataError, MissingError
from inceptory.system.fetch import cache_folder
from tests.data.pictures import encoded, noise
from tests.weights.published.test_download import quick, site  # noqa: F401, fixtures


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data on this machine, an empty cache, no network."""
    monkeypatch.delenv("INCEPTORY_DATA", raising=False)
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(built_in, "DEBIAN", tmp_path / "no such folder")


@pytest.fixture
def root(monkeypatch, tmp_path):
    """The folder that INCEPTORY_DATA names."""
    monkeypatch.setenv("INCEPTORY_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def records(labels, head, seed=0):
    """Records of CIFAR's binary version, and their pictures (n, 32, 32, 3)."""
    pictures = np.stack([noise(32, 32, seed=seed + row) for row in range(len(labels))])
    planes = pictures.transpose(0, 3, 1, 2).reshape(len(labels), -1)
    heads = np.zeros((len(labels), head), dtype=np.uint8) + 7
    heads[:, -1] = labels
    return np.concatenate([heads, planes], 1).tobytes(), pictures


def cifar(folder, kind, labels=(3, 0, 9)):
    """The files of a set; gives each picture by file."""
    folder.mkdir(parents=True)
    made = {}
    for number, name in enumerate(name for names in kind.files.values() for name in names):
        content, made[name] = records(labels, kind.head, seed=10 * number)
        (folder / name).write_bytes(content)
    return made


KINDS = pytest.mark.parametrize("kind", [built_in.TEN, built_in.HUNDRED], ids=lambda kind: kind.name)


@KINDS
@pytest.mark.parametrize("below", [True, False])
def test_the_binary_version_is_read(root, kind, below):
    made = cifar(root / kind.name / kind.folder if below else root / kind.name, kind)
    source = open_source(kind.name)
    assert (source.name, source.classes) == (kind.name, kind.classes)
    for split, names in kind.files.items():
        part = source.split(split)
        assert part.labels.tolist() == [3, 0, 9] * len(names)
        assert np.array_equal(np.stack(list(part.pictures)), np.concatenate([made[name] for name in names]))
        assert part.names[-1] == f"{kind.name} {names[-1]}:2"


@KINDS
def test_pictures_of_the_binary_version_can_be_opened(root, kind):
    made = cifar(root / kind.name, kind)
    picture = open_source(kind.name).split("test").pictures[1]
    assert np.array_equal(np.asarray(open_picture(picture, "x")), made[kind.files["test"][0]][1])


def test_parquet_is_read_too_and_bare_numbers_get_the_publishers_names(root):
    (root / "cifar10").mkdir()
    images = pa.array([encoded(noise(32, 32, seed=row)) for row in range(10)])
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": images, "label": list(range(10))}), root / "cifar10" / f"{split}.parquet")
    source = open_source("cifar10")
    assert (source.name, source.classes) == ("cifar10", built_in.CIFAR10)
    assert list(source.split("test").labels) == list(range(10))


@KINDS
def test_the_version_for_python_is_refused_and_never_run(root, kind):
    folder = root / kind.name / kind.pickled
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(DataError, match=f"version for Python is not read .*{kind.archive}"):
        open_source(kind.name)


@KINDS
def test_an_archive_that_is_not_unpacked_is_told(root, kind):
    (root / kind.name).mkdir()
    (root / kind.name / kind.archive).write_bytes(b"")
    with pytest.raises(DataError, match="unpack it"):
        open_source(kind.name)


@KINDS
def test_a_folder_without_the_set_is_told_with_its_address(root, kind):
    (root / kind.name).mkdir()
    with pytest.raises(DataError, match=f"neither parquet nor the binary version.*https.*{kind.archive}"):
        open_source(kind.name)


@pytest.mark.parametrize("change", [b"", b"x"], ids=["empty", "a byte more"])
def test_a_file_of_no_whole_records_is_told(root, change):
    cifar(root / "cifar10", built_in.TEN)
    path = root / "cifar10" / "data_batch_3.bin"
    path.write_bytes(path.read_bytes() + change if change else b"")
    with pytest.raises(DataError, match=r"data_batch_3\.bin: .* not a whole number of records of 3073"):
        open_source("cifar10")


def test_a_label_beyond_the_classes_is_told(root):
    cifar(root / "cifar10", built_in.TEN, labels=(3, 10))
    with pytest.raises(DataError, match="a label is above 9"):
        open_source("cifar10")


def test_class_names_are_the_publishers():
    """CIFAR's own order: torchvision's for what it has, the alphabet's for the hundred."""
    assert len(built_in.CIFAR100) == 100
    assert sorted(built_in.CIFAR100) == list(built_in.CIFAR100)
    assert built_in.CIFAR100[:3] == ("apple", "aquarium_fish", "baby")
    assert built_in.CIFAR100[-1] == "worm"
    assert list(built_in.FASHION) == FashionMNIST.classes
    assert sorted(built_in.CIFAR10) == list(built_in.CIFAR10)


def test_the_md5_of_fashion_mnist_are_torchvisions():
    theirs = {name.removesuffix(".gz"): md5 for name, md5 in FashionMNIST.resources}
    assert theirs == built_in.FASHION_MD5
    assert FashionMNIST.mirrors == [built_in.ZALANDO]
    assert CIFAR10.url.startswith(built_in.TORONTO)


# Downloads, from a server of our own


def packed(kind, folder):
    """The publisher's archive of small files."""
    cifar(folder, kind)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        out.add(folder, kind.folder)
        for name, content in (("readme.html", b"words"), ("../../out.bin", b"hostile")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def published(site, monkeypatch, tmp_path):
    """CIFAR-10 on our own server."""
    site.content = packed(built_in.TEN, tmp_path / "made" / built_in.TEN.folder)
    md5 = hashlib.md5(site.content).hexdigest()
    kind = replace(built_in.TEN, md5=md5, size=len(site.content))
    monkeypatch.setattr(built_in, "TORONTO", site.url("/"))
    monkeypatch.setitem(built_in.SETS, "cifar10", built_in._cifar(kind))
    return site


def test_what_is_not_here_is_downloaded_once_and_unpacked(published):
    told = []
    source = open_source("cifar10", lambda done, total: told.append((done, total)))
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 15, "test": 3}
    assert told[-1] == (len(published.content),) * 2
    again = open_source("cifar10")
    assert again.fingerprint() == source.fingerprint()
    assert [path for path, _ in published.requests] == ["/cifar-10-binary.tar.gz"]
    kept = [file.relative_to(cache_folder()) for file in cache_folder().rglob("*") if file.is_file()]
    folder = Path("cifar10") / built_in.TEN.folder
    assert sorted(kept) == [*(folder / f"data_batch_{number}.bin" for number in range(1, 6)), folder / "test_batch.bin"]


def test_other_bytes_than_the_publishers_are_refused(published):
    published.content = published.content[:-1] + b"!"
    with pytest.raises(DataError, match="wrong bytes, its md5 is"):
        open_source("cifar10")
    assert [file for file in cache_folder().rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist"])
def test_offline_a_set_that_is_not_here_is_told_with_the_way_by_hand(monkeypatch, name):
    monkeypatch.setenv("INCEPTORY_OFFLINE", "1")
    with pytest.raises(MissingError, match=r"INCEPTORY_OFFLINE is set .*get it from http.*INCEPTORY_DATA"):
        open_source(name)


def test_what_would_be_downloaded_is_not_here(published, root, monkeypatch, tmp_path):
    assert {name for name in built_in.SETS if built_in.is_here(name)} == {"digits"}
    open_source("cifar10")
    assert {name for name in built_in.SETS if built_in.is_here(name)} == {"digits", "cifar10"}
    (root / "cifar100").mkdir()
    clothes(cache_folder() / "fashion-mnist")
    assert all(map(built_in.is_here, built_in.SETS))
    (cache_folder() / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert not built_in.is_here("fashion-mnist")
    monkeypatch.setattr(built_in, "DEBIAN", tmp_path)
    assert built_in.is_here("fashion-mnist")


# Fashion-MNIST


def idx(array):
    lengths = np.asarray(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def clothes(folder, count=4, zipped=True):
    """The four files of a small set; gives the pictures of the training split."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.stack([noise(28, 28, 1, seed=row) for row in range(count)])
    for images, labels in built_in.FASHION_FILES.values():
        for name, array in ((images, pictures), (labels, np.arange(count, dtype=np.uint8))):
            content = idx(array)
            file = folder / (f"{name}.gz" if zipped else name)
            file.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return pictures


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_packed_or_not(root, zipped):
    pictures = clothes(root / "fashion-mnist", zipped=zipped)
    source = open_source("fashion-mnist")
    assert source.classes == built_in.FASHION
    assert np.array_equal(np.stack(list(source.split("train").pictures)), pictures)
    assert source.split("test").labels.tolist() == [0, 1, 2, 3]


def test_debians_package_is_found(monkeypatch, tmp_path):
    clothes(tmp_path / "debian")
    monkeypatch.setattr(built_in, "DEBIAN", tmp_path / "debian")
    assert len(open_source("fashion-mnist").split("train")) == 4


def test_fashion_mnist_is_downloaded_file_by_file(site, monkeypatch, tmp_path):
    clothes(tmp_path / "made")
    files = {name: (tmp_path / "made" / f"{name}.gz").read_bytes() for name in built_in.FASHION_MD5}
    monkeypatch.setattr(built_in, "FASHION_MD5", {name: hashlib.md5(data).hexdigest() for name, data in files.items()})
    monkeypatch.setattr(built_in, "ZALANDO", site.url("/"))
    waiting = iter(files.values())
    monkeypatch.setattr(type(site), "content", property(lambda self: self.now, lambda self, value: None), raising=False)
    given = built_in.fetch

    def one_after_the_other(wanted, progress):
        site.now = next(waiting)
        return given(wanted, progress)

    monkeypatch.setattr(built_in, "fetch", one_after_the_other)
    assert len(open_source("fashion-mnist").split("train")) == 4
    assert [path for path, _ in site.requests] == [f"/{name}.gz" for name in files]


FAULTS = {
    "no gzip": lambda data: b"text",
    "cut short": lambda data: data[:-20],
    "damaged inside": lambda data: data[:20] + bytes(byte ^ 255 for byte in data[20:40]) + data[40:],
    "another kind": lambda data: gzip.compress(b"\0\0\x0d\x03" + gzip.decompress(data)[4:]),
    "shorter than it says": lambda data: gzip.compress(gzip.decompress(data)[:-1]),
    "longer than it says": lambda data: gzip.compress(gzip.decompress(data) + b"x"),
    "a bomb": lambda data: gzip.compress(bytes(2**20)),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_damaged_idx_file_is_a_data_error(root, monkeypatch, kind):
    monkeypatch.setattr(built_in, "LARGEST", 2**16)
    clothes(root / "fashion-mnist")
    path = root / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(FAULTS[kind](path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: "):
        open_source("fashion-mnist")


def test_pictures_and_labels_that_do_not_agree_are_told(root):
    clothes(root / "fashion-mnist")
    (root / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(3, dtype=np.uint8))))
    with pytest.raises(DataError, match="test files do not agree"):
        open_source("fashion-mnist")


def test_a_folder_without_its_files_is_told(root):
    (root / "fashion-mnist").mkdir()
    with pytest.raises(MissingError, match="neither parquet nor train-images-idx3-ubyte"):
        open_source("fashion-mnist")


def test_the_digits_are_scikit_learns():
    train = open_source("digits").split("train")
    theirs = load_digits().images[int(train.names[3].partition(":")[2])] * (255 / 16)
    enlarged = np.asarray(train.pictures[3], dtype=float).reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(enlarged.ravel(), theirs.ravel())[0, 1] > 0.97


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="Debian's package is not installed")
def test_debians_fashion_mnist_is_whole(monkeypatch):
    monkeypatch.setattr(built_in, "DEBIAN", Path("/usr/share/datasets/fashion-mnist"))
    source = open_source("fashion-mnist")
    assert np.bincount(source.split("train").labels).tolist() == [6000] * 10
    assert np.bincount(source.split("test").labels).tolist() == [1000] * 10


@pytest.mark.skipif(not os.environ.get("INCEPTORY_DATA"), reason="INCEPTORY_DATA names no folder")
def test_cifar10_of_this_machine_is_whole(monkeypatch, cifar10):
    monkeypatch.setenv("INCEPTORY_DATA", str(cifar10.parent))
    source = open_source("cifar10")
    assert source.classes == built_in.CIFAR10
    assert np.bincount(source.split("train").labels).tolist() == [5000] * 10
    assert np.bincount(source.split("test").labels).tolist() == [1000] * 10
