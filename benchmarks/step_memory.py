"""A training step with its branches' gradients copied or as slices, and with freed memory kept or given back.

    python benchmarks/step_memory.py [--rounds 3] [--steps 8]

Processes with memory kept and without take turns, so many of each for each network; in every one of them steps with
copies and with slices take turns, after five that do not count. A step is forward, loss, backward and SGD, in bf16 and
channels-last, on as many threads as torch takes. Prints medians over the processes, and their largest memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from unittest import mock

WARMUP = 5
NETWORKS = (("cifar_inception_v3_slim", 0.25, 64), ("cifar_inception_fast", 1.0, 1024))
"""Name, width, and pictures of 32x32 in a batch."""
WAYS = ("slices", "copies")


def child(name: str, width: float, batch: int, kept: bool, steps: int) -> dict[str, float]:
    """Median images a second with slices and with copies, and the largest memory of this process in GB."""
    import resource

    import torch
    from torch import Tensor
    from torch.nn.functional import cross_entropy

    import inceptory
    from inceptory.system.machine import keeping_memory

    torch.manual_seed(0)
    net = inceptory.create(name, width=width).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    sgd = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    images = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, net.plan.classes, (batch,))

    def step(way: str) -> float:
        began = time.perf_counter()
        # Without the hook the gradients stay what torch.cat makes of them: slices.
        sliced = mock.patch.object(Tensor, "register_hook")
        with sliced if way == "slices" else nullcontext(), torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(net(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        sgd.step()
        sgd.zero_grad()
        return time.perf_counter() - began

    with keeping_memory() if kept else nullcontext():
        for at in range(WARMUP):
            step(WAYS[at % 2])
        seconds = {way: [] for way in WAYS}  # type: dict[str, list[float]]
        for _ in range(steps):
            for way in WAYS:
                seconds[way].append(step(way))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {way: batch / statistics.median(seconds[way]) for way in WAYS} | {"GB": largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--child", nargs=4, metavar=("NAME", "WIDTH", "BATCH", "KEPT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, width, batch, kept = arguments.child
        print(json.dumps(child(name, float(width), int(batch), kept == "kept", arguments.steps)))
        return
    print("| network | memory | slices, images/s | copies, images/s | largest memory, GB |\n|---|---|---|---|---|")
    for name, width, batch in NETWORKS:
        found: dict[str, list[dict[str, float]]] = {"given back": [], "kept": []}
        for _ in range(arguments.rounds):
            for way, rows in found.items():
                asked = ["--steps", arguments.steps, "--child", name, width, batch, way.split()[0]]
                done = subprocess.run([sys.executable, __file__, *map(str, asked)], stdout=subprocess.PIPE, check=True)
                rows.append(json.loads(done.stdout))
        for way, rows in found.items():
            cells = (f"{statistics.median(row[key] for row in rows):.{2 * (key == 'GB')}f}" for key in (*WAYS, "GB"))
            print(f"| {name}, width {width:g}, batch {batch:,} | {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
