"""A small honest file of every kind that a command reads, and the commands that read it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from inceptory.errors import InterruptedRun
from inceptory.learn.loop import Loop
from inceptory.learn.settings.folder import states_in
from inceptory.system.signals import Stop

MODEL = "cifar_inception_v1"


@dataclass(frozen=True)
class Sample:
    """A file to be damaged: where it lies in the sandbox, and lines that read it, `{}` being that place."""

    name: str
    place: str
    content: bytes
    lines: tuple[str, ...]
    mend: Callable[[bytes], bytes] = bytes
    """What makes a damaged content believable again, such as a digest over it."""


def prepared(sandbox: Path) -> list[Sample]:
    """Lay out the sandbox (a run, a folder of pictures, a folder for outputs) and give the samples."""
    import inceptory
    from inceptory import Recipe, Variant

    pictures = sandbox / "data"
    for label, level in (("a", 40), ("b", 200)):
        (pictures / label).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (32, 32), (level, 20 * i, 90)).save(pictures / label / f"{i}.png")
    recipe = Recipe(epochs=1, batch=4, precision="fp32")
    options = {"variant": Variant(width=0.25), "recipe": recipe, "tensorboard": False}
    inceptory.train(str(pictures), model=MODEL, out=sandbox / "run", **options)
    _stopped(lambda: inceptory.train(str(pictures), model=MODEL, out=sandbox / "forged" / "stopped", **options))
    (sandbox / "out").mkdir()
    shutil.copytree(pictures, sandbox / "plain")
    google = inceptory.create("googlenet", classes=2, aux=False, width=0.25)
    inceptory.save(google, sandbox / "google.safetensors")
    return [*_pictures(), *_data(pictures), *_weights(sandbox), *_records(sandbox)]


def _stopped(train: Callable[[], object]) -> None:
    """A run that is asked to stop after its first step, and leaves a state."""
    keep = Loop._keep

    def watched(self: Loop, stop: Stop) -> None:
        stop.asked = True
        keep(self, stop)

    Loop._keep = watched  # type: ignore[method-assign]
    try:
        train()
    except InterruptedRun:
        return
    finally:
        Loop._keep = keep  # type: ignore[method-assign]
    raise AssertionError("it was to be stopped")


def _pictures() -> list[Sample]:
    noise = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    lines = ("predict run {} --out out/p.csv", "check data")
    found = []
    for kind, options in (
        ("PNG", {}),
        ("JPEG", {"quality": 80}),
        ("JPEG", {"progressive": True}),
        ("GIF", {"save_all": True, "append_images": [Image.new("RGB", (36, 40))]}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
        ("PPM", {}),
        ("TGA", {}),
    ):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, kind, **options)
        name = f"{kind}{' progressive' if 'progressive' in options else ''}"
        found.append(Sample(name, f"data/a/0.{kind.lower()}", file.getvalue(), lines))
    return found


def _data(pictures: Path) -> list[Sample]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(pictures.glob("*/*.png"))
    contents, labels = [file.read_bytes() for file in files], [file.parent.name for file in files]
    found = []
    for compression in ("none", "zstd", "snappy"):
        for code, kind in ((labels, "words"), ([label == "b" for label in labels], "numbers")):
            column = code if kind == "words" else [int(one) for one in code]
            images = [{"bytes": content, "path": None} for content in contents]
            table, file = pa.table({"image": images, "label": column}), io.BytesIO()
            pq.write_table(table, file, compression=compression, row_group_size=4)
            lines = ("check {}", "evaluate run {} --split train --out out/e.json")
            found.append(Sample(f"parquet {compression} {kind}", "set/train.parquet", file.getvalue(), lines))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for i, (content, label) in enumerate(zip(contents, labels, strict=True)):
            for ending, data in (("png", content), ("cls", label.encode())):
                member = tarfile.TarInfo(f"{i:03}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    found.append(Sample("tar", "set/train-00.tar", file.getvalue(), ("check {}", "evaluate run {} --split train")))
    rows = "".join(f"../data/{file.parent.name}/{file.name},{file.parent.name}\n" for file in files)
    table = ("check {}", "evaluate run {} --split train")
    found.append(Sample("csv", "set/table.csv", f"image_id,label\n{rows}".encode(), table))
    return found


def _weights(sandbox: Path) -> list[Sample]:
    from tests.weights.files import makers

    verify = ("verify {}", "convert {} out/x.pth --to torchvision --force")
    own = (sandbox / "run" / "model.safetensors").read_bytes()
    return [
        Sample("torch zip", "w/a.pth", makers.saved(makers.state()), verify),
        Sample("torch legacy", "w/b.pth", makers.saved(makers.state(), legacy=True), verify),
        Sample("safetensors", "w/c.safetensors", makers.safetensors_file(), verify),
        Sample("keras h5", "w/d.h5", makers.hdf5(makers.keras_2016), verify),
        Sample("keras weights.h5", "w/e.weights.h5", makers.hdf5(makers.keras_3), verify),
        Sample("keras archive", "w/f.keras", makers.keras_archive(), verify),
        Sample("our checkpoint", "w/g.safetensors", own, ("verify {}", "predict {} data/b/0.png --out out/p.csv")),
        Sample("our card", "w/h.safetensors", own, ("verify {}", "predict {} data/b/0.png"), _sealed),
    ]


def _sealed(content: bytes) -> bytes:
    """The checkpoint with a digest that fits, where it can still be read at all."""
    import safetensors
    import safetensors.torch

    from inceptory.weights.card import KEY
    from inceptory.weights.seal import LAST, seal
    from inceptory.weights.store import described

    try:
        tensors = safetensors.torch.load(content)
        text = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][KEY]
        bare = LAST.sub("}", text)
        return safetensors.torch.save(tensors, metadata={KEY: seal(bare, described(tensors))})
    except (ValueError, KeyError, TypeError, RuntimeError, UnicodeError, safetensors.SafetensorError):
        return content


def _records(sandbox: Path) -> list[Sample]:
    shutil.copytree(sandbox / "run", sandbox / "forged", dirs_exist_ok=True)
    lines = ("compare run forged --out out/c --force", "train --resume forged")
    names = ("run.json", "metrics.json", "history.csv")
    records = [Sample(name, f"forged/{name}", (sandbox / "run" / name).read_bytes(), lines) for name in names]
    (state,) = states_in(sandbox / "forged" / "stopped")
    place = str(state.relative_to(sandbox))
    return [*records, Sample("a state", place, state.read_bytes(), ("train --resume forged/stopped",))]
