"""Images a second in training cifar_inception_v3_slim: Keras 3 on TensorFlow, plain PyTorch, ours eager and compiled.

    python benchmarks/train_step.py [--rounds 9] [--keras PYTHON] [--xla] [--json FILE] [--quick]
    python benchmarks/train_step.py --profile      # where the time of our eager step goes

Every way trains in a process of its own, which makes one step when it is asked for one: rounds take all
ways in turn, and two never compute at once. A step is normalising, forward, loss, backward and SGD with
Nesterov momentum and weight decay on a batch of 64. The machine's matrix rate is measured in every round
too. PYTHON has Keras and TensorFlow (default: INCEPTORY_KERAS_PYTHON; without it Keras is left out).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

NETWORK, CORES = "cifar_inception_v3_slim", 2
WARMUP = 5
"""Steps before the first that counts: the memory allocator needs four until it asks for no more."""
OURS = ("plain PyTorch, fp32", "ours, eager", "ours, compiled")
KERAS_CHILD = """
import json, os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy, tensorflow
tests, cores, batch, xla = sys.argv[1], *map(int, sys.argv[2:])
sys.path.insert(0, tests)
import keras_cifar
tensorflow.config.threading.set_intra_op_parallelism_threads(cores)
model = keras_cifar.build("v3_slim")
sgd = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
model.compile(optimizer=sgd, loss="sparse_categorical_crossentropy", jit_compile=bool(xla))
rng = numpy.random.default_rng(0)
images = rng.integers(0, 256, (batch, 32, 32, 3)).astype("float32")
labels = rng.integers(0, 10, batch)
print(json.dumps({"how": f"Keras {keras.__version__}, TensorFlow {tensorflow.__version__}, fp32"}), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    model.train_on_batch((images - 127.5) / 64, labels)
    print(json.dumps(time.perf_counter() - start), flush=True)
"""


class Child:
    """A process that makes one step for every line it is given, and says how many seconds it took."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.how: str = self._answer()["how"]
        """Versions and arithmetic, in its own words."""

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.process.args[0]!r} ended early (its words are above)")  # type: ignore[index]
        return json.loads(line)

    def seconds(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(way: str, batch: int, width: float) -> None:
    """The child of our ways: one training step a line."""
    import torch

    step, how = trainer(way, batch, width)
    print(json.dumps({"how": f"torch {torch.__version__}, {how}"}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(json.dumps(time.perf_counter() - start), flush=True)


def trainer(way: str, batch: int, width: float) -> tuple[Callable[[], float], str]:
    """A function that makes one step, and the arithmetic that it uses."""
    import torch
    import torch.nn.functional as F

    import inceptory
    from inceptory.data.feed.batches import normalise
    from inceptory.data.picture.preprocess import Preprocess
    from inceptory.engines.device import choose
    from inceptory.learn.compiled import compiled

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    plain = way.startswith("plain")
    net = inceptory.create(NETWORK, width=width).train()
    device = choose("cpu", "fp32" if plain else "auto")
    if not plain:
        net = net.to(memory_format=torch.channels_last)
    heads = compiled(net, batch) if way.endswith("compiled") else net.heads
    sgd = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    pixels = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 10, (batch,))
    preprocess = Preprocess(size=32, resize=32, mean=(0.5,) * 3, std=(0.25,) * 3)

    def step() -> float:
        images = normalise(pixels, preprocess, "cpu")
        with device.autocast():
            logits = heads(images.contiguous() if plain else images)["logits"]
        loss = F.cross_entropy(logits.float(), labels)
        sgd.zero_grad(set_to_none=True)
        loss.backward()
        sgd.step()
        return loss.item()

    return step, f"{device.precision}, {'channels first' if plain else 'channels last'}"


SHARES = {
    "convolutions, forward": ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward"),
    "convolutions, backward": ("aten::convolution_backward",),
    "batch norm": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
    "ReLU": ("aten::clamp_min_", "aten::relu_", "aten::threshold_backward"),
    "average pools": ("aten::avg_pool2d", "aten::avg_pool2d_backward"),
    "maximum pools": ("aten::max_pool2d_with_indices", "aten::max_pool2d_with_indices_backward"),
    "joining branches": ("aten::cat",),
    "casts and copies": ("aten::copy_",),
    "zeros for gradients": ("aten::fill_", "aten::zero_"),
}
"""Kinds of work, and the operators whose own time counts as such."""


def profile(batch: int, width: float) -> None:
    """Print each kind of work's share of one eager step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    step, how = trainer("ours, eager", batch, width)
    for _ in range(WARMUP):
        step()
    with record(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    own = {event.key: event.self_cpu_time_total / 1e6 for event in recorded.key_averages()}
    whole = {event.key: event.cpu_time_total / 1e6 for event in recorded.key_averages()}
    found = {kind: sum(own.get(key, 0.0) for key in keys) for kind, keys in SHARES.items()}
    found["optimizer"] = sum(value for key, value in whole.items() if key.startswith("Optimizer.step"))
    total = sum(own.values())
    found["all else (sums at forks, loss, calls)"] = total - sum(found.values())
    print(f"{NETWORK}, {how}, batch {batch}, {CORES} cores, {processor()}, {date.today()}: {total:.2f} s")
    for kind, value in sorted(found.items(), key=lambda pair: -pair[1]):
        print(f"| {kind} | {value:.3f} s | {value / total:.1%} |")


def matrix_rates(size: int) -> dict[str, float]:
    """TFLOP/s of a square matrix product by arithmetic and threads, the best of five."""
    import torch

    rates = {}
    for kind in (torch.bfloat16, torch.float32):
        a = torch.randn(size, size).to(kind)
        for threads in (1, CORES):
            torch.set_num_threads(threads)
            times = []
            for _ in range(5):
                start = time.perf_counter()
                torch.mm(a, a)
                times.append(time.perf_counter() - start)
            name = f"matrix product {str(kind).removeprefix('torch.')}, {threads} thread{'s' * (threads > 1)}"
            rates[name] = 2 * size**3 / min(times) / 1e12
    return rates


def start_children(given: argparse.Namespace, batch: int, width: float) -> dict[str, Child]:
    ours = [sys.executable, __file__, "--batch", str(batch), "--width", str(width), "--way"]
    children = {way: Child([*ours, way]) for way in OURS}
    if given.keras:
        tests = Path(__file__).parent.parent / "tests/peers"
        for way, xla in [("Keras", 0), ("Keras with XLA", 1)][: 1 + given.xla]:
            command = [given.keras, "-c", KERAS_CHILD, str(tests), str(CORES), str(batch), str(xla)]
            children[way] = Child(command)
    return children


def measure(children: dict[str, Child], rounds: int, warmup: int, batch: int, size: int) -> dict[str, list[float]]:
    """Images a second of every way and TFLOP/s of every matrix product, a value a round."""
    for way, child in children.items():
        first = [child.seconds() for _ in range(warmup)]
        print(f"{way}: first step {first[0]:.1f} s, step {warmup} {first[-1]:.1f} s", file=sys.stderr)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        values = {way: batch / child.seconds() for way, child in children.items()}
        for name, value in {**values, **matrix_rates(size)}.items():
            found.setdefault(name, []).append(value)
    return found


def report(found: dict[str, list[float]], hows: dict[str, str], batch: int) -> dict[str, Any]:
    """Print rows for benchmarks/README.md; gives them as plain values with all that was measured."""
    facts = {
        "network": NETWORK,
        "batch": batch,
        "cores": CORES,
        "machine": processor(),
        "python": platform.python_version(),
        "date": str(date.today()),
        "command": f"python {' '.join(sys.argv)}",
    }
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print("| way | median | spread | unit | n | of Keras |\n|---|---|---|---|---|---|")
    for name, values in found.items():
        middle, unit = statistics.median(values), "images/s" if name in hows else "TFLOP/s"
        # Values of one round were taken within seconds of each other: their ratio outlives a noisy machine.
        both = zip(values, found.get("Keras", ()), strict=False)
        ratio = f"{statistics.median(a / b for a, b in both):.2f}" if name in hows and "Keras" in found else ""
        what = f"{name} ({hows[name]})" if name in hows else name
        print(f"| {what} | {middle:.3g} | {min(values):.3g} to {max(values):.3g} | {unit} | {len(values)} | {ratio} |")
    return {**facts, "how": hows, "values": found}


def processor() -> str:
    """The processor's name as the system has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="values of each way")
    parser.add_argument("--keras", default=os.environ.get("INCEPTORY_KERAS_PYTHON"), help="a Python with Keras")
    parser.add_argument("--xla", action="store_true", help="Keras compiled by XLA as well")
    parser.add_argument("--json", type=Path, help="file for every value")
    parser.add_argument("--quick", action="store_true", help="a narrow network, two rounds: whether all runs")
    parser.add_argument("--profile", action="store_true", help="where the time of our eager step goes, and no more")
    parser.add_argument("--way", choices=OURS, help="be the process of this way (asked by this program itself)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=float, default=1.0)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.way:
        serve(given.way, given.batch, given.width)
        return
    batch, width, rounds, warmup = (4, 0.25, 2, 1) if given.quick else (given.batch, given.width, given.rounds, WARMUP)
    if given.profile:
        profile(batch, width)
        return
    children = start_children(given, batch, width)
    found = measure(children, rounds, warmup, batch, size=256 if given.quick else 2048)
    result = report(found, {way: child.how for way, child in children.items()}, batch)
    for child in children.values():
        child.close()
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
