"""`bench`: how long a network takes on this machine, engine beside engine and beside other packages."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from inceptory.errors import ConfigError, DataError, UsageError, printable
from inceptory.run.timing.rows import Bench, Row
from inceptory.system.clock import now
from inceptory.system.flags import commas

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inceptory.run.timing.entrants import Entry
    from inceptory.run.timing.models import Benched

LARGEST_BATCH = 4096
SECONDS, ALL, BRIEF = 200.0, 480.0, 40.0
"""For the rounds of a model, with a busy process half of that each; and for all of it: where making and warming up
leave less than that, the rounds have what is left, BRIEF at least."""
FEATURES = {"amx_tile": "AMX", "avx512_bf16": "AVX-512 bf16", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI"}
"""What a processor may have for fewer bits, by the system's words."""

Engines = Literal["torch", "onnxruntime", "openvino"]
Precisions = Literal["fp32", "bf16", "int8"]
Listed = Parameter(converter=commas, n_tokens=1, accepts_keys=False)


def bench(
    *models: Path | str,
    engines: Annotated[tuple[Engines, ...], Listed] = (),
    precisions: Annotated[tuple[Precisions, ...], Listed] = (),
    batch: Annotated[tuple[int, ...], Listed] = (1, 16),
    image: int | None = None,
    threads: Annotated[tuple[int, ...], Listed] = (),
    busy: bool = False,
    peers: bool = False,
    peers_python: Path | str | None = None,
    data: str | None = None,
    json: bool = False,
) -> Bench:
    """Time networks on this machine's processor, engine beside engine and beside other packages.

    Each engine and each package computes in a process of its own, one at a time, in 6 to 15 rounds (3 where they take
    very long), in an order that is drawn anew for each: what disturbs one disturbs all. Before its first round each is
    warmed up by three calls, and before the timed calls of a turn one goes untimed, unless a call takes a second. A
    turn lasts 0.2 s, or one call. A row's time is the median over the rounds of the median of a turn; beside it stand
    the fastest call and a 95 % interval of the median by order statistics. Ours goes from bytes to probabilities,
    peers from values to logits or probabilities. A model takes up to ten minutes with peers.

    For example:

        inceptory bench inception_v3

        inceptory bench runs/photos --data photos/ --batch 1,8

        inceptory bench inception_v3 xception --peers --json > rows.json

    Parameters
    ----------
    models
        Checkpoints, run folders, weight files, published names, folders of `export`; or names of architectures
        (`inceptory models`), which get fresh weights, the same each time.
    engines
        Of torch, onnxruntime and openvino, with commas between them; all that are installed.
    precisions
        Of fp32, bf16 and int8; all that this processor has. Scales of int8 come from `data`, or else from noise, which
        suits the clock and nothing else.
    batch
        Pictures at once, with commas between the numbers.
    image
        Side of the pictures in pixels; without it, each network's own.
    threads
        Threads of each engine, with commas between the numbers; without it, as many as there are cores.
    busy
        Time everything a second time beside a process that keeps one processor busy. Its rows follow, in the same
        order.
    peers
        Also time timm and torchvision (PyTorch as it is, fp32), Keras (`predict` on TensorFlow) and plain OpenVINO on
        the peer's own ONNX graph, in the same precisions, where they are installed and have the network.
    peers_python
        The Python that has the peers, if another; $INCEPTORY_KERAS_PYTHON without it.
    data
        Labelled pictures, as for `train`: 256 of them say on what share the first label is that in fp32, and others,
        where there are any, are what int8 is calibrated by.
    json
        Print a list of records on standard output, and the table on standard error.
    """
    if not models:
        raise UsageError("bench needs a model (give one or more, such as inception_v3)")
    from inceptory.engines import machine
    from inceptory.run.timing.entrants import chosen
    from inceptory.run.timing.models import checked

    cores = machine.cores()
    _check_range("--batch", batch, LARGEST_BATCH)
    _check_range("--threads", threads, cores)
    benched = [checked(str(model), image) for model in models]
    ways = chosen(engines, precisions, benched)
    for each in benched if threads else ():
        if each.exported is not None:
            raise ConfigError(f"--threads: {each.path}, an exported folder, takes all cores (leave it out)")
    python = str(peers_python or os.environ.get("INCEPTORY_KERAS_PYTHON") or sys.executable)
    if machine.busy():
        _say("others keep this machine busy: these are times of a shared machine")
    rows = list[Any]()
    for model in benched:
        pixels = None if data is None else _pixels(model, data)
        for count in dict.fromkeys(threads or (cores,)):
            rows += _rows(model, list(dict.fromkeys(batch)), count, ways, python if peers else None, pixels, busy)
    result = Bench(tuple(rows), _notes(), json)
    if json:
        print(printable_table(result.table()), file=sys.stderr)
    return result


