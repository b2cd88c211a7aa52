"""A run from its folder to its results: prepare, train or go on, measure, report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptory.data.feed.batches import Progress, bytes_of
from inceptory.data.feed.feed import Feed, feed, refuse_corrupt, room_for, statistics
from inceptory.data.picture.crops import Crops
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Source
from inceptory.engines.device import Device, choose
from inceptory.engines.torch import TorchEngine
from inceptory.errors import ConfigError, DataError, InterruptedRun, printable
from inceptory.learn import state
from inceptory.learn.compiled import compiled
from inceptory.learn.loop import Loop, facts
from inceptory.learn.pictures import CIFAR10_MEAN, CIFAR10_STD
from inceptory.learn.rates import HIGHEST, LOWEST, STEPS, Search, tried
from inceptory.learn.reasons import Kept, Time, explained, looked_over, plane_of
from inceptory.learn.settings.folder import cleared_on_failure, remove_states, tidy
from inceptory.learn.settings.job import Job
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.state import State
from inceptory.learn.step import Stepper
from inceptory.learn.update.whitening import whiten
from inceptory.measure.evaluate import Scored, logits_of
from inceptory.measure.results import Run
from inceptory.measure.tasks import task_of
from inceptory.measure.vectors import NOTHING, Gallery, Insight, Plane
from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Network, create
from inceptory.report import folder as report
from inceptory.system import clock
from inceptory.system.lock import locked
from inceptory.system.machine import keeping_memory
from inceptory.system.progress import Meter, meter
from inceptory.system.ranks import Ranks, joined
from inceptory.system.signals import Stop, watched
from inceptory.weights.card import Card
from inceptory.weights.model import load
from inceptory.weights.store import save, versions


@dataclass(frozen=True)
class Start:
    """A network to train further, in place, and how its pictures are prepared."""

    net: Network
    """With a head for the classes of the data."""
    preprocess: Preprocess
    best: bool = True
    """Whether the best epoch is kept in model.safetensors; otherwise that file is left alone, and last.safetensors is
    all that comes of the training."""


def fit(job: Job, source: Source, folder: Path, began: float, resumed: bool, start: Start | None = None) -> Run:
    """Train the network of a job and write its results into the folder; `resumed` continues the run in it.

    `began` is the moment at which the command started (`clock.began`): a time such as 1h counts from there. `start`
    takes the place of fresh weights, and of the mean and deviation of the training pictures; a run that is resumed
    needs the same again.
    """
    with cleared_on_failure(folder, resumed):
        device = choose(job.recipe.device, job.recipe.precision)
        with joined(device.name) as ranks, watched() as stop, locked(folder) if ranks.first else nullcontext():
            if ranks.first:
                tidy(folder)
            with ready(job, source, device, ranks, stop, folder, began, start) as loop:
                train(loop, stop, resumed)
                return _finished(loop, stop)


def train(loop: Loop, stop: Stop, resumed: bool) -> None:
    """Train all epochs that are left, from the start or from the newest state of the folder."""
    if resumed:
        _go_on(loop)
    loop.run(stop)


def find_rate(job: Job, source: Source, folder: Path, start: Start | None = None) -> Search:
    """Try learning rates on the network of a job; only the results of this search are left in the folder.

    `start` as for `fit`; its network is of no use afterwards.
    """
    # Only the loss of each step counts: averaged weights would never be used, and no time limits the search.
    job = replace(job, recipe=replace(job.recipe, average=0.0, time=None))
    device = choose(job.recipe.device, job.recipe.precision)
    with joined(device.name) as ranks, watched() as stop:
        with (
            ready(job, source, device, ranks, stop, folder, clock.now(), start) as loop,
            meter("trying rates", STEPS, shown=ranks.first) as bar,
        ):
            bar.say(f"trying learning rates on {job.model}, {device}: {STEPS} from {LOWEST:g} to {HIGHEST:g}")
            search = Search.of(_ticking(loop.objectives(tried(), stop), bar))
        if ranks.first:
            search.write(folder, f"{job.model} on {source.name}, {job.recipe.optimizer}")
        return search


def _ticking(objectives: Iterator[tuple[float, float]], bar: Meter) -> Iterator[tuple[float, float]]:
    """The same (rate, objective) pairs, each of them shown on the bar."""
    for rate, objective in objectives:
        bar.tick(f"rate {rate:.1e} objective {objective:.3f}")
        yield rate, objective


@contextmanager
def ready(
    job: Job,
    source: Source,
    device: Device,
    ranks: Ranks,
    stop: Stop,
    folder: Path,
    began: float,
    start: Start | None,
) -> Iterator[Loop]:
    """The loop of a job at its start, with its feeds open."""
    plan = job.plan(len(source.classes)) if start is None else start.net.plan
    feeds, preprocess = _feeds(job, plan, source, stop, ranks.first, None if start is None else start.preprocess)
    torch.manual_seed(job.recipe.seed)
    net = create(plan) if start is None else start.net.float()
    with ExitStack() as stack:
        for each in feeds.values():
            stack.callback(each.close)
        stack.enter_context(keeping_memory())
        if job.recipe.whitening and start is None:
            whiten(net, feeds["train"], preprocess)
        loop = _loop(job, net, source, feeds, preprocess, device, ranks, folder, began, start is None or start.best)
        stack.callback(loop.stepper.leave)
        yield loop


def _feeds(
    job: Job, plan: Plan, source: Source, stop: Stop, speaks: bool, preprocess: Preprocess | None = None
) -> tuple[dict[str, Feed], Preprocess]:
    """A feed for every split, and the preprocessing: where none is given, by the training pictures' own statistics."""
    raw = preprocess or _blank(plan)
    crops = {"train": Crops(job.recipe.crop)} if job.recipe.crop else {}
    needs = {name: bytes_of(split, raw, crops.get(name)) for name, split in source.splits.items()}
    again = f"go on with {job.within}" if job.within else "start again, or go on with --resume"
    memory = room_for(list(needs.values()))
    feeds = {}
    for name, split in source.splits.items():
        with meter(f"decoding {name}", len(split), shown=speaks) as bar:
            options: dict[str, Any] = {"crops": crops.get(name), "workers": job.workers, "memory": memory}
            options |= {"need": needs[name], "batch": job.recipe.batch if name == "train" else None}
            feeds[name] = feed(split, source.classes, raw, **options, progress=_stoppable(bar, stop, again))
            bar.say_skipped(feeds[name].skipped, len(feeds[name]))
            for note in feeds[name].notes:
                bar.say(note)
    refuse_corrupt(list(feeds.values()), source.classes)
    if preprocess is not None:
        return feeds, preprocess
    mean, std = _statistics(job.recipe, feeds["train"], plan.in_channels)
    return feeds, replace(raw, mean=mean, std=std)


