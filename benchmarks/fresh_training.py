"""Whether every network of the family learns from fresh weights with the defaults, and answers in eval mode.

    python benchmarks/fresh_training.py results.jsonl [NAME ...] [-- FLAGS]

Trains each network at a quarter of its width for six epochs on the digits that come with scikit-learn
(`inceptory train digits --model M --width 0.25 --epochs 6 --flip off`), evaluates it on the test
pictures and on the training pictures, unchanged and in eval mode, and adds a line for each to the file.
Networks that the file already has are passed over, so a broken series goes on where it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = (
    ("googlenet", "torchvision", 64),
    ("bn_inception", "cadene", 64),
    ("inception_v2", "slim", 64),
    ("inception_v3", "torchvision", 192),
    ("inception_v3", "keras", 192),
    ("inception_v3", "slim", 192),
    ("inception_v4", "timm", 224),
    ("inception_v4", "slim", 224),
    ("inception_resnet_v1", "paper", 128),
    ("inception_resnet_v2", "timm", 128),
    ("inception_resnet_v2", "keras", 128),
    ("inception_resnet_v2", "slim", 128),
    ("xception", "keras", 64),
    ("xception41", "timm", 64),
    ("xception65", "timm", 64),
    ("xception71", "timm", 64),
    ("cifar_inception_v1", "keras", 32),
    ("cifar_inception_v2", "keras", 48),
    ("cifar_inception_v3", "keras", 80),
    ("cifar_inception_v3_slim", "keras", 32),
    ("cifar_inception_v3_slim_352", "keras", 32),
    ("cifar_inception_v3_stem_slim", "keras", 32),
)
"""Name, dialect and image; the first dialect of a network is its default."""


def inceptory(*words: object) -> None:
    subprocess.run([sys.executable, "-P", "-m", "inceptory", *map(str, words)], check=True)


def measured(name: str, dialect: str, image: int, flags: list[str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        run, start = Path(place) / "run", time.monotonic()
        options = ["--width", 0.25, "--epochs", 6, "--flip", "off", "--image", image, "--dialect", dialect, *flags]
        inceptory("train", "digits", "--model", name, *options, "--out", run)
        seconds = time.monotonic() - start
        tops = {}
        for split in ("test", "validation", "train"):
            inceptory("evaluate", run, "digits", "--split", split, "--out", run / f"{split}.json")
            tops[split] = json.loads((run / f"{split}.json").read_text())["top1"]
        return {"network": name, "dialect": dialect, "image": image, "flags": flags, **tops, "seconds": round(seconds)}


def main() -> None:
    words, flags = sys.argv[1:], list[str]()
    if "--" in words:
        words, flags = words[: words.index("--")], words[words.index("--") + 1 :]
    results, wanted = Path(words[0]), words[1:]
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for name, dialect, image in NETWORKS:
        known = any((row["network"], row["dialect"], row["flags"]) == (name, dialect, flags) for row in done)
        if known or (wanted and name not in wanted):
            continue
        row = measured(name, dialect, image, flags)
        print(row, flush=True)
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
