"""A run of seconds, in this process or in one that can be killed."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from inceptory import Recipe, Variant, train
from inceptory.errors import InceptoryError

MODEL = "cifar_inception_v2"
TINY = Variant(width=0.25)
STEPS = 10
"""Of the recipe below on the 66 training pictures of `colours`: five an epoch, the last one smaller."""


def recipe(**changed: Any) -> Recipe:
    """Two epochs in which everything that draws random numbers takes part."""
    return Recipe(**{"epochs": 2, "batch": 16, "precision": "fp32", "crop": 0.5, "mixup": 0.2, **changed})


def start(data: Path, out: Path, workers: int | None = None, **changed: Any) -> None:
    """A fresh run that saves its state after every step."""
    train(
        str(data),
        model=MODEL,
        out=out,
        variant=TINY,
        recipe=recipe(**changed),
        checkpoint_every="1steps",
        tensorboard=False,
        workers=workers,
    )


def child(data: Path, out: Path, changed: dict[str, Any]) -> int:
    """Start a run or go on with it; its exit code."""
    import torch

    torch.set_num_threads(1)
    try:
        if (out / "run.json").exists():
            train(resume=out)
        else:
            start(data, out, **changed)
    except InceptoryError as fault:
        print(fault.line(), flush=True)
        return fault.exit_code
    return 0


def _main(data: Path, out: Path, changed: dict[str, Any]) -> None:
    raise SystemExit(child(data, out, changed))


def process(data: Path, out: Path, **changed: Any) -> multiprocessing.process.BaseProcess:
    """`child` in a process of its own, begun."""
    return begun(_main, data, out, changed)


def begun(target: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    """A process that has the package imported from its start, where the system can fork."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["inceptory.learn.fit", "inceptory.learn.verbs"])
    made = context.Process(target=target, args=arguments)
    made.start()
    return made


class _Stop:
    """A stop that is asked for when it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0


def stopping(looks: int) -> Callable[[], AbstractContextManager[_Stop]]:
    """In place of `fit.watched`: a run that is stopped in its first steps, without a signal."""
    return lambda: nullcontext(_Stop(looks))


def digests(folder: Path) -> dict[str, str]:
    """What a run leaves that must not depend on how often it was stopped."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("last.safetensors", "model.safetensors")
    }
