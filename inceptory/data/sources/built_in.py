"""Sets by name: scikit-learn's digits, CIFAR-10, CIFAR-100, Fashion-MNIST.

The last three are looked for as NAME/ below $INCEPTORY_DATA, as parquet or in their publishers'
binary formats, then where Debian's package puts Fashion-MNIST, and are else downloaded once,
checked by their publishers' md5 and kept in the cache folder.

Sources: cs.toronto.edu/~kriz/cifar.html (layout, md5); github.com/zalandoresearch/fashion-mnist
(layout, names; md5 as torchvision has them). A label's number is its line in the publisher's list.
"""

from __future__ import annotations

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.sequences import Frozen, Numbered
from inceptory.data.sources.source import Progress, Source, Split, stratified
from inceptory.errors import DataError, MissingError
from inceptory.system.fetch import Wanted, cache_folder, fetch
from inceptory.system.files import is_file, is_folder, read, write

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
"""CIFAR-100's fine labels, in their order."""
CIFAR100 = tuple(_FINE.split())
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

TORONTO = "https://www.cs.toronto.edu/~kriz/"
ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts it."""


@dataclass(frozen=True)
class Cifar:
    """A set of Krizhevsky 2009 in its binary version: label bytes, then 3 x 32 x 32 bytes, and so on."""

    name: str
    classes: tuple[str, ...]
    folder: str
    files: dict[str, tuple[str, ...]]
    """Of each split."""
    head: int
    """Bytes before a picture; the last one is its label."""
    pickled: str
    """Folder of the version for Python, which can be read only by running it."""
    archive: str
    md5: str
    size: int

    @property
    def wanted(self) -> Wanted:
        """Where the publisher has it."""
        url = TORONTO + self.archive
        return Wanted(f"{self.name}/{self.archive}", (url,), _by_hand(url, self.name), "md5", self.md5, self.size)


TEN = Cifar(
    "cifar10",
    CIFAR10,
    "cifar-10-batches-bin",
    {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
    1,
    "cifar-10-batches-py",
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    170_052_171,
)
HUNDRED = Cifar(
    "cifar100",
    CIFAR100,
    "cifar-100-binary",
    {"train": ("train.bin",), "test": ("test.bin",)},
    2,
    "cifar-100-python",
    "cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
    168_513_733,
)
PIXELS = 3 * 32 * 32

LARGEST = 2**27
"""Bytes of an unpacked IDX file; the largest of the set has 47 million."""
FASHION_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
FASHION_MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}


class Pixels(Frozen[NDArray[np.uint8]]):
    """Pictures (H, W) or (H, W, 3) in one array."""

    LOCAL = True

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def item(self, row: int) -> NDArray[np.uint8]:
        """One picture."""
        picture: NDArray[np.uint8] = self._array[row]
        return picture


def _by_hand(url: str, name: str) -> str:
    do = "unpack it in" if url.endswith(".tar.gz") else "put it into"
    return f"get it from {url} and {do} {name}/ below a folder that INCEPTORY_DATA names"


def _own(name: str) -> Path | None:
    """The folder of a set below $INCEPTORY_DATA, where there is one."""
    root = os.environ.get("INCEPTORY_DATA")
    folder = Path(os.path.expanduser(root)) / name if root else None
    return folder if folder is not None and is_folder(folder) else None


def _from_parquet(folder: Path, name: str, classes: tuple[str, ...]) -> Source | None:
    """The set from parquet files, where the folder holds any; bare numbers get the publisher's names."""
    from inceptory.data.sources.parquet import source as parquet

    files = parquet.files_of(Listing(folder))
    if not files:
        return None
    source = parquet.open_files(folder, files)
    bare = source.classes == tuple(map(str, range(len(classes))))
    return replace(source, name=name, classes=classes if bare else source.classes)


# Digits


