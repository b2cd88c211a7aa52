"""Whether any single changed byte of a checkpoint goes unnoticed.

    python benchmarks/sealed.py

Changes every byte of the header of a small checkpoint, with its card, to three other values each, and 3,000
bytes of its numbers, one at a time, and loads the file. A change is silent where it is loaded and the card
or a number is another than was saved. Prints the counts as JSON.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from pathlib import Path

import torch

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError
from inceptory.weights.model import load

VALUES, NUMBERS = 3, 3000


def main() -> None:
    torch.set_num_threads(1)
    draw = random.Random(0)
    net = inceptory.create("cifar_inception_v1", width=0.25, classes=3)
    steps = Preprocess(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    card = inceptory.Card.of(net.plan, labels=("cat", "dog", "fox"), preprocess=steps)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.safetensors"
        inceptory.save(net, path, card)
        content, whole = path.read_bytes(), load(path)
        header = 8 + int.from_bytes(content[:8], "little")
        places = [at for at in range(header) for _ in range(VALUES)]
        places += draw.sample(range(header, len(content)), NUMBERS)
        counts = Counter[str]()
        for at in places:
            other = (content[at] + draw.randrange(1, 256)) % 256
            path.write_bytes(content[:at] + bytes([other]) + content[at + 1 :])
            try:
                found = load(path)
            except DataError:
                counts["refused"] += 1
                continue
            same = found.card == whole.card and all(
                torch.equal(tensor, found.state_dict()[name]) for name, tensor in whole.state_dict().items()
            )
            counts["of no consequence" if same else "silent"] += 1
    print(json.dumps({"changes": len(places), "header bytes": header, **counts}))


if __name__ == "__main__":
    main()
