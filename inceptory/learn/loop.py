"""The training loop: all of it, in order, nothing hidden in callbacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Literal

import torch

from inceptory.data.feed.batches import pixels_of
from inceptory.data.feed.feed import Batch, Feed, Stream
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError, InterruptedRun
from inceptory.learn import state
from inceptory.learn.events import Events
from inceptory.learn.halves import Halves
from inceptory.learn.order.steps import Steps
from inceptory.learn.pictures import prepared
from inceptory.learn.reasons import reserved
from inceptory.learn.settings.job import Every, Job
from inceptory.learn.state import CHANCE, GLOBAL, Position, State, seeded
from inceptory.learn.step import Outcome, Part, Stepper
from inceptory.learn.update import norms
from inceptory.learn.update.schedule import WHOLE, Budget, momentum, plateaus, rate, timed_rate
from inceptory.learn.validation import Validation
from inceptory.measure.results import Ending, Epoch, Metrics, best_epoch
from inceptory.measure.vectors import DRAWN
from inceptory.report import folder as report
from inceptory.system import clock
from inceptory.system.progress import Meter, duration, meter
from inceptory.system.signals import Stop
from inceptory.weights.card import Card
from inceptory.weights.store import save

OVERRUN = 0.05
"""Share of --time by which a run may be late without a warning."""


class Loop:
    """The training of one network: its steps, validations, saved states and epochs."""

    def __init__(
        self,
        stepper: Stepper,
        feeds: dict[str, Feed],
        preprocess: Preprocess,
        job: Job,
        card: Card,
        folder: Path,
        began: float,
        keeps_best: bool = True,
    ) -> None:
        self.stepper, self.preprocess, self.job, self.card, self.folder = stepper, preprocess, job, card, folder
        self.recipe, self.ranks, self.device = job.recipe, stepper.ranks, stepper.device
        self.train = feeds["train"]
        self.position = Position()
        self.order = Steps(self.train, self.recipe, self.ranks)
        self.per_epoch = self.order.per_epoch
        self.halves = Halves.of(feeds["validation"].labels.numpy(), job.calibrated)
        self.validation = Validation(stepper, feeds, self.halves, preprocess, self.per_epoch, self.order.whole)
        self.steps = None if self.recipe.epochs is None else self.per_epoch * self.recipe.epochs
        """Steps after which the run ends; None where only the time ends it."""
        self.keeps_best = keeps_best
        """Whether the best epoch so far is written to model.safetensors; else whoever asked measures the last one."""
        others = sum(len(each.labels) for name, each in feeds.items() if name != "train")
        own = len(self.validation.final_rows) + len(self.validation.calibrating)
        self._final = own if keeps_best else others + min(len(self.train), DRAWN)
        """Pictures of the final measurement."""
        self.budget = self._budget()
        self.every = Every.of(job.checkpoint_every)
        self._began, self._before = began, 0.0
        """When this command started, and the seconds that earlier commands of the run took."""
        self._saved = self._since = (0, clock.now())
        """(step, moment) of the last saved state, and of the start of the training in this command."""
        self._mark = clock.now()
        """The end of the last step or validation: the next step is timed from here."""
        for norm in norms.norms_of(stepper.net):
            steps = None if self.budget else self.steps
            norm.momentum = norms.momentum(self.recipe.norm_momentum, norm.momentum, steps)

    def _budget(self) -> Budget | None:
        """How --time is spent, None without it; a resumed run knows its pace already."""
        if self.recipe.time is None:
            return None
        validation = self.validation
        renewed = validation.looked_over * self.recipe.batch if validation.renews else 0
        step = self.recipe.batch * self.recipe.accumulate
        pictures = (step, len(validation.choosing), self._final, renewed)
        length = clock.seconds(self.recipe.time, "--time")
        return Budget(length, self.per_epoch, pictures, self.steps, **self.position.budget)

    def run(self, stop: Stop) -> list[Epoch]:
        """Train all epochs that are left. After a signal, saves the state and raises InterruptedRun."""
        at = self.position
        events = Events(self.folder, at.step, self.job.tensorboard and self.ranks.first)
        with meter("training", self.steps, at.step, self.ranks.first) as bar:
            bar.say(f"training {self.card.architecture} on {self.device}: {self._length()}")
            if self.halves.note:
                bar.say(self.halves.note)
            if self.ranks.first:
                self._show_first_batch()
            self._mark = clock.now()
            self._since = at.step, self._mark
            while not at.over:
                time_is_up = self._train(stop, bar, events)
                self._measure(time_is_up, stop, bar, events)
            bar.say(f"trained for {self.ending().told(self.recipe.time)}")
            if self.budget is not None and self.budget.left(self.used()) < -OVERRUN * self.budget.seconds:
                needed = duration(self.used() - self.budget.left(self.used()))
                reason = f"start, one step and the measurements alone take about {needed}"
                bar.say(f"warning: --time {self.recipe.time} is too short: {reason} (give a longer --time)")
        events.close()
        if at.step > self._saved[0]:
            self.save()  # the final measurement and the report are still to come, and may be interrupted
        return at.history

    def _show_first_batch(self) -> None:
        """Draw the pictures of the run's first step, also in a resumed run; a timed run learns how long that takes."""
        steps = self.order.of(0)
        values, targets = self._prepared(0, next(steps))[0]
        steps.close()
        if len(values):
            pixels, labels = pixels_of(values, self.preprocess), targets.told(self.card.labels)
            seconds = report.write_batch(self.folder, pixels, labels)
            if self.budget is not None:
                self.budget.drawing = report.expected(seconds, len(self.card.labels))
                if self.stepper.task.one_answer:
                    self.budget.explaining = reserved(self.budget.seconds)

    def _train(self, stop: Stop, bar: Meter, events: Events) -> bool:
        """Do the steps that are left in an epoch; True where the time ended before they were done."""
        at, number = self.position, len(self.position.history)
        if at.step == number * self.per_epoch:
            self.order.begin(self._share(at.step))
        for batches in self.order.of(number, at.step - number * self.per_epoch):
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
            if outcome.seen:
                self.order.told(batches, outcome.each)
            at.training += clock.now() - start
            bar.tick(f"objective {at.losses / max(at.seen, 1):.3f}")
            events.step(at.step, outcome.losses / max(outcome.seen, 1), at.rate)
            self._keep(stop)
            before, self._mark = self._mark, clock.now()
            if self.budget is not None:
                self.budget.took(self._mark - before)  # the whole step: loading, training, saving
        return False

    def _measure(self, time_is_up: bool, stop: Stop, bar: Meter, events: Events) -> None:
        """Validate the network after an epoch, save it, and report the metrics."""
        at, number = self.position, len(self.position.history) + 1
        start = clock.now()
        self.validation.renew(number)
        assert self.stepper.frozen.unchanged(self.stepper.answering), "a frozen part remembers what it did"
        renewed = clock.now()
        if self.budget is not None and not self.budget.full:
            self.budget.full = self.validation.seconds_at_the_end()
        row, metrics = self._validated(number, stop, start)
        validated = clock.now()
        doubt = self.validation.doubt(row)
        at.history.append(row)
        at.seen, at.losses, at.plain, at.right, at.training = 0, 0.0, 0.0, 0.0, 0.0
        if self.ranks.first:
            events.epoch(at.step, row)
            self._write_epoch(metrics)
        written = clock.now()
        if self.budget is not None:
            self.budget.measured(renewed - start, validated - renewed, written - validated)
        at.over = time_is_up or at.step == self.steps or self._stands_still() or self._too_late()
        bar.say(f"{row}{'' if at.over else self._left()}")
        if doubt is not None:
            bar.say(f"warning: epoch {row.epoch}: {doubt}")
        self._mark = clock.now()

    def objectives(self, rates: Iterable[float], stop: Stop) -> Iterator[tuple[float, float]]:
        """(learning rate, objective) of each step, one for each of the rates, until the loss is no longer finite.

        No state is saved. Raises InterruptedRun after a signal.
        """
        steps = chain.from_iterable(map(self.order.of, count()))
        for (step, lr), batches in zip(enumerate(rates), steps, strict=False):
            self._seed(step)
            outcome = self.stepper.step(step, lr, self._prepared(step, batches))
            (asked,) = self.ranks.total(stop.asked)
            if asked:
                raise InterruptedRun("stopped before all steps were tried, nothing is written (start again)")
            if not outcome.finite:
                return
            if outcome.seen:
                yield lr, outcome.losses / outcome.seen

    def _seed(self, step: int) -> None:
        """Start torch's own generator, from which dropout draws, anew for this step."""
        torch.manual_seed(state.number(self.recipe.seed, GLOBAL, step, self.ranks.rank))

    def _scheduled(self) -> tuple[float, float]:
        """(learning rate, momentum) of the next step."""
        at = self.position
        drops = plateaus([row.rank for row in at.history], self.recipe.patience)
        if self.budget is None:
            assert self.steps is not None, "a recipe has epochs or a time"
            lr = rate(self.recipe, at.step, self.steps, self.per_epoch, drops)
            return lr, momentum(self.recipe, at.step, self.steps)
        (ahead,) = self.ranks.of_first(self.budget.ahead(at.step, self.used()))
        middle = round((self.budget.share + ahead / 2) * WHOLE)
        lr = timed_rate(self.recipe, self.budget.share, ahead, at.step, self.per_epoch, drops)
        self.budget.share += ahead
        return lr, momentum(self.recipe, middle, WHOLE)

    def _too_late(self) -> bool:
        """Whether there is no time for another step; the clock of the first process decides for all."""
        if self.budget is None:
            return False
        (over,) = self.ranks.of_first(self.budget.over(self.used()))
        return bool(over)

    def _prepared(self, step: int, batches: Iterable[Batch]) -> list[Part]:
        """Augmented values and targets of a step; its random numbers depend on no other step."""
        generator = seeded(self.recipe.seed, CHANCE, step, self.ranks.rank)
        epoch, name = step // self.per_epoch, self.device.name
        how = self.recipe, self.preprocess, name, epoch, generator, self._share(step) < self.recipe.progressive
        return [prepared(batch, *how, self.order.counts(batch)) for batch in batches]

    def _share(self, step: int) -> float:
        """How much of the training is done before a step."""
        return step / (self.steps or 1) if self.budget is None else self.budget.share

    # Saving

    def _keep(self, stop: Stop) -> None:
        """Save a state where one is due; after a signal to any process, save and raise InterruptedRun."""
        step, moment = self._saved
        (asked,) = self.ranks.total(stop.asked)
        if asked or self.every.due(self.position.step - step, clock.now() - moment):
            self.save()
        if asked:
            raise self.interrupted()

    def save(self) -> None:
        """Write the present state; raises DataError for weights that are NaN or infinite."""
        tensors = self.stepper.tensors() | self.order.tensors()
        for name in state.finite(tensors):
            problem = f"step {self.position.step}: {name} is NaN or infinite"
            raise DataError(f"{problem} (lower --lr, now {self.recipe.lr:g})")
        self.position.used = self.used()
        self.position.budget = {} if self.budget is None else self.budget.to_json()
        if self.ranks.first:
            state.save(self.folder, State(self.position, tensors, facts(self)))
        self._saved = (self.position.step, clock.now())

    def load(self, saved: State) -> None:
        """Go on from a saved state."""
        self.position, self._before = saved.position, saved.position.used
        self.budget = self._budget()
        self.stepper.load(saved.tensors, saved.position.rate)
        self.order.load(saved.tensors)
        self._saved = (saved.position.step, clock.now())

    def interrupted(self) -> InterruptedRun:
        """The error that says where the run was stopped and how to go on."""
        stopped = f"stopped after {self.place()}, saved"
        return InterruptedRun(f"{self.folder}: {stopped} (go on with {self.job.going_on(self.folder)})")

    def place(self) -> str:
        """How far the run has come, in words."""
        step = f"step {self.position.step:,}"
        whole = "" if self.steps is None else f" of {self.steps:,}"
        return (
            step + whole + ("" if self.budget is None else f", with {duration(self.used())} of {self.recipe.time} used")
        )

    def used(self) -> float:
        """Seconds spent in the run by all of its commands, each counted from its start."""
        return self._before + clock.now() - self._began

    def left(self) -> float:
        """Seconds until the report must be begun; infinitely many where no time was asked for."""
        return math.inf if self.budget is None else self.budget.seconds - self.budget.drawing - self.used()

    def ending(self) -> Ending:
        """What ended the run."""
        at = self.position
        by: Literal["epochs", "patience", "time"]
        by = "epochs" if at.step == self.steps else "patience" if self._stands_still() else "time"
        return Ending(by, at.step, self.per_epoch)

    # Reporting

    def _validated(self, number: int, stop: Stop, start: float) -> tuple[Epoch, Metrics]:
        """Measure on validation; a signal during it saves the state and raises InterruptedRun."""
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
        if self.keeps_best and history[-1] is best_epoch(history):
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
        # A run that was resumed just before this validation has done no step from which to estimate.
        return f", {duration((clock.now() - moment) / done * steps)} left" if done else ""

    def _not_finite(self, outcome: Outcome, batches: Iterable[Batch]) -> str:
        at = self.position
        names = [self.train.names[int(row)] for batch in batches for row in batch.rows]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        shown = "pictures of another process" if outcome.sound else shown
        problem = f"a NaN or infinite loss at rate {at.rate:g}, with {shown}"
        return f"step {at.step + 1}: {problem} (lower --lr, now {self.recipe.lr:g}, or look at these pictures)"


def facts(loop: Loop) -> dict[str, object]:
    """What the exact weights of a run depend on beside its job."""
    return {
        "computed_on": str(loop.device),
        "threads": torch.get_num_threads(),
        "processes": loop.ranks.world,
        "torch": str(torch.__version__),
        # A stream crops the original pictures, memory holds smaller ones; and a file may be read in another order.
        "pictures": "streamed" if isinstance(loop.train, Stream) else "in memory",
    }
