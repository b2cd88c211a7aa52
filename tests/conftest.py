"""Small data and a checkpoint that many tests share; one thread a process; what was left out, told at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before anything imports torch, and for every child: several processes with a thread for each core wait for one another
# at every barrier. The proofs against other packages run in one process and may have them.
if os.environ.get("INCEPTORY_PEERS") != "1":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


def paint(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """A noisy picture of one colour, 40 x 36."""
    noise = np.random.default_rng(seed).integers(-30, 30, (36, 40, 3))
    Image.fromarray((np.asarray(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the tests' own: they leave nothing in a person's, and find nothing there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("INCEPTORY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three class folders with 24 pictures each."""
    root = tmp_path_factory.mktemp("colours")
    for label, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir()
        for i in range(24):
            paint(root / name / f"{i}.png", colour, seed=100 * label + i)
    return root


@pytest.fixture(scope="session")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `colours`."""
    from inceptory import Recipe, Variant, train

    folder = tmp_path_factory.mktemp("runs") / "colours"
    train(
        str(colours),
        model="cifar_inception_v2",
        out=folder,
        variant=Variant(width=0.25),
        recipe=Recipe(epochs=12, batch=16, lr=0.02, precision="fp32"),
    )
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network that was not trained."""
    from tests.small import saved

    return saved(tmp_path_factory.mktemp("small") / "small.safetensors")


@pytest.fixture(scope="session")
def exports(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its exported folders, by target."""
    from inceptory import export

    class Folders(dict[str, Path]):
        """Each made when it is asked for: that of torch.export takes seconds."""

        def __missing__(self, to: str) -> Path:
            export(small, to=to, out=root / to)
            self[to] = root / to
            return self[to]

    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason='not installed: pip install "inceptory[fast]"')
    root = tmp_path_factory.mktemp("exports")
    return Folders()


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The folder of CIFAR-10 as parquet, where the machine has it."""
    root = os.environ.get("INCEPTORY_DATA")
    if not root or not (Path(root) / "cifar10" / "train.parquet").is_file():
        pytest.skip("CIFAR-10 is not here: INCEPTORY_DATA names no folder with cifar10/train.parquet in it")
    return Path(root) / "cifar10"


# What was left out

SLOW = pytest.StashKey[int]()
"""How many slow tests `-m "not slow"` left out."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SLOW] = 0


def pytest_deselected(items: list[pytest.Item]) -> None:
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow and "not slow" in slow[0].config.option.markexpr:
        slow[0].config.stash[SLOW] += len(slow)


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A process of pytest-xdist leaves out what all others do; it tells the one that reports.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["slow"] = session.config.stash[SLOW]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    node.config.stash[SLOW] = max(node.config.stash[SLOW], getattr(node, "workeroutput", {}).get("slow", 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Above pytest's closing line: how many tests did not run, why, and how to run them."""
    slow, skipped = config.stash[SLOW], terminalreporter.stats.get("skipped", [])
    if not slow and not skipped:
        return
    terminalreporter.section("left out")
    if slow:
        terminalreporter.write_line(f"{slow} slow (run everything: make check; these alone: python -m pytest -m slow)")
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
