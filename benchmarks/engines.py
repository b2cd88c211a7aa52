"""Times networks with `inceptory bench --peers` and appends the rows to results.csv and pairs.csv.

    python benchmarks/engines.py [MODEL...] [--peers-python PYTHON] [--batch 1,16] [--threads N] [--busy] [--data DATA]

Without a model: one of each family. Each row has the date, the machine and the versions; `pairs.csv` has ours over each
peer by paired rounds. `make bench` makes the READMEs' table and picture of them. A network takes up to ten minutes.
With ONEDNN_MAX_CPU_ISA=AVX2 in front it computes as on a processor without newer instructions, and the rows say so.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from engines_table import LIMITED

import inceptory
from inceptory.engines import machine
from inceptory.run.timing.rows import FIGURES, KEYS

HERE = Path(__file__).parent
MODELS = ["inception_v3", "xception", "googlenet", "bn_inception"]
MODELS += ["inception_v4", "inception_resnet_v1", "inception_resnet_v2"]

ISA = "ONEDNN_MAX_CPU_ISA"
"""What keeps oneDNN, which torch and OpenVINO compute with, from newer instructions (AVX2)."""


def append(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add rows to a file, which gets a header where it is new."""
    new = not path.exists()
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--peers-python", default=os.environ.get("INCEPTORY_KERAS_PYTHON"))
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--threads", default="")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    numbers = {
        name: tuple(map(int, getattr(given, name).split(","))) for name in ("batch", "threads") if vars(given)[name]
    }
    options = [word for word in sys.argv[1:] if word not in given.models]
    for model in given.models:
        shared = ", beside other work" if machine.busy() else ""
        limit = os.environ.get(ISA)
        shared += f", {LIMITED} {limit}" if limit else ""
        found = inceptory.bench(
            model, peers=True, peers_python=given.peers_python, busy=given.busy, data=given.data, **numbers
        )
        print(found, flush=True)
        # Paths of Pythons are nobody's business.
        kept = [word for word in options if word != "--peers-python" and word != given.peers_python]
        command = shlex.join(["inceptory", "bench", model, "--peers", *kept])
        command = f"{ISA}={limit} {command}" if limit else command
        where = {"date": str(date.today()), "machine": found.notes[0].partition("; ")[0] + shared}
        where |= {"versions": found.notes[0].partition("; ")[2], "command": command}
        rows = [
            {
                **{key: getattr(row, key) for key in (*KEYS, *FIGURES)},
                "busy": row.busy,
                "rounds": len(row.ms),
                **where,
                "versions": row.versions if row.peer else where["versions"],
            }
            for row in found.rows
        ]
        append(given.out / "results.csv", rows)
        pairs = []
        for pair in found.pairs():
            times, between = pair.times
            low, high = between or ("", "")
            own, peer = pair.ours, pair.peer
            pairs.append(
                {
                    **{key: getattr(own, key) for key in KEYS},
                    "peer": peer.peer,
                    "peer_precision": peer.precision,
                    "busy": own.busy,
                    "times": round(times, 3),
                    "low": low and round(low, 3),
                    "high": high and round(high, 3),
                    "rounds": len(own.ms),
                    **where,
                }
            )
        if pairs:
            append(given.out / "pairs.csv", pairs)


if __name__ == "__main__":
    main()
