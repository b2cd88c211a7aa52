"""`train --from`: from an open backbone and pictures to a finished run whose network has a new head.

Where another engine gives the features, the head is fitted and saved without torch, which takes longer to load than
that; what needs torch comes later, or where it is asked for.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.source import Source
from inceptory.errors import ConfigError, InterruptedRun
from inceptory.features.extract import Extractor, Settings
from inceptory.learn.events import Events
from inceptory.learn.rates import Search
from inceptory.learn.settings.folder import cleared_on_failure, remove_states, tidy
from inceptory.learn.settings.job import Job
from inceptory.learn.transfer.fitted import (
    Arrays,
    Fitted,
    fit_head,
    head_for,
    headed,
    held_out_once,
    keep_head,
    plan_with,
    right_of,
    with_fresh_head,
)
from inceptory.learn.transfer.seen import Seen
from inceptory.learn.transfer.unlike import novelty_of
from inceptory.measure.evaluate import Scored
from inceptory.measure.results import Ending, Epoch, Metrics, Run
from inceptory.measure.tasks import Task, task_of
from inceptory.nets.catalogue import Plan
from inceptory.report import folder as report
from inceptory.system import clock, files
from inceptory.system.lock import locked
from inceptory.system.signals import Stop, watched
from inceptory.weights.card import Card
from inceptory.weights.model import Model, open_model
from inceptory.weights.store import save_arrays, versions

if TYPE_CHECKING:
    from inceptory.learn.fit import Start
    from inceptory.learn.transfer.finetune import Tuned

TURNS = "cross-validation"
"""In place of a split's name, where parts of the pictures took turns."""


@dataclass(frozen=True)
class Result:
    """A network, and what there is to tell of it."""

    plan: Plan
    tensors: Arrays
    card: Card
    epochs: tuple[Epoch, ...]
    scored: Scored
    split: str
    """Whose pictures `scored` has."""
    ending: Ending
    training: tuple[Seen, NDArray[np.int64]]
    """What the network sees in pictures that it was fitted on (these rows), or in a sample of them."""
    measured: tuple[Seen, NDArray[np.int64]]
    """The same of those of `scored`."""


@dataclass(frozen=True)
class Begun:
    """A job, what its backbone sees in its pictures, and the head for it."""

    job: Job
    model: Model
    seen: Seen
    test: Seen | None
    fitted: Fitted

    @classmethod
    def of(cls, job: Job, source: Source, model: Model, stack: ExitStack, look: Callable[[], None]) -> Begun:
        """Compute vectors, as far as they are not known, and fit the head; `look` may raise between two batches."""
        recipe, views = job.recipe, job.transfer.views
        own = head_for(model, source) if job.transfer.keep_head else None
        settings = Settings(image=job.variant.image, seed=recipe.seed, device=recipe.device, precision=recipe.precision)
        extractor = stack.enter_context(Extractor(model, settings))
        seen = Seen.of(extractor, source, ["train", "validation"], views, look)
        seen.warn()
        test = Seen.of(extractor, source, ["test"], 1, look) if "test" in source.splits else None
        fitted = fit_head(seen, job) if own is None else keep_head(seen, own, recipe.seed)
        return cls(job, model, seen, test, fitted)

    def plan(self) -> Plan:
        """Of the network with the head."""
        return plan_with(self.model.plan, len(self.seen.source.classes), self.job.variant.image)


def transfer(job: Job, source: Source, folder: Path, began: float, resumed: bool) -> Run:
    """Fit a new head on the features of a job's backbone and leave its run in the folder, or go on with it.

    Where the job asks for it, the network is then trained further. `began` is the moment from which the minutes count.
    Raises ConfigError where the backbone has changed.
    """
    if job.transfer.fresh_head:
        from inceptory.learn.fit import fit

        return fit(job, source, folder, began, resumed, _fresh(job, folder, len(source.classes)))
    with cleared_on_failure(folder, resumed), watched() as stop, locked(folder), ExitStack() as stack:
        tidy(folder)
        model = stack.enter_context(_backbone(job, folder))
        begun = Begun.of(job, source, model, stack, _stopping(stop, job, folder, began))
        result = _head_alone(begun)
        _save(folder, result)
        if job.transfer.finetune:
            from inceptory.learn.transfer.finetune import finetuned

            tuned = finetuned(job, begun.seen, begun.test, begun.fitted, model, folder, began, resumed, stop)
            result = _after_tuning(result, tuned)
            _save(folder, result)
        else:
            with (
                files.pending(folder / "last.safetensors") as last,
                open(folder / "model.safetensors", "rb") as model_file,
            ):
                shutil.copyfileobj(model_file, last)
            events = Events(folder, 1, job.tensorboard)
            events.epoch(1, result.epochs[0])
            events.close()
        return _finished(job, folder, began, result)


