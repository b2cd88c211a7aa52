"""How long a network takes out of a file: ours, torchvision's own way, and Keras' own way.

    python benchmarks/load.py [rounds] [python with keras]

Every round takes all ways in turn, in warm processes, files in the system's cache. Prints median and
range of wall-clock seconds. Keras runs in a child of the Python named, which is asked once a round.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

ROUNDS = 9
KERAS_CHILD = """
import json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
make = lambda: keras.applications.InceptionV3(weights=None)
path = sys.argv[1]
make().save(path)
print(json.dumps(keras.__version__), flush=True)
for _ in sys.stdin:
    keras.utils.clear_session()
    start = time.perf_counter()
    model = make()
    built = time.perf_counter()
    model.load_weights(path)
    print(json.dumps([built - start, time.perf_counter() - built]), flush=True)
"""


def torchvision_way(path: Path, *, aux: bool) -> Any:
    """Build the network as its own loader does, without drawing its weights, then read the file into it."""
    import torch
    import torchvision

    net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=aux)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def write_torch_files(folder: Path) -> dict[bool, Path]:
    import torch
    import torchvision

    paths = {aux: folder / f"inception_v3_{'aux' if aux else 'plain'}.pth" for aux in (False, True)}
    for aux, path in paths.items():
        net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=aux)
        torch.save(net.state_dict(), path)
    return paths


def torch_ways(folder: Path) -> dict[str, Callable[[], Any]]:
    import inceptory

    ways: dict[str, Callable[[], Any]] = {}
    for aux, path in write_torch_files(folder).items():
        what = f"inception_v3 .pth, {path.stat().st_size / 1e6:.0f} MB{', with auxiliary head' if aux else ''}"
        ways[f"{what} | inceptory.load"] = lambda path=path: inceptory.load(path)
        ways[f"{what} | torchvision: build, torch.load, load_state_dict"] = lambda path=path, aux=aux: torchvision_way(
            path, aux=aux
        )
    return ways


class Keras:
    """A child process with Keras, which builds and loads once for every line it is given."""

    def __init__(self, python: str, path: Path) -> None:
        command = [python, "-c", KERAS_CHILD, str(path)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._answer()

    def _answer(self) -> Any:
        assert self.child.stdout is not None
        return json.loads(self.child.stdout.readline())

    def seconds(self) -> tuple[float, float]:
        """Seconds of building, and of load_weights."""
        assert self.child.stdin is not None
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        build, load = self._answer()
        return build, load

    def close(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait()


def seconds(way: Callable[[], Any]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def measure(ways: dict[str, Callable[[], Any]], keras: Keras | None, h5: str, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    for number in range(rounds + 1):  # the first round warms up and is not counted
        found = {name: seconds(way) for name, way in ways.items()}
        if keras is not None:
            build, load = keras.seconds()
            found[f"{h5} | Keras {keras.version}: load_weights alone"] = load
            found[f"{h5} | Keras {keras.version}: build, load_weights"] = build + load
        for name, value in found.items():
            taken.setdefault(name, []).extend([value] if number else [])
    return taken


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        ways, keras, h5 = torch_ways(Path(folder)), None, ""
        if len(sys.argv) > 2:
            import inceptory

            path = Path(folder) / "inception_v3.h5"
            keras = Keras(sys.argv[2], path)
            h5 = f"inception_v3 .h5, {path.stat().st_size / 1e6:.0f} MB"
            ways[f"{h5} | inceptory.load"] = lambda: inceptory.load(path)
        taken = measure(ways, keras, h5, rounds)
        if keras is not None:
            keras.close()
    report(taken, rounds)


def report(taken: dict[str, list[float]], rounds: int) -> None:
    import torch

    machine = platform.processor() or platform.machine()
    print(f"{date.today()}, {machine}, {os.cpu_count()} cores, torch {torch.__version__}, n {rounds}")
    for name, values in taken.items():
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} to {max(values):.3f} |")


if __name__ == "__main__":
    main()
