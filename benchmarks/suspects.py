"""How many of flipped labels, distorted copies and foreign pictures `check --from` lists, and how many others.

    INCEPTORY_DATA=... python benchmarks/suspects.py BACKBONE [SEEDS]

BACKBONE is a checkpoint or run folder (benchmarks/novelty.py trains one); SEEDS seeds (3) choose what is changed.
Labels: 5,000 training pictures of CIFAR-10 and all digits, at the backbone's own size, with none or 5 % of the labels
flipped to another class. Copies: 200 of 4,000 training pictures, distorted, among 1,000 test pictures. Foreign: 1 % of
the pictures from another set among 4,000 of CIFAR-10, or among the digits.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance
from scipy.special import ndtr

import inceptory
from inceptory.data.sources.opening import open_source
from inceptory.measure.suspects import label_suspects, near_duplicates, strangeness, unlike_the_rest
from inceptory.run.suspects import held_out_logits

SHARES = (0.0, 0.05)
LABELLED, ORIGINALS, OTHERS, COPIED = 5_000, 4_000, 1_000, 200


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def saved(picture: Image.Image) -> Image.Image:
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=quality)
        return Image.open(content)

    return saved


DISTORTIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 75": jpeg(75),
    "JPEG of quality 40": jpeg(40),
    "cropped to 28 of 32 pixels": lambda picture: picture.crop((2, 2, 30, 30)).resize(
        (32, 32), Image.Resampling.BICUBIC
    ),
    "20 % brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def pictures(name: str, split: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    part = open_source(name).split(split)
    pixels = []
    for picture in part.pictures[:count]:
        opened = Image.fromarray(picture) if isinstance(picture, np.ndarray) else Image.open(io.BytesIO(picture))
        pixels.append(np.asarray(opened.convert("RGB").resize((32, 32))))
    return np.stack(pixels), np.asarray(part.labels)[:count]


def flipped(truths: np.ndarray, share: float, seed: int) -> np.ndarray:
    random, labels, classes = np.random.default_rng(seed), truths.copy(), int(truths.max()) + 1
    rows = random.choice(len(truths), round(share * len(truths)), replace=False)
    labels[rows] = (truths[rows] + random.integers(1, classes, len(rows))) % classes
    return labels


def spread(values: list[float]) -> str:
    if np.isnan(values).any():
        return "-"
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def of_labels(name: str, vectors: np.ndarray, truths: np.ndarray, seeds: int) -> None:
    for share in SHARES:
        listed, precision, recall, first, right, seconds = ([] for _ in range(6))
        for seed in range(seeds if share else 1):
            labels = flipped(truths, share, seed)
            wrong, start = labels != truths, time.perf_counter()
            logits = held_out_logits(vectors[:, None], labels)
            seconds.append(time.perf_counter() - start)
            rows = label_suspects(logits, labels).rows
            listed.append(float(len(rows)))
            right.append(100 * float((logits.argmax(1) == truths).mean()))
            precision.append(100 * float(wrong[rows].mean()) if len(rows) else float("nan"))
            recall.append(100 * float(wrong[rows].sum() / max(wrong.sum(), 1)))
            first.append(100 * float(wrong[rows[:50]].mean()) if len(rows) else float("nan"))
        figures = (right, listed, precision, recall, first, seconds)
        print(f"| {name}, n {len(truths):,} | {wrong.sum()} | {' | '.join(map(spread, figures))} |", flush=True)


def of_copies(see: Callable[[np.ndarray], np.ndarray], seeds: int) -> None:
    originals, others = pictures("cifar10", "train", ORIGINALS)[0], pictures("cifar10", "test", OTHERS)[0]
    usual = see(np.concatenate([originals, others]))
    parts = np.repeat([0, 1], [ORIGINALS, OTHERS])
    print(f"| none | | {len(near_duplicates(usual, parts).pairs)} |")
    for name, distorted in DISTORTIONS.items():
        hits, rest = list[float](), list[float]()
        for seed in range(seeds):
            rows = np.random.default_rng(seed).choice(ORIGINALS, COPIED, replace=False)
            copies = np.stack([np.asarray(distorted(Image.fromarray(originals[row]))) for row in rows])
            both = np.concatenate([usual, see(copies)])
            pairs = near_duplicates(both, np.r_[parts, np.ones(COPIED, int)]).pairs
            own = {(int(row), len(usual) + place) for place, row in enumerate(rows)}
            hits.append(len(own & set(map(tuple, pairs.tolist()))))
            rest.append(len(pairs) - hits[-1])
        print(f"| {name} | {spread(hits)} | {spread(rest)} |", flush=True)


def of_strangers(name: str, rest: np.ndarray, foreign: dict[str, np.ndarray], seeds: int) -> None:
    for kind, several in foreign.items():
        hits, others, count = list[float](), list[float](), round(0.01 * len(rest)) if len(several) else 0
        for seed in range(seeds if count else 1):
            random = np.random.default_rng(seed)
            both = np.concatenate([rest, several[random.permutation(len(several))[:count]]])
            rows = unlike_the_rest(ndtr(-strangeness(both, random.permutation(len(both)) % 5)))
            hits.append(int((rows >= len(rest)).sum()))
            others.append(len(rows) - hits[-1])
        print(f"| {name} | {kind} | {count} | {spread(hits)} | {spread(others)} |", flush=True)


def main() -> None:
    backbone, seeds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3

    def see(pixels: np.ndarray) -> np.ndarray:
        given = inceptory.from_arrays(pixels, np.arange(len(pixels)) % 2)
        return np.asarray(inceptory.extract_features(backbone, given, cache=False).vectors)

    photos, truths = pictures("cifar10", "train", LABELLED)
    digits, numbers = pictures("digits", "train")
    seen, drawn = see(photos), see(digits)
    print(
        "\n| labels | flipped | top-1, % | listed | precision, % | recall, % | of the first 50, % | seconds |\n"
        + "|---" * 8
        + "|"
    )
    of_labels("CIFAR-10", seen, truths, seeds)
    of_labels("digits", drawn, numbers, seeds)
    print("\n| copies | of 200 found | other pairs |\n|---|---|---|")
    of_copies(see, seeds)
    noise = see(np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), dtype=np.uint8))
    none = np.empty((0, seen.shape[1]), np.float32)
    print("\n| rest | foreign | n | listed of them | listed of the rest |\n|---|---|---|---|---|")
    of_strangers("CIFAR-10", seen[:ORIGINALS], {"none": none, "digits": drawn, "noise": noise}, seeds)
    of_strangers("digits", drawn, {"none": none, "CIFAR-10": seen, "noise": noise}, seeds)


if __name__ == "__main__":
    main()