def rates_of(job: Job, source: Source, folder: Path) -> Search:
    """Learning rates tried on a backbone with its head (`find_rate`), as its fine-tuning would start."""
    from inceptory.learn.fit import Start, find_rate
    from inceptory.weights.adopt import network_of

    if job.transfer.fresh_head:
        return find_rate(job, source, folder, _fresh(job, folder, len(source.classes)))
    with ExitStack() as stack:
        model = stack.enter_context(_backbone(job, folder))
        begun = Begun.of(job, source, model, stack, lambda: None)
        _, head = held_out_once(begun.seen, begun.fitted, job)
        net = network_of(begun.plan(), headed(begun.plan(), model.arrays(), head))
        return find_rate(job, source, folder, Start(net, begun.seen.extractor.preprocess))


def _backbone(job: Job, folder: Path) -> Model:
    """The open backbone of a job; raises ConfigError where it is another file than at the start."""
    assert job.backbone is not None, "this job has a backbone"
    model = open_model(job.backbone.path)
    if model.weights.digest("sha256") != job.backbone.digest:
        model.close()
        raise ConfigError(f"{folder}: {model.path} is no longer the file that this run began from (restore it)")
    return model


def _fresh(job: Job, folder: Path, classes: int) -> Start:
    """The backbone with a last layer of random weights."""
    import torch

    from inceptory.learn.fit import Start

    with _backbone(job, folder) as model, Extractor(model, Settings(image=job.variant.image, cache=False)) as extractor:
        torch.manual_seed(job.recipe.seed)
        return Start(with_fresh_head(model.network(), classes, job.variant.image), extractor.preprocess)


def _stopping(stop: Stop, job: Job, folder: Path, began: float) -> Callable[[], None]:
    length = None if job.recipe.time is None else clock.seconds(job.recipe.time, "--time")

    def look() -> None:
        late = length is not None and clock.now() - began > length
        if stop.asked or late:
            why = f"--time {job.recipe.time} is over" if late else "stopped"
            told = f"{folder}: {why} while features were computed, those that are done are kept"
            raise InterruptedRun(f"{told} (go on with {job.going_on(folder)})")

    return look


def _head_alone(begun: Begun) -> Result:
    """What comes of the head alone."""
    seen, test, fitted, plan = begun.seen, begun.test, begun.fitted, begun.plan()
    tensors = headed(plan, begun.model.arrays(), fitted.head)
    task = task_of(seen.source.multi_label)
    training, held = (seen.scored(task, each.logits, each.rows) for each in (fitted.training, fitted.held))
    shares = fitted.shares(task, held.labels)
    if shares:
        print(f"{len(shares)} parts in turn: {_percent(shares)} answered rightly", file=sys.stderr)
    row = _row(task, begun, training.metrics(), held.metrics())
    card = _card(begun, plan, row.epoch, held.metrics(), shares)
    split, measured = TURNS if shares else "validation", (seen, fitted.held.rows)
    if test is not None:
        split, measured = "test", (test, np.arange(len(test)))
        held = test.scored(task, fitted.head(test.vectors[:, 0]), measured[1])
    training_of = seen, fitted.training.rows
    return Result(plan, tensors, card, (row,), held, split, Ending("head", 0, 1), training_of, measured)


