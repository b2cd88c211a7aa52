"""The training loop: all of it, in order, nothing hidden in callbacks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from inceptory.data.feed.batches import pixels_of
from inceptory.data.feed.feed import Batch, Feed, Stream
from inceptory.data.picture.crops import DRAWS
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import ConfigError, DataError, InterruptedRun
from inceptory.learn import state
from inceptory.learn.events import Events
from inceptory.learn.pictures import prepared
from inceptory.learn.settings.job import Every, Job
from inceptory.learn.state import Position, State, seeded
from inceptory.learn.step import Outcome, Part, Stepper
from inceptory.learn.update import norms
from inceptory.learn.update.schedule import WHOLE, Budget, momentum, plateaus, rate, timed_rate
from inceptory.learn.validation import Validation
from inceptory.measure.results import Ending, Epoch, Metrics, best_epoch
from inceptory.report import folder as report
from inceptory.system import clock
from inceptory.system.progress import Meter, duration, meter
from inceptory.system.signals import Stop
from inceptory.weights.card import Card
from inceptory.weights.store import save

ORDER, CHANCE, GLOBAL, CROPS = range(4)
"""Purposes of random numbers: the order of an epoch, augmentation, dropout, random crops."""
OVERRUN = 0.05
"""Share of --time by which a run may be late without a word."""


class Loop:
    """One network on its way through the epochs."""

    def __init__(
        self,
        stepper: Stepper,
        feeds: dict[str, Feed],
        preprocess: Preprocess,
        job: Job,
        card: Card,
        folder: Path,
        began: float,
    ) -> None:
        self.stepper, self.preprocess, self.job, self.card, self.folder = stepper, preprocess, job, card, folder
        self.recipe, self.ranks, self.device = job.recipe, stepper.ranks, stepper.device
        self.train = feeds["train"]
        self.position = Position()
        self.per_epoch = -(-len(self._batches(torch.arange(len(self.train)))) // self.recipe.accumulate)
        """Steps in an epoch."""
        if not self.per_epoch:
            told = f"{len(self.train)} training pictures are too few for {self.ranks.world} processes"
            raise ConfigError(f"{told} (each needs two in a batch: start fewer)")
        self.validation = Validation(stepper, feeds, preprocess, self.per_epoch, self._shuffled)
        self.steps = None if self.recipe.epochs is None else self.per_epoch * self.recipe.epochs
        """Steps after which the run ends; None where only the time ends it."""
        self.budget = self._budget()
        self.every = Every.of(job.checkpoint_every)
        self._began, self._before = began, 0.0
        self._saved = self._since = (0, clock.now())
        self._mark = clock.now()
        for norm in norms.norms_of(stepper.net):
            steps = None if self.budget else self.steps
            norm.momentum = norms.momentum(self.recipe.norm_momentum, norm.momentum, steps)

    def _budget(self) -> Budget | None:
        """What --time allows, with the pace of the runs before."""
        if self.recipe.time is None:
            return None
        measured = self.validation
        renewed = measured.looked_over * self.recipe.batch if measured.renews else 0
        pictures = (self.recipe.batch * self.recipe.accumulate, len(measured.pictures), len(measured.final), renewed)
        length = clock.seconds(self.recipe.time, "--time")
        return Budget(length, self.per_epoch, pictures, self.steps, **self.position.budget)

    def run(self, stop: Stop) -> list[Epoch]:
        """Every epoch that is left. Raises InterruptedRun after a signal, all saved."""
        at = self.position
        events = Events(self.folder, at.step, self.job.tensorboard and self.ranks.first)
        with meter("training", self.steps, at.step, self.ranks.first) as bar:
            bar.say(f"training {self.card.architecture} on {self.device}: {self._length()}")
            if self.ranks.first:
                self._show_first_batch()
            self._mark = clock.now()
            self._since = at.step, self._mark
            while not at.over:
                cut = self._train(stop, bar, events)
                self._measure(cut, stop, bar, events)
            bar.say(f"trained for {self.ending().told(self.recipe.time)}")
            if self.budget is not None and self.budget.left(self.used()) < -OVERRUN * self.budget.seconds:
                needed = duration(self.used() - self.budget.left(self.used()))
                told = f"start, one step and the measurements alone take about {needed}"
                bar.say(f"warning: --time {self.recipe.time} is too short: {told} (give a longer --time)")
        events.close()
        if at.step > self._saved[0]:
            self.save()  # what is left, measuring and reporting, may be cut off too
        return at.history

    def _show_first_batch(self) -> None:
        """Draw what the network sees first, whichever step this is; a timed run learns how long drawing takes."""
        steps = self._by_step(0)
        values, targets = self._prepared(0, next(steps))[0]
        steps.close()
        if len(values):
            pixels, labels = pixels_of(values, self.preprocess), targets.told(self.card.labels)
            taken = report.write_batch(self.folder, pixels, labels)
            if self.budget is not None:
                self.budget.drawing = report.expected(taken, len(self.card.labels))

    def _train(self, stop: Stop, bar: Meter, events: Events) -> bool:
        """What is left of an epoch's steps; whether the time cut them short."""
        at, number = self.position, len(self.position.history)
        for batches in self._by_step(number, at.step - number * self.per_epoch):
            if at.seen > 0 and self._too_late():
                return True
            parts = self._prepared(at.step, batches)
            start = clock.now()
            self._seed(at.step)
            at.rate, momentum = self._scheduled()
            outcome = self.stepper.step(at.step, at.rate, parts, momentum)
            if not outcome.finite:
                raise DataError(self._not_finite(outcome, batches))
            at.step += 1
            at.seen, at.losses, at.plain = at.seen + outcome.seen, at.losses + outcome.losses, at.plain + outcome.plain
            at.right += outcome.right
            at.training += clock.now() - start
            bar.tick(f"objective {at.losses / max(at.seen, 1):.3f}")
            events.step(at.step, outcome.losses / max(outcome.seen, 1), at.rate)
            self._keep(stop)
            before, self._mark = self._mark, clock.now()
            if self.budget is not None:
                self.budget.took(self._mark - before)  # with all that belongs to a step
        return False

    def _measure(self, cut: bool, stop: Stop, bar: Meter, events: Events) -> None:
        """Validate an epoch that is done, keep its network, and say what came of it."""
        at, number = self.position, len(self.position.history) + 1
        start = clock.now()
        self.validation.renew(number)
        assert self.stepper.frozen.unchanged(self.stepper.answering), "a frozen part remembers what it did"
        renewed = clock.now()
        if self.budget is not None and not self.budget.full:
            self.budget.full = self.validation.seconds_at_the_end()
        row, metrics = self._validated(number, stop, start)
        looked = clock.now()
        doubt = self.validation.doubt(row)
        at.history.append(row)
        at.seen, at.losses, at.plain, at.right, at.training = 0, 0.0, 0.0, 0.0, 0.0
        if self.ranks.first:
            events.epoch(at.step, row)
            self._write_epoch(metrics)
        written = clock.now()
        if self.budget is not None:
            self.budget.measured(renewed - start, looked - renewed, written - looked)
        at.over = cut or at.step == self.steps or self._stands_still() or self._too_late()
        bar.say(f"{row}{'' if at.over else self._left()}")
        if doubt is not None:
            bar.say(f"warning: epoch {row.epoch}: {doubt}")
        self._mark = clock.now()

    def objectives(self, rates: Iterable[float], stop: Stop) -> Iterator[tuple[float, float]]:
        """(learning rate, objective) of one step after another from the start of the run, while the loss is finite.

        Nothing is kept. Raises InterruptedRun after a signal.
        """
        steps = chain.from_iterable(map(self._by_step, count()))
        for (step, lr), batches in zip(enumerate(rates), steps, strict=False):
            self._seed(step)
            found = self.stepper.step(step, lr, self._prepared(step, batches))
            (asked,) = self.ranks.total(stop.asked)
            if asked:
                raise InterruptedRun("stopped before all rates were tried, nothing is written (start again)")
            if not found.finite:
                return
            if found.seen:
                yield lr, found.losses / found.seen

    def _seed(self, step: int) -> None:
        """Dropout draws from torch's own generator."""
        torch.manual_seed(state.number(self.recipe.seed, GLOBAL, step, self.ranks.rank))

    def _scheduled(self) -> tuple[float, float]:
        """(learning rate, momentum) of the next step."""
        at = self.position
        drops = plateaus([row.rank for row in at.history], self.recipe.patience)
        if self.budget is None:
            assert self.steps is not None, "a recipe has epochs or a time"
            found = rate(self.recipe, at.step, self.steps, self.per_epoch, drops)
            return found, momentum(self.recipe, at.step, self.steps)
        (ahead,) = self.ranks.of_first(self.budget.ahead(at.step, self.used()))
        middle = round((self.budget.share + ahead / 2) * WHOLE)
        found = timed_rate(self.recipe, self.budget.share, ahead, at.step, self.per_epoch, drops)
        self.budget.share += ahead
        return found, momentum(self.recipe, middle, WHOLE)

    def _too_late(self) -> bool:
        """Whether the time holds no further step; the first process' clock counts for all."""
        if self.budget is None:
            return False
        (over,) = self.ranks.of_first(self.budget.over(self.used()))
        return bool(over)

    def _by_step(self, number: int, done: int = 0) -> Generator[list[Batch]]:
        """The batches of each step of an epoch, counted from 0, but for the `done` first."""
        batches = self._shuffled(number)
        left = done * self.recipe.accumulate
        feed = self.train.batches(map(self.ranks.part, batches[left:]), self._draws(number, batches, left))
        for _ in range(done, self.per_epoch):
            yield list(islice(feed, self.recipe.accumulate))
        next(feed, None)  # it rests when it finds that it is through

    def _draws(self, number: int, batches: list[Tensor], done: int) -> Iterator[Tensor] | None:
        """What chooses the crops in the batches that are left, the same however many processes share a batch."""
        if not self.recipe.crop:
            return None

        def drawn(place: int) -> Tensor:
            chance = seeded(self.recipe.seed, CROPS, number, place)
            return torch.rand(len(batches[place]), DRAWS, generator=chance, dtype=torch.float64)

        return (self.ranks.part(drawn(place)) for place in range(done, len(batches)))

    def _prepared(self, step: int, batches: Iterable[Batch]) -> list[Part]:
        """What the network learns from in a step; all chance is the step's own."""
        chance = seeded(self.recipe.seed, CHANCE, step, self.ranks.rank)
        epoch, name = step // self.per_epoch, self.device.name
        return [prepared(batch, self.recipe, self.preprocess, name, epoch, chance) for batch in batches]

    def _shuffled(self, number: int) -> list[Tensor]:
        """Rows of the batches of an epoch, counted from 0."""
        return self._batches(self.train.order(seeded(self.recipe.seed, ORDER, number), self.recipe.balanced))

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
        if asked or self.every.due(self.position.step - step, clock.now() - moment):
            self.save()
        if asked:
            raise self.interrupted()

    def save(self) -> None:
        """Write the state of this moment; raises DataError for weights that are no numbers."""
        tensors = self.stepper.tensors()
        for name in state.finite(tensors):
            told = f"step {self.position.step}: {name} is NaN or infinite"
            raise DataError(f"{told} (lower --lr, now {self.recipe.lr:g})")
        self.position.used = self.used()
        self.position.budget = {} if self.budget is None else self.budget.to_json()
        if self.ranks.first:
            state.save(self.folder, State(self.position, tensors, facts(self)))
        self._saved = (self.position.step, clock.now())

    def load(self, found: State) -> None:
        """Go on from a state."""
        self.position, self._before = found.position, found.position.used
        self.budget = self._budget()
        self.stepper.load(found.tensors, found.position.rate)
        self._saved = (found.position.step, clock.now())

    def interrupted(self) -> InterruptedRun:
        """What to say when the run is stopped."""
        told = f"stopped after {self.place()}, saved"
        return InterruptedRun(f"{self.folder}: {told} (go on with {self.job.going_on(self.folder)})")

    def place(self) -> str:
        """Where the run stands."""
        step = f"step {self.position.step:,}"
        whole = "" if self.steps is None else f" of {self.steps:,}"
        return (
            step + whole + ("" if self.budget is None else f", with {duration(self.used())} of {self.recipe.time} used")
        )

    def used(self) -> float:
        """Seconds spent in the run, in all of its parts, from the start of each command."""
        return self._before + clock.now() - self._began

    def ending(self) -> Ending:
        """What ended the run."""
        at = self.position
        by: Literal["epochs", "patience", "time"]
        by = "epochs" if at.step == self.steps else "patience" if self._stands_still() else "time"
        return Ending(by, at.step, self.per_epoch)

    # Telling

    def _validated(self, number: int, stop: Stop, start: float) -> tuple[Epoch, Metrics]:
        """Measure on validation; a signal meanwhile saves the steps that are done."""
        at = self.position

        def look(*_: int) -> None:
            if stop.asked and self.ranks.world == 1:
                self.save()
                raise self.interrupted()

        metrics = self.validation.measure(look)
        row = metrics.epoch(
            at.right / max(at.seen, 1),
            epoch=number,
            lr=at.rate,
            train_objective=at.losses / max(at.seen, 1),
            train_log_loss=at.plain / max(at.seen, 1),
            seconds=at.training + clock.now() - start,
            images_per_second=at.seen / max(at.training, 1e-9),
        )
        return row, metrics

    def _stands_still(self) -> bool:
        patience = self.recipe.stop_after
        return bool(patience) and plateaus([row.rank for row in self.position.history], patience) > 0

    def _write_epoch(self, metrics: Metrics) -> None:
        history = self.position.history
        card = replace(self.card, metrics={"epoch": history[-1].epoch, **metrics.to_json()})
        save(self.stepper.answering, self.folder / "last.safetensors", card)
        if history[-1] is best_epoch(history):
            save(self.stepper.answering, self.folder / "model.safetensors", card)
        report.write_history(self.folder, [row.to_json() for row in history])

    def _length(self) -> str:
        """How long the training will be, in words."""
        epochs, plural = self.recipe.epochs, "s" * (self.recipe.epochs != 1)
        ends = [f"{epochs} epoch{plural}"] * (self.steps is not None) + [f"{self.recipe.time}"] * bool(self.budget)
        first = ", whichever comes first" if len(ends) > 1 else ""
        steps = f"{self.per_epoch:,} step{'s' * (self.per_epoch != 1)} an epoch"
        return f"{steps}, {' or '.join(ends)}{first}"

    def _left(self) -> str:
        if self.budget is not None:
            return f", {duration(self.budget.seconds - self.used())} left"
        assert self.steps is not None, "a recipe has epochs or a time"
        step, moment = self._since
        done, steps = self.position.step - step, self.steps - self.position.step
        # A run that was resumed just before this validation has made no step to judge by.
        return f", {duration((clock.now() - moment) / done * steps)} left" if done else ""

    def _not_finite(self, found: Outcome, batches: Iterable[Batch]) -> str:
        at = self.position
        names = [self.train.names[int(row)] for batch in batches for row in batch.rows]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        shown = "pictures of another process" if found.sound else shown
        told = f"a NaN or infinite loss at rate {at.rate:g}, with {shown}"
        return f"step {at.step + 1}: {told} (lower --lr, now {self.recipe.lr:g}, or look at these pictures)"


def facts(loop: Loop) -> dict[str, object]:
    """What the exact course of a run depends on beside its job."""
    return {
        "computed_on": str(loop.device),
        "threads": torch.get_num_threads(),
        "processes": loop.ranks.world,
        "torch": str(torch.__version__),
        # Crops of pictures that are kept smaller, and the order of a file read in blocks, are not the same.
        "pictures": "streamed" if isinstance(loop.train, Stream) else "in memory",
    }
