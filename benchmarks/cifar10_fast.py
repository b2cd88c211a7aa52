"""`cifar_inception_fast` and the port of airbench94 on the same CIFAR-10 in the same minutes, seed by seed.

    python benchmarks/cifar10_fast.py OUT [--seeds 3] [--epochs 9.9] [--batch 1024]

For each seed the port (airbench.py, of so many epochs) is trained, then ours for as long as the port's whole command
took, from its start to its last accuracy: `--time` is the whole command too, from its start to its report. Ours learns
from all training pictures but 100, the port from all; of both the last step is measured, on the test pictures as they
are and with their mirror images.

OUT keeps a row for each of both in rows.jsonl; the same command goes on with what is missing, and a training of ours
that was interrupted is resumed. Nothing else may run beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
INCEPTORY = [sys.executable, "-P", "-m", "inceptory"]
OURS, PORT = "cifar_inception_fast", "airbench94"


def run(*command: object) -> str:
    """What a command prints; ends this one where it fails."""
    words = list(map(str, command))
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: ended with {done.returncode}")
    return done.stdout


def port(seed: int, epochs: float, batch: int) -> dict[str, object]:
    """The port's row: the seconds of its command, and of its steps alone."""
    began = time.perf_counter()
    told = run(sys.executable, HERE / "airbench.py", "--seed", seed, "--epochs", epochs, "--batch", batch)
    seconds, last = time.perf_counter() - began, json.loads(told.splitlines()[-1])
    measured = {view: last[view] for view in ("plain", "mirrored")}
    return {"seconds": round(seconds, 1), "steps": last["seconds"], **measured}


def ours(seed: int, seconds: float, folder: Path) -> dict[str, object]:
    """Our row, of a training in a folder."""
    asked = ["cifar10", "--model", OURS, "--seed", seed, "--time", f"{max(seconds, 1):.0f}s", "--validation", 0.002]
    if (folder / "run.json").exists():
        run(*INCEPTORY, "train", "--resume", folder)
    else:
        run(*INCEPTORY, "train", *asked, "--no-tensorboard", "--out", folder)
    accuracies, evaluate = [], ["evaluate", folder / "last.safetensors", "cifar10", "--engine", "torch"]
    for views in ("1", "flip"):
        out = folder / f"views-{views}.json"
        run(*INCEPTORY, *evaluate, "--views", views, "--out", out)
        accuracies.append(json.loads(out.read_text())["top1"])
    epochs = len((folder / "history.csv").read_text().splitlines()) - 1
    return {"seconds": seconds, "plain": accuracies[0], "mirrored": accuracies[1], "epochs": epochs}


def table(rows: list[dict[str, object]]) -> str:
    """Means and deviations over the seeds."""
    lines = ["| network | n | seconds | plain, % | mirrored, % |", "|---|---|---|---|---|"]
    for name in (PORT, OURS):
        own = [row for row in rows if row["network"] == name]
        cells = []
        for column, factor in (("seconds", 1), ("plain", 100), ("mirrored", 100)):
            values = [factor * float(str(row[column])) for row in own]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.{0 if factor == 1 else 2}f}{spread}")
        lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=9.9, help="of the port")
    parser.add_argument("--batch", type=int, default=1024, help="of the port")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for seed in range(given.seeds):
        for name in (PORT, OURS):
            done = {(row["network"], row["seed"]): row for row in rows}
            if (name, seed) in done:
                continue
            if name == PORT:
                row = port(seed, given.epochs, given.batch)
            else:
                row = ours(seed, done[PORT, seed]["seconds"], given.out / f"ours-{seed}")
            rows.append({"network": name, "seed": seed, "threads": os.environ.get("OMP_NUM_THREADS"), **row})
            with open(kept, "a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
