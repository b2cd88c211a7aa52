"""Whether sets of classes hold the truth as often as was asked, end to end: `train` and `evaluate`, run by run.

    python benchmarks/coverage.py BACKBONE PICTURES.parquet [RUNS]
    python benchmarks/coverage.py NETWORK PICTURES.parquet [RUNS]

With a backbone by `train --from` on 1,200 pictures, with the name of a network by fresh training on 4,000 (width 0.25,
8 epochs). Each run draws these and 2,000 others for measuring, and has a seed of its own; columns `img` and
`label` in the Hugging Face image layout. The backbone must not have seen the pictures: those that it was trained on
look easier to it than any other, and a calibration by them promises too much.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

import inceptory

ASKED = ("0.8", "0.9", "0.95")


def main() -> None:
    backbone, file, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20
    table, rows = pq.read_table(file), []
    bits = (cell["bytes"] for cell in table.column("img").to_pylist())
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in bits])
    labels = np.asarray(table.column("label").to_pylist())
    fresh = backbone in inceptory.catalogue()
    begun = {"model": backbone, "variant": inceptory.Variant(width=0.25)} if fresh else {"backbone": backbone}
    count = 4000 if fresh else 1200
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(len(pictures))
        fit, held = order[:count], order[count : count + 2000]
        with tempfile.TemporaryDirectory() as place, contextlib.redirect_stderr(io.StringIO()):
            recipe, out = inceptory.Recipe(seed=seed, **({"epochs": 8} if fresh else {})), Path(place)
            data = {"train": (pictures[fit], labels[fit]), "test": (pictures[held], labels[held])}
            run = inceptory.train(data, **begun, out=out / "run", recipe=recipe, tensorboard=False)
            test = inceptory.from_arrays({"test": pictures[held]}, {"test": labels[held]})
            inceptory.evaluate(out / "run", test, out=out / "m.json", precision="auto")
            coverage = json.loads((out / "m.json").read_text())["coverage"]
        rows.append([*(coverage[asked]["share"] for asked in ASKED), coverage["0.9"]["size"], run.metrics.top1])
        print(seed, np.round(rows[-1], 3), flush=True)
    print(f"{runs} runs, coverage at {', '.join(ASKED)}; size at 0.9; top-1")
    print("mean", np.mean(rows, 0).round(4), "deviation", np.std(rows, 0).round(4))


if __name__ == "__main__":
    main()
