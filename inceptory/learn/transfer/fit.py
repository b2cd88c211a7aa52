"""`train --from`: from an open backbone and pictures to a finished run whose network has a new head."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inceptory.data.sources.labels import Labels
from inceptory.data.sources.source import Source
from inceptory.errors import ConfigError, InterruptedRun
from inceptory.features.extract import Extractor, Settings
from inceptory.learn import state
from inceptory.learn.events import Events
from inceptory.learn.fit import cleared_on_failure
from inceptory.learn.settings.job import Job
from inceptory.learn.transfer.choice import chosen, require_varied
from inceptory.learn.transfer.head import ARRIVED, STRENGTHS, Fitter, Linear
from inceptory.learn.transfer.mistakes import head_explained
from inceptory.learn.transfer.parts import parted, require_every_class
from inceptory.learn.transfer.seen import Seen
from inceptory.measure.calibration import Calibration
from inceptory.measure.results import Ending, Epoch, Metrics, Run
from inceptory.measure.tasks import Task, task_of
from inceptory.nets.catalogue import plan
from inceptory.nets.network import Network
from inceptory.report import folder as report
from inceptory.system import clock
from inceptory.system.lock import locked
from inceptory.system.signals import Stop, watched
from inceptory.weights.card import Card
from inceptory.weights.model import open_model
from inceptory.weights.store import save, versions

TURNS = "cross-validation"
"""In place of a split's name, where parts of the pictures took turns."""


@dataclass(frozen=True)
class Answers:
    """Logits (n, K) of the pictures of some rows."""

    logits: NDArray[np.float64]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Fitted:
    """A head, and answers that show how good it is."""

    head: Linear
    strength: float
    tried: tuple[tuple[float, float], ...]
    """(strength, mean log-loss on pictures held back) of every one."""
    objective: float
    """What the fit made small."""
    training: Answers
    """Of the pictures that it was fitted on."""
    held: Answers
    """Of those that chose its strength; where parts take turns, of all by heads that had not seen them."""
    calibration: Answers
    """Of pictures that had no part in the choice."""
    parts: NDArray[np.int64]
    """(m,) the turn in which each picture of `held` was answered; empty where one part was held out."""
    seconds: float

    def shares(self, task: Task, labels: Labels) -> list[float]:
        """Shares of the pictures that were answered rightly in each turn; `labels` are those of `held`."""
        turns = [self.parts == number for number in np.unique(self.parts)]
        return [right_of(task, task.measure(self.held.logits[turn], labels[turn])) for turn in turns]


def transfer(job: Job, source: Source, folder: Path, began: float, resumed: bool) -> Run:
    """Fit a new head on the features of a job's backbone and leave its run in the folder, or go on with it.

    `began` is the moment from which the minutes count. Raises ConfigError where the backbone has changed.
    """
    assert job.backbone is not None, "this job has a backbone"
    recipe = job.recipe
    settings = Settings(image=job.variant.image, seed=recipe.seed, device=recipe.device, precision=recipe.precision)
    with cleared_on_failure(folder, resumed), watched() as stop, locked(folder), ExitStack() as stack:
        state.tidy(folder)
        model = stack.enter_context(open_model(job.backbone.path))
        if model.weights.digest("sha256") != job.backbone.digest:
            raise ConfigError(f"{folder}: {model.path} is no longer the file that this run began from (restore it)")
        extractor = stack.enter_context(Extractor(model, settings))
        views, look = job.transfer.views, _stopping(stop, job, folder)
        seen = Seen.of(extractor, source, ["train", "validation"], views, look)
        seen.warn()
        test = Seen.of(extractor, source, ["test"], 1, look) if "test" in source.splits else None
        fitted = fit_head(seen, job)
        net = with_head(model.network(), fitted.head, job.variant.image)
        return _finished(job, folder, began, seen, test, fitted, net)


def _stopping(stop: Stop, job: Job, folder: Path) -> Any:
    def look() -> None:
        if stop.asked:
            told = f"{folder}: stopped while features were computed, those that are done are kept"
            raise InterruptedRun(f"{told} (go on with {job.going_on(folder)})")

    return look


def fit_head(seen: Seen, job: Job) -> Fitted:
    """The head, its strength chosen by pictures that are held out, or by parts that take turns."""
    start, vectors, labels = clock.now(), seen.vectors, seen.labels
    require_varied(vectors, seen.extractor.model.path)
    parts = parted(labels, seen.count("train"), job.recipe.seed)
    require_every_class(seen.source, labels[parts.fit])
    balanced, asked = job.recipe.class_weights, job.transfer.strength
    choice = chosen(vectors, labels, parts, job.recipe.seed, balanced, STRENGTHS if asked is None else (asked,))
    strength = choice.strength
    fitter = Fitter(vectors[parts.fit], labels[parts.fit], balanced)
    head = fitter.fit(strength, ARRIVED * strength)
    training = Answers(head(vectors[parts.fit, 0]), parts.fit)
    turns = np.empty(0, dtype=np.int64)
    if choice.folded is not None:
        rows = np.flatnonzero(choice.folded.part >= 0)
        turns = choice.folded.part[rows]
        held = calibration = Answers(choice.folded.logits[rows], rows)
    else:
        held = Answers(head(vectors[parts.choose, 0]), parts.choose)
        calibration = Answers(head(vectors[parts.calibrate, 0]), parts.calibrate)
    loss = task_of(labels.ndim == 2).measure(training.logits, labels[parts.fit]).log_loss
    objective = loss + strength / 2 * fitter.square(head)
    seconds = clock.now() - start
    return Fitted(head, strength, choice.tried, objective, training, held, calibration, turns, seconds)


