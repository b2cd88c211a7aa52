"""The network trained further once its head is fitted: kept where it is better than the head alone by more than noise.

One part of the pictures is learnt from, one compares both networks, one calibrates. The network of the last epoch is
compared, for if the best were chosen by the same pictures, its gain would be too good.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inceptory.data.sources.source import Source
from inceptory.engines.device import choose
from inceptory.errors import InterruptedRun
from inceptory.features.extract import Extractor, Settings
from inceptory.learn.fit import Start, ready, train
from inceptory.learn.settings.job import Job
from inceptory.learn.transfer.fitted import Arrays, Fitted, head_in, headed, held_out_once, plan_with
from inceptory.learn.transfer.seen import Seen
from inceptory.learn.transfer.unlike import novelty_of
from inceptory.measure.calibration import Calibration
from inceptory.measure.evaluate import Scored
from inceptory.measure.gain import Gain
from inceptory.measure.results import Ending, Epoch
from inceptory.measure.tasks import Task, task_of
from inceptory.measure.vectors import sampled
from inceptory.nets.catalogue import Plan
from inceptory.system.ranks import Ranks
from inceptory.system.signals import Stop
from inceptory.weights.adopt import network_of
from inceptory.weights.model import Model, open_model


@dataclass(frozen=True)
class Candidate:
    """A fine-tuned network."""

    plan: Plan
    tensors: Arrays
    validation: Scored
    test: Scored | None
    calibration: dict[str, Any]
    novelty: dict[str, Any]
    sample: Seen
    """What it sees in some of the pictures that it was trained on."""
    measured: Seen
    """The same of the test pictures, or else of those of validation."""


@dataclass(frozen=True)
class Tuned:
    """A fine-tuning that is over."""

    epochs: tuple[Epoch, ...]
    ending: Ending
    recipe: dict[str, Any]
    verdict: dict[str, Any]
    """What it gained, and whether it is kept, in plain values with a sentence ("told")."""
    better: Candidate | None
    """None where the head alone is kept."""


def finetuned(
    job: Job,
    seen: Seen,
    test: Seen | None,
    fitted: Fitted,
    model: Model,
    folder: Path,
    began: float,
    resumed: bool,
    stop: Stop,
) -> Tuned:
    """Train a network with a fitted head further, as the job's recipe says, or go on with that.

    `model.safetensors` in the folder is left alone, `last.safetensors` is what comes of it.
    """
    parts, head = held_out_once(seen, fitted, job)
    rows = {"train": parts.fit, "validation": parts.choose, "calibration": parts.calibrate}
    splits = {name: seen.taken(some) for name, some in rows.items() if len(some)}
    if test is not None:
        splits["test"] = test.taken(np.arange(len(test)))
    source, task = replace(seen.source, splits=splits), task_of(seen.source.multi_label)
    before = task.right(head(seen.vectors[parts.choose, 0]), seen.labels[parts.choose])
    plan = plan_with(model.plan, len(head.bias), job.variant.image)
    net = network_of(plan, headed(plan, model.arrays(), head))
    start = Start(net, seen.extractor.preprocess, best=False)
    recipe, device = job.recipe, choose(job.recipe.device, job.recipe.precision)
    with ready(job, source, device, Ranks(), stop, folder, began, start) as loop:
        train(loop, stop, resumed)
        epochs, ending = tuple(loop.position.history), loop.ending()
    settings = Settings(seed=recipe.seed, device=recipe.device, precision=recipe.precision, cache=False)
    better = _measured(folder, source, task, settings, _stopping(stop, job, folder))
    gain = Gain.of(before, task.right(better.validation.logits, better.validation.labels))
    print(gain, file=sys.stderr)
    verdict = {**gain.to_json(), "told": str(gain)}
    return Tuned(epochs, ending, recipe.to_json(), verdict, better if gain.is_real else None)


def _measured(folder: Path, source: Source, task: Task, settings: Settings, look: Callable[[], None]) -> Candidate:
    """The network of the last epoch, measured as a backbone is looked through."""
    with open_model(folder / "last.safetensors") as model, Extractor(model, settings) as extractor:
        tensors = model.arrays()
        head, seen, scored = head_in(model.plan, tensors), dict[str, Seen](), dict[str, Scored]()
        for name, split in source.splits.items():
            part = split.take(sampled(len(split), settings.seed)) if name == "train" else split
            some = replace(source, splits={name: part})
            seen[name] = Seen.of(extractor, some, [name], 1, look)
            scored[name] = seen[name].scored(task, head(seen[name].vectors[:, 0]), np.arange(len(seen[name])))
    held = scored.get("calibration")
    calibration = {} if held is None else Calibration.of(held.logits, held.labels, "held-out").to_json()
    # Validation pictures have compared two networks, which says nothing of how far from the training they are.
    apart = [seen[name] for name in ("validation", "calibration") if name in seen]
    vectors = np.concatenate([each.vectors[:, 0] for each in (seen["train"], *apart)])
    rows, count = np.arange(len(vectors)), len(seen["train"])
    novelty = novelty_of(vectors, rows[:count], rows[count:], rows[:0])
    answers = scored["validation"], scored.get("test"), calibration, novelty
    return Candidate(model.plan, tensors, *answers, seen["train"], seen.get("test", seen["validation"]))


def _stopping(stop: Stop, job: Job, folder: Path) -> Callable[[], None]:
    def look() -> None:
        if stop.asked:
            told = f"{folder}: stopped while the network was measured, its training is saved"
            raise InterruptedRun(f"{told} (go on with {job.going_on(folder)})")

    return look