def _after_tuning(head: Result, tuned: Tuned) -> Result:
    """The better of both networks, with the epochs of the fine-tuning after the row of the head."""
    epochs = (*head.epochs, *tuned.epochs)
    recipe = {**head.card.recipe, "fine_tuning": tuned.verdict}
    if tuned.better is None:
        return replace(head, epochs=epochs, card=replace(head.card, recipe=recipe))
    better = tuned.better
    # No part took turns for this network.
    recipe |= {**tuned.recipe, "folds": 0, "right_by_fold": []}
    metrics = {"epoch": tuned.epochs[-1].epoch, **better.validation.metrics().to_json()}
    known, seen = better.calibration, (better.sample, np.arange(len(better.sample)))
    card = replace(head.card, recipe=recipe, metrics=metrics, calibration=known, novelty=better.novelty)
    split = "validation" if better.test is None else "test"
    measured = better.measured, np.arange(len(better.measured))
    scored = better.test or better.validation
    return Result(better.plan, better.tensors, card, epochs, scored, split, tuned.ending, seen, measured)


def _save(folder: Path, result: Result) -> None:
    save_arrays(result.plan, result.tensors, folder / "model.safetensors", result.card)
    report.write_history(folder, [row.to_json() for row in result.epochs])


def _finished(job: Job, folder: Path, began: float, result: Result) -> Run:
    """Write all that there is to tell of a network that is saved."""
    from inceptory.learn.transfer.mistakes import head_explained

    used, model = clock.now() - began, folder / "model.safetensors"
    insight = head_explained(*result.training, *result.measured, result.scored, model, job.recipe.seed, used)
    minutes = (clock.now() - began) / 60
    metrics = report.write_run(
        folder,
        card=result.card,
        plan=result.plan,
        epochs=result.epochs,
        test=result.scored,
        split=result.split,
        minutes=minutes,
        ending=result.ending,
        command=job.command,
        kept=next(row for row in result.epochs if row.epoch == result.card.metrics["epoch"]),
        insight=insight,
    )
    job.done(folder)
    remove_states(folder)
    return Run(folder, metrics, result.split, result.epochs, minutes)


def _percent(shares: list[float]) -> str:
    """Mean and deviation over the parts, and their range: 93.1 +- 2.0 % (90.0 to 95.0 %)."""
    mean, deviation, low, high = (
        100 * float(each) for each in (np.mean(shares), np.std(shares), min(shares), max(shares))
    )
    return f"{mean:.1f} +- {deviation:.1f} % ({low:.1f} to {high:.1f} %)"


def _row(task: Task, begun: Begun, training: Metrics, held: Metrics) -> Epoch:
    """The head as one row of history: its rate is none, and its objective what the fit made small."""
    seen, fitted = begun.seen, begun.fitted
    return held.epoch(
        right_of(task, training),
        epoch=0 if begun.job.transfer.finetune else 1,
        lr=0.0,
        train_objective=fitted.objective,
        train_log_loss=training.log_loss,
        seconds=seen.seconds + fitted.seconds,
        images_per_second=len(seen) / max(seen.seconds, 1e-9),
    )


def _card(begun: Begun, plan: Plan, epoch: int, held: Metrics, shares: list[float]) -> Card:
    job, seen, fitted = begun.job, begun.seen, begun.fitted
    assert job.backbone is not None, "this job has a backbone"
    source, extractor = seen.source, seen.extractor
    recipe = {
        "from": job.backbone.path,
        "strength": fitted.strength,
        "log_loss_by_strength": {f"{strength:g}": round(loss, 4) for strength, loss in fitted.tried},
        "views": job.transfer.views,
        "class_weights": job.recipe.class_weights,
        "validation": job.recipe.validation,
        "folds": len(shares),
        "right_by_fold": [round(share, 4) for share in shares],
        "seed": job.recipe.seed,
        "computed_on": extractor.arithmetic,
    }
    return Card.of(
        plan,
        labels=source.classes,
        multi_label=source.multi_label,
        preprocess=extractor.preprocess,
        recipe=recipe,
        data={"name": source.name, "splits": source.sizes, "fingerprint": job.fingerprint},
        metrics={"epoch": epoch, **held.to_json()},
        calibration=fitted.calibrated(seen.labels),
        novelty=novelty_of(seen.vectors[:, 0], fitted.training.rows, fitted.calibration.rows, fitted.parts),
        versions=versions(),
    )