def with_head(net: Network, head: Linear, image: int | None = None) -> Network:
    """The network with a new head and without auxiliary ones, in eval mode; `image` is the size of its pictures."""
    net.reset_classifier(0)  # takes the auxiliary heads away, too
    net.reset_classifier(len(head.bias))
    if image is not None:
        net.plan = plan(net.plan.architecture, dialect=net.plan.dialect, **{**net.plan.options(), "image": image})
    assert net.head.classifier is not None, "it was just put in"
    # Two linear layers with nothing in between, as cifar_inception_v1 has them, are one: the others hand it on.
    first, *rest = (part for part in net.head.classifier.modules() if isinstance(part, nn.Linear))
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(head.weight))
        first.bias.copy_(torch.from_numpy(head.bias))
        for layer in rest:
            layer.weight.copy_(torch.eye(len(head.bias)))
            layer.bias.zero_()
    return net.float().eval()


def _finished(job: Job, folder: Path, began: float, seen: Seen, test: Seen | None, fitted: Fitted, net: Network) -> Run:
    """Write the checkpoint and all that there is to tell of it."""
    task = task_of(seen.source.multi_label)
    training, held = (seen.scored(task, each.logits, each.rows) for each in (fitted.training, fitted.held))
    shares = fitted.shares(task, held.labels)
    if shares:
        print(f"{len(shares)} parts in turn: {_percent(shares)} answered rightly", file=sys.stderr)
    row = _row(task, seen, fitted, training.metrics(), held.metrics())
    card = _card(job, seen, fitted, net, held.metrics(), shares)
    for name in ("model.safetensors", "last.safetensors"):
        save(net, folder / name, card)
    report.write_history(folder, [row.to_json()])
    events = Events(folder, 1, job.tensorboard)
    events.epoch(1, row)
    events.close()
    split, measured, rows = TURNS if shares else "validation", seen, fitted.held.rows
    if test is not None:
        split, measured, rows = "test", test, np.arange(len(test))
        held = test.scored(task, fitted.head(test.vectors[:, 0]), rows)
    used = clock.now() - began
    insight = head_explained(seen, fitted.training.rows, measured, rows, held, net, job.recipe.seed, used)
    minutes = (clock.now() - began) / 60
    report.write_run(
        folder,
        card=card,
        plan=net.plan,
        epochs=[row],
        test=held,
        split=split,
        minutes=minutes,
        ending=Ending("head", 0, 1),
        command=job.command,
        insight=insight,
    )
    job.done(folder)
    return Run(folder, held.metrics(), split, [row], minutes)


def right_of(task: Task, metrics: Metrics) -> float:
    """The share of the pictures that were answered rightly."""
    return float(getattr(metrics, next(iter(task.shares))))


def _percent(shares: list[float]) -> str:
    """Mean and deviation over the parts, and their range: 93.1 +- 2.0 % (90.0 to 95.0 %)."""
    mean, deviation, low, high = (
        100 * float(each) for each in (np.mean(shares), np.std(shares), min(shares), max(shares))
    )
    return f"{mean:.1f} +- {deviation:.1f} % ({low:.1f} to {high:.1f} %)"


def _row(task: Task, seen: Seen, fitted: Fitted, training: Metrics, held: Metrics) -> Epoch:
    """The head as one row of history: its rate is none, and its objective what the fit made small."""
    return held.epoch(
        right_of(task, training),
        epoch=1,
        lr=0.0,
        train_objective=fitted.objective,
        train_log_loss=training.log_loss,
        seconds=seen.seconds + fitted.seconds,
        images_per_second=len(seen) / max(seen.seconds, 1e-9),
    )


def _card(job: Job, seen: Seen, fitted: Fitted, net: Network, held: Metrics, shares: list[float]) -> Card:
    assert job.backbone is not None
    source, extractor = seen.source, seen.extractor
    sizes = {name: len(split) for name, split in source.splits.items()}
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
        "computed_on": str(extractor.device),
    }
    return Card.of(
        net.plan,
        labels=source.classes,
        multi_label=source.multi_label,
        preprocess=extractor.preprocess,
        recipe=recipe,
        data={"name": source.name, "splits": sizes, "fingerprint": job.fingerprint},
        metrics={"epoch": 1, **held.to_json()},
        calibration=calibration_of(seen, fitted),
        versions=versions(),
    )


def calibration_of(seen: Seen, fitted: Fitted) -> dict[str, Any]:
    """What pictures that had no part in the choice say of the answers; nothing where there are none."""
    logits, rows = fitted.calibration.logits, fitted.calibration.rows
    if not len(rows):
        return {}
    return Calibration.of(logits, seen.labels[rows], "cross-fitted" if len(fitted.parts) else "held-out").to_json()