def _blank(plan: Plan) -> Preprocess:
    channels = plan.in_channels
    order: dict[str, Any] = {"order": "L"} if channels == 1 else {}
    return Preprocess(size=plan.image, resize=plan.image, mean=(0.0,) * channels, std=(1.0,) * channels, **order)


def _stoppable(bar: Meter, stop: Stop, again: str) -> Progress:
    """A callback that moves the bar, and after a signal raises InterruptedRun with what to do then."""

    def look(done: int, total: int) -> None:
        if stop.asked:
            raise InterruptedRun(f"stopped before the first step ({again})")
        bar(done, total)

    return look


def _statistics(recipe: Recipe, train: Feed, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if recipe.statistics == "own":
        return statistics(train)
    if channels != len(CIFAR10_MEAN):
        raise ConfigError("--statistics cifar10: has three channels (leave --in-channels out, or take own)")
    return tuple(m / 255 for m in CIFAR10_MEAN), tuple(s / 255 for s in CIFAR10_STD)


def _loop(
    job: Job,
    net: Network,
    source: Source,
    feeds: dict[str, Feed],
    preprocess: Preprocess,
    device: Device,
    ranks: Ranks,
    folder: Path,
    began: float,
    keeps_best: bool,
) -> Loop:
    """The loop before its first step, with everything in its place."""
    plan = net.plan
    net = net.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    task, labels = task_of(source.multi_label), feeds["train"].labels
    weights = task.criterion().class_weights(labels, plan.classes).to(device.name) if job.recipe.class_weights else None
    heads = compiled(net, -(-job.recipe.batch // ranks.world)) if job.recipe.compile else None
    stepper = Stepper(net, job.recipe, device, ranks, weights, heads, task)
    card = _card(job, plan, source, preprocess, device)
    return Loop(stepper, feeds, preprocess, job, card, folder, began, keeps_best)


def _card(job: Job, plan: Plan, source: Source, preprocess: Preprocess, device: Device) -> Card:
    begun = {} if job.backbone is None else {"from": job.backbone.path}
    return Card.of(
        plan,
        labels=source.classes,
        multi_label=source.multi_label,
        preprocess=preprocess,
        recipe={**begun, **job.recipe.to_json(), "computed_on": str(device)},
        data={"name": source.name, "splits": source.sizes, "fingerprint": job.fingerprint},
        versions=versions(),
    )


def _go_on(loop: Loop) -> None:
    """Load the newest state of the folder, and say at which step the run goes on."""
    newest, notes = state.newest(loop.folder, loop.stepper.task)
    if newest is not None:
        _check_place(loop, newest)
        try:
            loop.load(newest)
        except state.DAMAGED as fault:
            problem = f"its newest state does not fit this run, {fault}"
            raise DataError(f"{loop.folder}: {problem} (restore the folder from a copy, or start a new run)") from None
    if loop.ranks.first:
        for note in notes:
            print(printable(note), file=sys.stderr)
        print(f"resumed at {loop.place()}", file=sys.stderr)


def _check_place(loop: Loop, saved: State) -> None:
    """Refuse another device or precision; warn about changes after which the weights will differ slightly."""
    now = facts(loop)
    then = {name: saved.facts.get(name, "not known") for name in now}
    if now["computed_on"] != then["computed_on"]:
        change = f"was computed on {then['computed_on']}, here it would be {now['computed_on']}"
        raise ConfigError(f"{loop.folder}: {change} (go on where it began, or start a new run)")
    changes = [f"{name} {then[name]}, now {now[name]}" for name in now if now[name] != then[name]]
    if changes and loop.ranks.first:
        print(f"not bit for bit the run without a break: {'; '.join(changes)}", file=sys.stderr)


def _finished(loop: Loop, stop: Stop) -> Run:
    """Measure the best checkpoint, explain it, write metrics and report, and remove the states."""
    folder, ranks = loop.folder, loop.ranks
    ranks.wait()
    best = load(folder / "model.safetensors")
    best = best.to(loop.device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    split = "test" if loop.validation.final is not loop.validation.pictures else "validation"
    # In full precision, whatever the training used, so that `evaluate` gives the same numbers.
    engine = TorchEngine(best, loop.preprocess, Device(loop.device.name))
    final, measured = loop.validation.final, loop.validation.final_rows
    kept = Kept.of(engine, measured, loop.recipe.seed)
    logits, rows = logits_of(engine, final, ranks=ranks, rows=measured, answer=kept.logits)
    test = Scored.of(loop.stepper.task, logits, rows, final)
    loop.card = replace(loop.card, calibration=loop.validation.calibration(engine))
    if ranks.first and loop.card.calibration:
        save(best, folder / "model.safetensors", replace(best.card, calibration=loop.card.calibration))
    insight = _explained(loop, engine, test, rows, kept, stop)
    minutes = loop.used() / 60
    if ranks.first:
        metrics = report.write_run(
            folder,
            card=loop.card,
            plan=loop.stepper.net.plan,
            epochs=loop.position.history,
            test=test,
            split=split,
            minutes=minutes,
            ending=loop.ending(),
            command=loop.job.command,
            insight=insight,
        )
        loop.job.done(folder)
        remove_states(folder)
    else:
        metrics = test.metrics()
    return Run(folder, metrics, split, loop.position.history, minutes)


def _explained(loop: Loop, engine: TorchEngine, test: Scored, rows: Tensor, kept: Kept, stop: Stop) -> Insight:
    """What the mistakes in `test`, the answers to these rows of the feed, rest on; the first process finds it out."""
    vectors, chosen = kept.all(loop.ranks)
    if not loop.ranks.first:
        return NOTHING
    time, places = Time.of(loop.used(), loop.left(), lambda: stop.asked), np.searchsorted(rows.numpy(), chosen)

    def plane() -> Plane | None:
        return plane_of(test, vectors, places)

    def near() -> Gallery:
        return looked_over(engine, loop.train, loop.recipe.seed, time)

    return explained(engine, test, loop.card.labels, plane, near, time)