def digits(progress: Progress | None = None) -> Source:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels, enlarged to 32x32; a fifth is the test split."""
    from PIL import Image
    from sklearn.datasets import load_digits

    dataset = load_digits()
    small = (dataset.images * (255 / 16)).round().astype(np.uint8)
    pictures = [np.asarray(Image.fromarray(digit).resize((32, 32), Image.Resampling.BICUBIC)) for digit in small]
    names = Numbered(["digits"], [len(pictures)])
    everything = Split(Pixels(np.stack(pictures)), dataset.target.astype(np.int64), names)
    train, test = stratified(everything.labels, 0.2)
    splits = {"train": everything.take(train), "test": everything.take(test)}
    return Source("digits", tuple(str(name) for name in dataset.target_names), splits)


# CIFAR


def _cifar(kind: Cifar) -> Callable[[Progress | None], Source]:
    def open_it(progress: Progress | None = None) -> Source:
        folder = _own(kind.name)
        if folder is None:
            return _downloaded(kind, progress)
        return _from_parquet(folder, kind.name, kind.classes) or _binary(folder, kind)

    return open_it


def _binary(folder: Path, kind: Cifar) -> Source:
    """The binary version in a folder or the one below it that its archive makes; raises DataError."""
    every = [name for names in kind.files.values() for name in names]
    for place in (folder, folder / kind.folder):
        if all(is_file(place / name) for name in every):
            return _read_cifar(place, kind)
    if is_file(folder / kind.archive):
        raise DataError(f"{folder / kind.archive}: is packed (unpack it there)")
    if is_folder(folder / kind.pickled):
        # Its files are pickles: programs, which are never run here.
        raise DataError(f"{folder / kind.pickled}: the version for Python is not read ({_binary_remedy(kind)})")
    raise DataError(f"{folder}: holds neither parquet nor the binary version of {kind.name} ({_binary_remedy(kind)})")


def _binary_remedy(kind: Cifar) -> str:
    return f"give the binary version, {TORONTO}{kind.archive}"


def _read_cifar(place: Path, kind: Cifar) -> Source:
    splits = {}
    for split, files in kind.files.items():
        parts = [_records(place / name, kind) for name in files]
        rows = np.concatenate(parts)
        labels = rows[:, kind.head - 1].astype(np.int64)
        if labels.max() >= len(kind.classes):
            raise DataError(f"{place}: a label is above {len(kind.classes) - 1} (fetch the files again)")
        pictures = rows[:, kind.head :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        names = Numbered([f"{kind.name} {name}" for name in files], [len(part) for part in parts])
        splits[split] = Split(Pixels(pictures), labels, names)
    return Source(kind.name, kind.classes, splits)


def _records(file: Path, kind: Cifar) -> NDArray[np.uint8]:
    data = np.frombuffer(read(file), dtype=np.uint8)
    each = kind.head + PIXELS
    if not len(data) or len(data) % each:
        raise DataError(f"{file}: {len(data)} bytes are not a whole number of records of {each} (fetch it again)")
    return data.reshape(-1, each)


def _downloaded(kind: Cifar, progress: Progress | None) -> Source:
    unpacked = _unpacked(kind)
    if not all(map(is_file, unpacked)):
        _unpack(fetch(kind.wanted, progress), unpacked)
    return _read_cifar(unpacked[0].parent, kind)


def _unpacked(kind: Cifar) -> list[Path]:
    """Where the files of a set lie once it is downloaded."""
    return [cache_folder() / kind.name / kind.folder / name for names in kind.files.values() for name in names]


def _unpack(archive: Path, wanted: Sequence[Path]) -> None:
    """Write the files of these names from the archive, each whole or not at all; the archive is then needless."""
    places = {path.name: path for path in wanted}
    with tarfile.open(archive, "r:gz") as packed:
        for member in packed:
            name = member.name.rpartition("/")[2]
            content = packed.extractfile(member) if member.isfile() and name in places else None
            if content is not None:
                write(places[name], content.read())
    archive.unlink()


# Fashion-MNIST


def fashion(progress: Progress | None = None) -> Source:
    """70,000 pictures of clothes, 28x28 and grey. Xiao, Rasul, Vollgraf 2017."""
    folder = _own("fashion-mnist")
    if folder is not None:
        return _from_parquet(folder, "fashion-mnist", FASHION) or _read_fashion(folder)
    return _read_fashion(DEBIAN if is_folder(DEBIAN) else _fetched_fashion(progress))


def _fetched_fashion(progress: Progress | None) -> Path:
    for name, md5 in FASHION_MD5.items():
        url = f"{ZALANDO}{name}.gz"
        fetch(Wanted(f"fashion-mnist/{name}.gz", (url,), _by_hand(url, "fashion-mnist"), "md5", md5), progress)
    return cache_folder() / "fashion-mnist"


def _read_fashion(folder: Path) -> Source:
    splits = {}
    for split, (images, labels) in FASHION_FILES.items():
        pictures, numbers = _idx(folder, images, 3), _idx(folder, labels, 1)
        if len(pictures) != len(numbers) or numbers.max(initial=0) >= len(FASHION):
            raise DataError(f"{folder}: pictures and labels of its {split} files do not agree (fetch them again)")
        names = Numbered([f"fashion-mnist {split}"], [len(pictures)])
        splits[split] = Split(Pixels(pictures), numbers.astype(np.int64), names)
    return Source("fashion-mnist", FASHION, splits)


def _idx(folder: Path, name: str, axes: int) -> NDArray[np.uint8]:
    """An IDX file of bytes, packed or not: two zeros, type 8, number of axes, their lengths, the bytes. LeCun 1998."""
    file = next((file for file in (folder / name, folder / f"{name}.gz") if is_file(file)), None)
    if file is None:
        raise MissingError(f"{folder}: holds neither parquet nor {name}.gz ({_by_hand(ZALANDO, 'fashion-mnist')})")
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as stream:
            data = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as fault:
        raise DataError(f"{file}: cannot be unpacked, {fault} (fetch it again)") from None
    lengths = np.frombuffer(data[4 : 4 + 4 * axes], dtype=">u4").tolist()
    if data[:4] != bytes([0, 0, 8, axes]) or len(data) != 4 + 4 * axes + math.prod(lengths):
        raise DataError(f"{file}: not an IDX file of bytes with {axes} axes (fetch it again)")
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * axes).reshape(lengths)


SETS: dict[str, Callable[[Progress | None], Source]] = {
    "digits": digits,
    "cifar10": _cifar(TEN),
    "cifar100": _cifar(HUNDRED),
    "fashion-mnist": fashion,
}


def is_here(name: str) -> bool:
    """Whether a set of SETS is opened without a download."""
    if name == "digits" or _own(name) is not None:
        return True
    if name == "fashion-mnist":
        kept = cache_folder() / name
        return is_folder(DEBIAN) or all(is_file(kept / f"{file}.gz") for file in FASHION_MD5)
    return all(map(is_file, _unpacked(TEN if name == TEN.name else HUNDRED)))