def printable_table(text: str) -> str:
    """Lines without what a terminal would obey."""
    return "\n".join(map(printable, text.splitlines()))


def _check_range(flag: str, values: Sequence[int], most: int) -> None:
    for value in values:
        if not 1 <= value <= most:
            raise UsageError(f"{flag} {value}: out of range (1 to {most:,})")


def _rows(
    model: Benched,
    batches: Sequence[int],
    threads: int,
    ways: dict[str, list[str]],
    python: str | None,
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None,
    busy: bool,
) -> list[Row]:
    """Everything of one model with so many threads."""
    import numpy as np

    from inceptory.run.timing import entrants
    from inceptory.run.timing.models import drawn

    begun = now()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inceptory-bench-")))
        model = drawn(model, folder)
        if model.exported is not None:
            ways = {model.exported.computes: [model.exported.export.precision]}
        calibration, proof = pixels or (_noise(model), None)
        np.save(folder / "calibration.npy", calibration, allow_pickle=False)
        entry = entrants.Entry(model, folder, batches, threads, ways, python or "", _say)
        _say(f"{model.name}: {'fresh weights' if model.fresh else 'its own weights'}; making and warming up")
        contestants = entrants.ours(entry, stack, proof)
        if not contestants:
            raise DataError(f"{model.name}: no engine computes it (what each said is above)")
        if python is not None:
            contestants += entrants.peers(entry, stack)
        return _timed(entry, contestants, busy, max(min(SECONDS, ALL - (now() - begun)), BRIEF))


def _timed(entry: Entry, contestants: list[Any], busy: bool, seconds: float) -> list[Row]:
    """The rounds, and those beside a busy process, in so many seconds."""
    from inceptory.run.timing.rounds import in_rounds
    from inceptory.run.timing.talk import busy_process
    from inceptory.system.progress import meter

    rows = list[Row]()
    for beside in (False, True) if busy else (False,):
        title = f"timing {entry.model.name}{' beside a busy process' * beside}"
        with ExitStack() as stack:
            if beside:
                stack.enter_context(busy_process())
                contestants = [each.renewed() for each in contestants]
            bar = stack.enter_context(meter(title, None))
            contestants = in_rounds(contestants, seconds / (1 + busy), bar.say, lambda: bar.tick(""))  # noqa: B023
        rows += [Row.of(entry.model.name, entry.model.preprocess.size, each, beside) for each in contestants]
    return rows


def _noise(model: Benched) -> NDArray[np.uint8]:
    """Pixels to calibrate by where there are no pictures."""
    import numpy as np

    from inceptory.engines.choice import LEAST

    size, channels = model.preprocess.size, len(model.preprocess.mean)
    return np.random.default_rng(0).integers(0, 256, (LEAST, channels, size, size), dtype=np.uint8)


def _pixels(model: Benched, data: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(pixels to calibrate by, other pixels to prove by), each (N, C, H, W)."""
    from inceptory.data.feed.decoding import sample
    from inceptory.data.sources.given import source_of
    from inceptory.engines.choice import SAMPLE
    from inceptory.run.evaluate import measured
    from inceptory.run.timing.models import card_of

    source, part, _ = measured(source_of(data), card_of(model), None)
    split = source.split(part)
    if part != "train" and "train" in source.splits:
        train = source.split("train")
        return (
            sample(train.pictures, train.names, model.preprocess, SAMPLE),
            sample(split.pictures, split.names, model.preprocess, SAMPLE),
        )
    pixels = sample(split.pictures, split.names, model.preprocess, 2 * SAMPLE)
    return pixels[::2], pixels[1::2]


def _notes() -> tuple[str, ...]:
    """The processor, and the versions of what computed."""
    from inceptory.engines import machine

    name, _, flags = machine.processor().partition("; ")
    words = set(flags.split())
    has = ", ".join(title for word, title in FEATURES.items() if word in words) or "nothing for fewer bits"
    versions = ", ".join(f"{package} {_version(package)}" for package in ("inceptory", *machine.installed()))
    return f"{name}, {machine.cores()} cores, with {has}; {versions}", "each row: median (95 % interval; fastest call)"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)
