"""What feeding costs: memory with a million small pictures, and seconds for each batch.

    python benchmarks/feeding.py batches                            64 pictures of 32x32 out of memory, augmented
    python benchmarks/feeding.py stream [pictures] [parquet|tar]    a long stream by two workers, and its memory
    python benchmarks/feeding.py sorted parquet|tar [KB] [rows]     CIFAR-10 sorted by class, an epoch by two workers

`stream` writes its pictures below the folder for temporary files (0.7 KB each), reads a part of an
epoch and tells the greatest sum of the resident memory of the program and its workers, from /proc.
`sorted` takes the training pictures of CIFAR-10 from $INCEPTORY_DATA, lengthens each to so many KB by
bytes that its decoder passes over, and writes row groups of so many rows (1,000).
"""

from __future__ import annotations

import io
import os
import platform
import statistics
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

BATCH = 64
ROUNDS = 200
STREAMED = 1000
"""Batches of a stream that are read."""
DISTINCT = 2000
CLASSES = 10


def batches() -> None:
    """Milliseconds for one batch out of memory, and for each augmentation."""
    import torch

    from inceptory.data.augment import colour, mixing, trivial
    from inceptory.data.augment import geometry as augment
    from inceptory.data.feed.batches import normalise
    from inceptory.data.feed.feed import feed
    from inceptory.data.picture.preprocess import Preprocess
    from inceptory.data.sources.source import Split

    torch.set_num_threads(1)
    steps = Preprocess(size=32, mean=(0.49,) * 3, std=(0.25,) * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(len(pixels)) % CLASSES
    pictures = feed(Split(list(pixels), labels, [str(row) for row in range(len(pixels))]), "abcdefghij", steps)
    random = torch.Generator().manual_seed(0)
    groups = iter(pictures.order(random).split(BATCH) * 9)

    def cut() -> object:
        return next(pictures.batches([next(groups)]))

    batch = next(pictures.batches([next(groups)]))
    images, values, rows = batch.pixels, normalise(batch.pixels, steps), batch.rows
    ways: dict[str, Callable[[], object]] = {
        "cut out of memory": cut,
        "normalise": lambda: normalise(images, steps),
        "flip": lambda: augment.flip(images, random),
        "alternating flip": lambda: augment.alternating_flip(images, rows, 1, 0),
        "shift, mirrored border": lambda: augment.shift(images, 4, random),
        "shift, zero border": lambda: augment.shift(images, 4, random, "zero"),
        "keras_shift": lambda: augment.keras_shift(values, 4.0, random),
        "erase": lambda: augment.erase(values, random),
        "colour jitter": lambda: colour.jitter(images, random, 0.4, 0.4, 0.4, 0.1),
        "light": lambda: colour.light(values, 0.14, random),
        "mixup": lambda: mixing.mixup(images, batch.labels, 1.0, random),
        "cutmix": lambda: mixing.cutmix(images, batch.labels, 1.0, random),
        "TrivialAugment": lambda: trivial.trivial_augment(images, random),
    }
    print(f"{BATCH} pictures of 3x32x32, one thread, median of {ROUNDS}, milliseconds")
    for name, way in ways.items():
        print(f"  {name:24} {1000 * median_seconds(way):7.2f}")


def median_seconds(way: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def encoded_pictures() -> list[bytes]:
    """Small JPEG files of soft noise."""
    random, found = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        soft = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((32, 32))
        buffer = io.BytesIO()
        soft.save(buffer, "JPEG", quality=80)
        found.append(buffer.getvalue())
    return found


def write_parquet(path: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files, group = encoded_pictures(), 1000
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for start in range(0, count, group):
            rows = range(start, min(start + group, count))
            images = [{"bytes": files[row % DISTINCT], "path": f"{row}.jpg"} for row in rows]
            writer.write_table(pa.table([images, [row % CLASSES for row in rows]], schema=schema))


def write_tar(path: Path, count: int) -> None:
    files = encoded_pictures()
    with tarfile.open(path, "w") as tar:
        for row in range(count):
            for kind, data in (("jpg", files[row % DISTINCT]), ("cls", str(row % CLASSES).encode())):
                member = tarfile.TarInfo(f"{row:08}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            tar.members = []  # type: ignore[attr-defined]  # two million of them would fill the memory


def resident(pid: int) -> int:
    """Bytes of a process and its children; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [
            child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
        ]
    except OSError:
        return 0
    own = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return 1024 * own + sum(resident(int(child)) for child in children)


class Highest:
    """The greatest resident memory since it began."""

    def __init__(self) -> None:
        self.bytes = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, resident(os.getpid()))
            time.sleep(0.05)


def stream(path: Path) -> Iterator[str]:
    """Read a part of an epoch as `train` would, with everything at its default."""
    import torch

    highest, start = Highest(), time.perf_counter()
    from inceptory.data.feed.feed import feed, statistics
    from inceptory.data.picture.preprocess import Preprocess
    from inceptory.data.sources.opening import open_source

    source = open_source(path).with_validation(0.1)
    yield f"opened in {time.perf_counter() - start:.1f} s, {highest.bytes / 2**20:.0f} MiB"
    source.fingerprint()
    steps = Preprocess(size=32, mean=(0.0,) * 3, std=(1.0,) * 3)
    train, held = (feed(source.split(name), source.classes, steps, workers=2) for name in ("train", "validation"))
    yield f"{type(train).__name__} of {len(train):,}, {type(held).__name__} of {len(held):,}"
    start = time.perf_counter()
    statistics(train)
    yield f"channel statistics in {time.perf_counter() - start:.1f} s, {highest.bytes / 2**20:.0f} MiB"
    order = train.order(torch.Generator().manual_seed(0))
    start, seen = time.perf_counter(), 0
    for batch in train.batches(torch.split(order, BATCH)[:STREAMED]):
        seen += len(batch.rows)
    seconds = time.perf_counter() - start
    each = f"{seen / seconds:,.0f} a second, {1000 * seconds / STREAMED:.1f} ms a batch"
    yield f"{seen:,} pictures in {seconds:.1f} s: {each}"
    yield f"greatest resident memory, two workers included: {highest.bytes / 2**20:.0f} MiB"
    for batch in held.batches(torch.split(torch.arange(len(held)), BATCH)[:STREAMED]):
        seen += len(batch.rows)
    yield f"and with a part of the validation split: {highest.bytes / 2**20:.0f} MiB"
    train.close()
    held.close()


def write_sorted(path: Path, length: int, group: int) -> None:
    """The training pictures of CIFAR-10, class after class."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from inceptory.data.sources.opening import open_source

    train = open_source("cifar10").split("train")
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    order, random = np.argsort(train.labels, kind="stable"), np.random.default_rng(0)

    def longer(row: int) -> bytes:
        data = train.pictures[row]
        assert isinstance(data, bytes)
        return data + random.bytes(max(length - len(data), 0))

    if path.suffix == ".tar":
        with tarfile.open(path, "w") as tar:
            for row in order.tolist():
                for kind, data in (("png", longer(row)), ("cls", str(train.labels[row]).encode())):
                    member = tarfile.TarInfo(f"{row:08}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                tar.members = []  # type: ignore[attr-defined]
        return
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(order), group):
            rows = order[start : start + group].tolist()
            images = [{"bytes": longer(row), "path": None} for row in rows]
            writer.write_table(pa.table([images, train.labels[rows]], schema=schema))


def sorted_epoch(path: Path) -> Iterator[str]:
    """An epoch of a file sorted by class: what its batches show, what it takes."""
    import torch

    highest = Highest()
    from inceptory.data.feed.feed import Stream
    from inceptory.data.picture.preprocess import Preprocess
    from inceptory.data.sources.opening import open_source

    source = open_source(path).with_validation(0.1)
    train = source.split("train")
    one = Stream(train, source.classes, Preprocess(size=32, mean=(0.0,) * 3, std=(1.0,) * 3), 2, BATCH)
    start = time.process_time()
    order = one.order(torch.Generator().manual_seed(0))
    planning = time.process_time() - start
    if one._mixture is not None:
        yield f"{one._mixture.windows} windows, each row group read at most {one._mixture.reads} times"
    shown = [len(np.unique(train.labels[rows.numpy()])) for rows in order.split(BATCH)[:-1]]
    full = [len(np.unique(train.labels[rows])) for rows in torch.randperm(len(train)).split(BATCH)[:-1]]
    yield f"classes in a batch of {BATCH}: {np.mean(shown):.2f}; of a full shuffle {np.mean(full):.2f}"
    yield f"ordered in {planning:.2f} s of processor time; resident before the first picture {mib(highest)} MiB"
    for turn in ("first", "second"):
        start, own, clock = os.times().children_user, time.process_time(), time.perf_counter()
        seen = sum(len(batch.rows) for batch in one.batches(order.split(BATCH)))
        # Workers end with the epoch, so that their time is known.
        theirs, own = os.times().children_user - start, time.process_time() - own
        clock = time.perf_counter() - clock
        yield f"{turn} epoch of {seen:,}: processor {own:.1f} s here, {theirs:.1f} s in workers; {clock:.0f} s in all"
    yield f"greatest resident memory, two workers included: {mib(highest)} MiB"
    one.close()


def mib(highest: Highest) -> int:
    return highest.bytes // 2**20


def main() -> None:
    """Measure what the first word says."""
    what, *rest = sys.argv[1:] or ["batches"]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    if what == "batches":
        batches()
        return
    if what == "sorted":
        kind, length, group = [*rest, *("parquet", "0", "1000")[len(rest) :]]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"train.{kind}"
            if os.fork() == 0:
                write_sorted(path, int(length) * 1000, int(group))
                os._exit(0)
            os.wait()
            print(f"a {kind} of {path.stat().st_size / 2**20:.0f} MiB")
            for line in sorted_epoch(path):
                print(line, flush=True)
        return
    count, kind = int(rest[0]) if rest else 1_000_000, rest[1] if len(rest) > 1 else "parquet"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"train.{kind}"
        if os.fork() == 0:  # so that what writing takes is not counted
            (write_parquet if kind == "parquet" else write_tar)(path, count)
            os._exit(0)
        os.wait()
        print(f"{count:,} pictures in a {kind} of {path.stat().st_size / 2**20:.0f} MiB")
        for line in stream(path):
            print(line, flush=True)


if __name__ == "__main__":
    main()
