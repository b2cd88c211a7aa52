"""What a random crop costs: processor milliseconds for each picture, ours and torchvision's, in turn.

    python benchmarks/crops.py [pictures] [rounds] [least share]

JPEGs of 500x375 cut to 299x299, and arrays of 32x32 to 32x32. The milliseconds are of this process and
the data workers that it ended, all their threads, one of arithmetic each.
"""

from __future__ import annotations

import io
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image

from inceptory.data.feed.feed import Feed, feed
from inceptory.data.picture.crops import DRAWS, Crops
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Split

BATCH = 32
SIZE = (500, 375)
WORKERS = 2


def photographs(count: int) -> list[bytes]:
    """JPEGs of parts of the two photographs that scikit-learn brings, about as large as ImageNet's files."""
    from sklearn.datasets import load_sample_image

    chance, found = np.random.default_rng(0), []
    for row in range(count):
        picture = Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[row % 2]))
        left, top = (int(chance.integers(0, picture.size[side] - 400)) for side in (0, 1))
        buffer = io.BytesIO()
        picture.crop((left, top, left + 400, top + 300)).resize(SIZE).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def opened(pictures: list[bytes] | list[np.ndarray], side: int, least: float, **options: int) -> Feed:
    labels, names = np.arange(len(pictures)) % 2, [str(row) for row in range(len(pictures))]
    steps = Preprocess(size=side, resize=side, mean=(0.0,) * 3, std=(1.0,) * 3)
    return feed(Split(pictures, labels, names), "ab", steps, crops=Crops(least) if least else None, **options)


def ours(one: Feed, least: float) -> Iterator[torch.Tensor]:
    """An epoch's batches of uint8."""
    groups, chance = one.order(torch.Generator().manual_seed(0)).split(BATCH), torch.Generator().manual_seed(0)
    draws = [torch.rand(len(rows), DRAWS, generator=chance, dtype=torch.float64) for rows in groups]
    yield from (batch.pixels for batch in one.batches(groups, draws if least else None))


class Theirs(torch.utils.data.Dataset[torch.Tensor]):
    """What torchvision's examples do: open, crop, to a tensor."""

    def __init__(self, files: list[bytes], side: int, least: float) -> None:
        from torchvision import transforms

        cut = transforms.RandomResizedCrop(side, (least, 1.0))
        self.files, self.change = files, transforms.Compose([cut, transforms.PILToTensor()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        found: torch.Tensor = self.change(Image.open(io.BytesIO(self.files[row])).convert("RGB"))
        return found


def theirs(files: list[bytes], side: int, least: float, workers: int) -> Iterator[torch.Tensor]:
    """An epoch of torchvision's way through a DataLoader."""
    yield from torch.utils.data.DataLoader(Theirs(files, side, least), BATCH, shuffle=True, num_workers=workers)


def processor() -> float:
    """Processor seconds of this process and of the children that ended."""
    return sum(os.times()[:4])


def milliseconds(epoch: Callable[[], Iterator[torch.Tensor]], count: int) -> float:
    before = processor()
    assert sum(len(batch) for batch in epoch()) == count
    return 1000 * (processor() - before) / count


def main() -> None:
    """Measure each way in turn, as often as asked, after a round that does not count."""
    words = sys.argv[1:]
    count, rounds = (int(words[at]) if len(words) > at else default for at, default in ((0, 512), (1, 7)))
    least = float(words[2]) if len(words) > 2 else 0.08
    torch.set_num_threads(1)
    files = photographs(count)
    small = [np.asarray(Image.open(io.BytesIO(file)).resize((32, 32))) for file in files] * 8
    begun = processor()
    kept = opened(files, 299, least)
    print(f"decoded once and kept: {1000 * (processor() - begun) / count:.2f} ms a picture")
    threads, processes = (opened(files, 299, least, memory=0, workers=workers) for workers in (0, WORKERS))
    tiny, plain = opened(small, 32, least), opened(small, 32, 0.0)
    ways = {
        "299, in memory": (lambda: ours(kept, least), count),
        "299, streamed by threads": (lambda: ours(threads, least), count),
        f"299, streamed by {WORKERS} workers": (lambda: ours(processes, least), count),
        "299, torchvision, DataLoader": (lambda: theirs(files, 299, least, 0), count),
        f"299, torchvision, DataLoader, {WORKERS} workers": (lambda: theirs(files, 299, least, WORKERS), count),
        "32, in memory": (lambda: ours(tiny, least), len(small)),
        "32, in memory, no crop": (lambda: ours(plain, 0.0), len(small)),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + rounds):
        for name, (epoch, pictures) in ways.items():
            found[name].append(milliseconds(epoch, pictures))
    print(
        f"{platform.machine()}, torch {torch.__version__}, {count} pictures, n = {rounds}, {time.strftime('%Y-%m-%d')}"
    )
    print("| way | processor ms a picture, median | range |\n|---|---|---|")
    for name, (_, *values) in found.items():
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} to {max(values):.3f} |")
    for one in (kept, threads, processes, tiny, plain):
        one.close()


if __name__ == "__main__":
    main()
