"""The training loop: all of it, in order, nothing hidden in callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from inceptory.data.batches import normalise
from inceptory.data.crops import DRAWS
from inceptory.data.feed import Batch, Feed
from inceptory.data.preprocess import Preprocess
from inceptory.errors import DataError, InterruptedRun
from inceptory.learn import norms, report, state
from inceptory.learn.evaluate import logits_of
from inceptory.learn.events import Events
from inceptory.learn.job import Every, Job
from inceptory.learn.pictures import prepared
from inceptory.learn.progress import Meter, duration, meter
from inceptory.learn.recipe import seconds
from inceptory.learn.results import AnyEpoch, AnyMetrics, best_epoch
from inceptory.learn.schedule import Budget, momentum, plateaus, rate
from inceptory.learn.signals import Stop
from inceptory.learn.state import Position, State, seeded
from inceptory.learn.step import Outcome, Part, Stepper
from inceptory.weights.card import Card
from inceptory.weights.store import save

ORDER, CHANCE, GLOBAL, CROPS = range(4)
"""Purposes of random numbers: the order of an epoch, augmentation, dropout, random crops."""
SUSPECT = 0.2
"""By how much training must be ahead of validation, as shares of right answers, for the norms to be looked at."""


class Loop:
    """One network on its way through the epochs."""

    def __init__(
        self, stepper: Stepper, feeds: dict[str, Feed], preprocess: Preprocess, job: Job, card: Card, folder: Path
    ) -> None:
        self.stepper, self.preprocess, self.job, self.card, self.folder = stepper, preprocess, job, card, folder
        self.recipe, self.ranks, self.device = job.recipe, stepper.ranks, stepper.device
        self.train, self.validation = feeds["train"], feeds["validation"]
        self.position = Position()
        self.per_epoch = -(-len(self._batches(torch.arange(len(self.train)))) // self.recipe.accumulate)
        """Steps in an epoch."""
        self.budget = None if self.recipe.time is None else Budget(seconds(self.recipe.time, "--time"))
        self.every = Every.of(job.checkpoint_every)
        self._saved = (0, time.monotonic())
        for norm in norms.norms_of(stepper.net):
            steps = None if self.budget else self.steps
            norm.momentum = norms.momentum(self.recipe.norm_momentum, norm.momentum, steps)

    @property
    def steps(self) -> int:
        """Steps in all: of the epochs asked for, or as many as the time allows, estimated anew each step."""
        if self.budget is not None:
            return self.budget.steps(self.position.step, self.used())
        return self.per_epoch * self.recipe.epochs

    def run(self, stop: Stop) -> list[AnyEpoch]:
        """Every epoch that is left. Raises InterruptedRun after a signal, all saved."""
        at = self.position
        self._started = time.monotonic() - at.used
        events = Events(self.folder, at.step, self.job.tensorboard and self.ranks.first)
        with meter("training", None if self.budget else self.steps, at.step, self.ranks.first) as bar:
            told = f"{self.per_epoch:,} steps an epoch"
            bar.say(f"training {self.card.architecture} on {self.device}: {told}")
            while not at.over:
                self._epoch(stop, bar, events)
        events.close()
        if at.step > self._saved[0]:
            self.save()  # what is left, measuring and reporting, may be cut off too
        return at.history

    def _epoch(self, stop: Stop, bar: Meter, events: Events) -> None:
        """What is left of an epoch's steps, then its validation."""
        at, number = self.position, len(self.position.history)
        for parts, batches in self._parts(number, at.step):
            if self.budget is not None and at.step >= self.steps > 0:
                break
            self._step(parts(), batches, bar, events)
            self._keep(stop)
        row, metrics = self._validated(number + 1, stop)
        at.history.append(row)
        at.seen, at.losses, at.right, at.training = 0, 0.0, 0.0, 0.0
        at.over = at.step >= self.steps or self._stands_still()
        if self.ranks.first:
            events.epoch(at.step, row)
            self._write_epoch(metrics)
            bar.say(f"{row}{self._left()}")
        self._warned(row, bar)

    def _step(self, parts: list[Part], batches: list[Batch], bar: Meter, events: Events) -> None:
        at, start = self.position, time.monotonic()
        torch.manual_seed(state.number(self.recipe.seed, GLOBAL, at.step, self.ranks.rank))
        drops = plateaus([row.rank for row in at.history], self.recipe.patience)
        steps = self.steps  # under --time another at each look
        at.rate = rate(self.recipe, at.step, steps, self.per_epoch, drops)
        found = self.stepper.step(at.step, at.rate, parts, momentum(self.recipe, at.step, steps))
        if not found.finite:
            raise DataError(self._not_finite(found, batches))
        at.step += 1
        at.seen, at.losses, at.right = at.seen + found.seen, at.losses + found.losses, at.right + found.right
        at.training += time.monotonic() - start
        _tell(bar, events, at, found)

    def _parts(self, number: int, first: int) -> Iterator[tuple[Callable[[], list[Part]], list[Batch]]]:
        """The steps of an epoch, counted from 0, from step `first` on: how to prepare each, and its batches."""
        generator = seeded(self.recipe.seed, ORDER, number)
        batches = self._batches(self.train.order(generator, self.recipe.balanced))
        done = (first - number * self.per_epoch) * self.recipe.accumulate
        feed = self.train.batches(map(self.ranks.part, batches[done:]), self._draws(number, batches, done))
        for step in range(first, (number + 1) * self.per_epoch):
            found = list(islice(feed, self.recipe.accumulate))
            yield self._preparing(step, number, found), found

    def _draws(self, number: int, batches: list[Tensor], done: int) -> Iterator[Tensor] | None:
        """What chooses the crops in the batches that are left, the same however many processes share a batch."""
        if not self.recipe.crop:
            return None

        def drawn(place: int) -> Tensor:
            chance = seeded(self.recipe.seed, CROPS, number, place)
            return torch.rand(len(batches[place]), DRAWS, generator=chance, dtype=torch.float64)

        return (self.ranks.part(drawn(place)) for place in range(done, len(batches)))

    def _preparing(self, step: int, epoch: int, batches: list[Batch]) -> Callable[[], list[Part]]:
        def prepare() -> list[Part]:
            chance = seeded(self.recipe.seed, CHANCE, step, self.ranks.rank)
            name = self.device.name
            return [prepared(batch, self.recipe, self.preprocess, name, epoch, chance) for batch in batches]

        return prepare

    def _batches(self, order: Tensor) -> list[Tensor]:
        """Rows of each batch; a rest of fewer than two pictures a process is left out.

        Batch norm has no variance of one picture.
        """
        every = order.split(self.recipe.batch)  # type: ignore[no-untyped-call]
        return [rows for rows in every if len(rows) >= 2 * self.ranks.world]

    # Keeping

    def _keep(self, stop: Stop) -> None:
        """Save a state where one is due; after a signal to any process, save and leave."""
        step, moment = self._saved
        (asked,) = self.ranks.total(stop.asked)
        if asked or self.every.due(self.position.step - step, time.monotonic() - moment):
            self.save()
        if asked:
            raise self.interrupted()

    def save(self) -> None:
        """Write the state of this moment; raises DataError for weights that are no numbers."""
        tensors = self.stepper.tensors()
        for name in state.finite(tensors):
            told = f"step {self.position.step}: {name} is not finite any more"
            raise DataError(f"{told} (lower --lr, now {self.recipe.lr:g})")
        self.position.used = self.used()
        if self.ranks.first:
            state.save(self.folder, State(self.position, tensors, facts(self)))
        self._saved = (self.position.step, time.monotonic())

    def load(self, found: State) -> None:
        """Go on from a state."""
        self.position = found.position
        self.stepper.load(found.tensors, found.position.rate)
        self._saved = (found.position.step, time.monotonic())

    def interrupted(self) -> InterruptedRun:
        """What to say when the run is stopped."""
        told = f"stopped after step {self.position.step:,} of {self.steps:,}, saved"
        return InterruptedRun(f"{self.folder}: {told} (go on with {self.job.going_on(self.folder)})")

    def used(self) -> float:
        """Seconds spent in the run, in all of its parts."""
        return time.monotonic() - self._started

    # Telling

    def _validated(self, number: int, stop: Stop) -> tuple[AnyEpoch, AnyMetrics]:
        """Measure on validation; a signal meanwhile saves the steps that are done."""
        at, start = self.position, time.monotonic()

        def look(*_: int) -> None:
            if stop.asked and self.ranks.world == 1:
                self.save()
                raise self.interrupted()

        net = self.stepper.answering
        if self.stepper.average is not None:
            with self.device.autocast():
                norms.renew(net, (values for values, _ in self._some_training(number)))
            self.ranks.share_statistics(net)
        logits, rows = logits_of(net, self.validation, self.preprocess, self.device, look, self.ranks)
        found = self.stepper.task.measure(logits, self.validation.labels[rows])
        metrics: AnyMetrics = replace(found, precision=self.device.precision)
        if self.budget is not None:
            self.budget.reserve = time.monotonic() - start
        row = metrics.epoch(
            at.right / max(at.seen, 1),
            epoch=number,
            lr=at.rate,
            train_loss=at.losses / max(at.seen, 1),
            seconds=at.training + time.monotonic() - start,
            images_per_second=at.seen / max(at.training, 1e-9),
        )
        return row, metrics

    def _some_training(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(values (n, C, H, W), labels) of a tenth of an epoch's batches, unchanged pictures: from 8 to 32 batches."""
        order = self.train.order(seeded(self.recipe.seed, ORDER, number))
        batches = self._batches(order)[: min(max(self.per_epoch // 10, 8), 32)]
        for batch in self.train.batches(self.ranks.part(rows) for rows in batches):
            if len(batch.rows):
                yield normalise(batch.pixels, self.preprocess, self.device.name), batch.labels.to(self.device.name)

    def _warned(self, row: AnyEpoch, bar: Meter) -> None:
        """Tell where a network that learnt cannot show it: its norms' statistics do not fit its weights."""
        training, validation = row.right
        if training - validation < SUSPECT:
            return
        net, hits, sums = self.stepper.answering, self.stepper.task.hits, torch.zeros(3)
        for values, labels in self._some_training(row.epoch):
            with self.device.autocast():
                by_batch, running = norms.both_answers(net, values)
            sums += torch.tensor([len(labels), float(hits(by_batch, labels)), float(hits(running, labels))])
        seen, right_by_batch, right = self.ranks.total(*sums.tolist())
        if right_by_batch - right > SUSPECT * seen:
            told = norms.warning(self.stepper.net, right_by_batch / seen, right / seen, self.recipe.norm_momentum)
            bar.say(f"warning: epoch {row.epoch}: {told}")

    def _stands_still(self) -> bool:
        patience = self.recipe.stop_after
        return bool(patience) and plateaus([row.rank for row in self.position.history], patience) > 0

    def _write_epoch(self, metrics: AnyMetrics) -> None:
        history = self.position.history
        card = replace(self.card, metrics={"epoch": history[-1].epoch, **metrics.to_json()})
        save(self.stepper.answering, self.folder / "last.safetensors", card)
        if history[-1] is best_epoch(history):
            save(self.stepper.answering, self.folder / "model.safetensors", card)
        report.write_history(self.folder, [asdict(row) for row in history])

    def _left(self) -> str:
        done, steps = self.position.step, self.steps
        return f", {duration(self.used() / done * (steps - done))} left" if 0 < done < steps else ""

    def _not_finite(self, found: Outcome, batches: Iterable[Batch]) -> str:
        at = self.position
        names = [self.train.names[int(row)] for batch in batches for row in batch.rows]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        shown = "pictures of another process" if found.sound else shown
        told = f"the loss is not a finite number at rate {at.rate:g}, with {shown}"
        return f"step {at.step + 1}: {told} (lower --lr, now {self.recipe.lr:g}, or look at these pictures)"


def _tell(bar: Meter, events: Events, at: Position, found: Outcome) -> None:
    bar.tick(f"loss {at.losses / max(at.seen, 1):.3f}")
    events.step(at.step, found.losses / max(found.seen, 1), at.rate)


def facts(loop: Loop) -> dict[str, object]:
    """What the exact course of a run depends on beside its job."""
    return {
        "computed_on": str(loop.device),
        "threads": torch.get_num_threads(),
        "processes": loop.ranks.world,
        "torch": str(torch.__version__),
    }
