"""The network trained further once its head is fitted: kept where it is better than the head alone by more than noise.

Three parts of the pictures have a part each: one is learnt from, one chooses the epoch and compares, one calibrates.
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
from inceptory.learn.fit import Start, trained
from inceptory.learn.settings.job import Job
from inceptory.learn.transfer.fitted import Fitted, head_of, held_out_once, with_head
from inceptory.learn.transfer.seen import Seen
from inceptory.measure.calibration import Calibration
from inceptory.measure.evaluate import Scored
from inceptory.measure.gain import Gain
from inceptory.measure.results import Ending, Epoch, Metrics, best_epoch
from inceptory.measure.tasks import Task, task_of
from inceptory.nets.network import Network
from inceptory.system.ranks import Ranks
from inceptory.system.signals import Stop
from inceptory.weights.model import Model, open_model


@dataclass(frozen=True)
class Better:
    """A network that is better than its head alone was."""

    net: Network
    validation: Scored
    test: Scored | None
    calibration: dict[str, Any]


@dataclass(frozen=True)
class Tuned:
    """A fine-tuning that is over."""

    epochs: tuple[Epoch, ...]
    ending: Ending
    recipe: dict[str, Any]
    verdict: dict[str, Any]
    """What it gained, and whether it is kept, in plain values with a sentence ("told")."""
    better: Better | None
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

    `model.safetensors` in the folder, which holds the head alone, is replaced as soon as an epoch is better on
    validation; whether by enough is said at the end.
    """
    parts, head = held_out_once(seen, fitted, job)
    rows = {"train": parts.fit, "validation": parts.choose, "calibration": parts.calibrate}
    splits = {name: seen.taken(some) for name, some in rows.items() if len(some)}
    if test is not None:
        splits["test"] = test.taken(np.arange(len(test)))
    source, task = replace(seen.source, splits=splits), task_of(seen.source.multi_label)
    answers = head(seen.vectors[parts.choose, 0])
    before = task.right(answers, seen.labels[parts.choose])
    rank = _rank(task.measure(answers, seen.labels[parts.choose]))
    start = Start(with_head(model.network(), head, job.variant.image), seen.extractor.preprocess, rank)
    recipe, device = job.recipe, choose(job.recipe.device, job.recipe.precision)
    with trained(job, source, device, Ranks(), stop, folder, began, start, resumed) as loop:
        epochs, ending = tuple(loop.position.history), loop.ending()
    best = best_epoch(epochs)
    if best.rank <= rank:
        shares = (
            f"{100 * best.right[1]:.1f} % against {100 * before.mean():.1f} % of {len(before):,} validation pictures"
        )
        told = f"no epoch of the fine-tuning was better than the head ({shares}): kept the head alone"
        verdict: dict[str, Any] = {"kept": False, "before": float(before.mean()), "after": best.right[1]}
        better = None
    else:
        settings = Settings(seed=recipe.seed, device=recipe.device, precision=recipe.precision, cache=False)
        better, after = _measured(folder, source, task, settings, _stopping(stop, job, folder))
        gain = Gain.of(before, after, len(epochs))
        verdict, told = gain.to_json(), str(gain)
        better = better if gain.is_real else None
    print(told, file=sys.stderr)
    return Tuned(epochs, ending, recipe.to_json(), {**verdict, "told": told}, better)


def _rank(metrics: Metrics) -> tuple[float, float]:
    """That of an epoch with these metrics."""
    columns = ("lr", "train_objective", "train_log_loss", "seconds", "images_per_second")
    return metrics.epoch(0.0, epoch=0, **dict.fromkeys(columns, 0.0)).rank


def _measured(
    folder: Path, source: Source, task: Task, settings: Settings, look: Callable[[], None]
) -> tuple[Better, Any]:
    """The network that the folder holds, measured as a backbone is looked through; and (N,) which of the validation
    pictures it answers rightly."""
    with open_model(folder / "model.safetensors") as model, Extractor(model, settings) as extractor:
        net = model.network()
        head, scored = head_of(net), dict[str, Scored]()
        for name in source.splits.keys() - {"train"}:
            seen = Seen.of(extractor, source, [name], 1, look)
            scored[name] = seen.scored(task, head(seen.vectors[:, 0]), np.arange(len(seen)))
        validation, held = scored["validation"], scored.get("calibration")
        calibration = {} if held is None else Calibration.of(held.logits, held.labels, "held-out").to_json()
        better = Better(net, validation, scored.get("test"), calibration)
        return better, task.right(validation.logits, validation.labels)


def _stopping(stop: Stop, job: Job, folder: Path) -> Callable[[], None]:
    def look() -> None:
        if stop.asked:
            told = f"{folder}: stopped while the network was measured, its training is saved"
            raise InterruptedRun(f"{told} (go on with {job.going_on(folder)})")

    return look
