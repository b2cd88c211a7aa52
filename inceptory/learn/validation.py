"""Measuring the network between epochs: statistics that fit it, its metrics, and a word where both disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import Feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import Device
from inceptory.engines.torch import Engine
from inceptory.learn.step import Stepper
from inceptory.learn.update import norms
from inceptory.measure.evaluate import logits_of
from inceptory.measure.results import Epoch, Metrics
from inceptory.system import clock

FEWEST, MOST = 8, 32
"""Batches from which statistics are taken: a tenth of an epoch's, but no fewer and no more than these."""
SUSPECT = 0.2
"""By how much training must be ahead of validation, as shares of right answers, for the norms to be looked at."""


class Validation:
    """The network that is kept, measured on pictures that it does not learn from.

    `batches` gives the rows of an epoch's first batches, in the order of that epoch.
    """

    def __init__(
        self,
        stepper: Stepper,
        feeds: dict[str, Feed],
        preprocess: Preprocess,
        per_epoch: int,
        batches: Callable[[int], list[Tensor]],
    ) -> None:
        self.stepper, self.preprocess, self.recipe = stepper, preprocess, stepper.recipe
        self.ranks, self.device = stepper.ranks, stepper.device
        self.train, self.pictures = feeds["train"], feeds["validation"]
        self.final = feeds.get("test", self.pictures)
        """Pictures that the best checkpoint is measured on at the end."""
        self._batches = batches
        # A given momentum is kept to; else what is remembered of weights that have moved on is of no use.
        self.renews = stepper.average is not None or self.recipe.norm_momentum == "auto"
        """Whether batch norms take their statistics anew before each measurement."""
        self.looked_over = min(max(per_epoch * self.recipe.accumulate // 10, FEWEST), MOST)
        """Batches of training pictures from which they take them."""

    def renew(self, epoch: int) -> None:
        """Statistics of their own for the weights that will be measured after an epoch, counted from 1."""
        if self.renews:
            with self.device.autocast():
                norms.renew(self.stepper.answering, (values for values, _ in self._training(epoch)))
            self.ranks.share_statistics(norms.remembered(self.stepper.answering))

    def measure(self, look: Callable[[int, int], None]) -> Metrics:
        """Metrics on the validation split; `look` is called now and then, and may raise."""
        net = self.stepper.answering
        logits, rows = logits_of(Engine(net, self.preprocess, self.device), self.pictures, look, self.ranks)
        labels = self.pictures.labels[rows]
        return self.stepper.task.measure(logits.numpy(), labels.numpy(), self.device.precision)

    def seconds_at_the_end(self) -> float:
        """Seconds for a picture of the final measurement, which is in full precision, by one batch."""
        start = clock.now()
        batch = next(self.final.batches([torch.arange(min(len(self.final.labels), self.recipe.batch))]))
        Engine(self.stepper.answering, self.preprocess, Device(self.device.name)).logits(batch.pixels)
        return (clock.now() - start) / max(len(batch.rows), 1) / self.ranks.world

    def doubt(self, row: Epoch) -> str | None:
        """What to say of a network that learnt and cannot show it: its norms' statistics do not fit its weights."""
        training, validation = row.right
        if training - validation < SUSPECT:
            return None
        with self.device.autocast():
            counts = norms.right(self.stepper.answering, self._training(row.epoch), self.stepper.criterion.hits)
        seen, by_batch, running = self.ranks.total(*counts)
        if by_batch - running <= SUSPECT * seen:
            return None
        told = (
            f"the network names {100 * by_batch / seen:.0f} % of its training pictures by the statistics of their "
            f"batch, as in training, but {100 * running / seen:.0f} % by its running statistics, as it will answer"
        )
        if self.renews:
            return f"{told}: its batches differ too much from one another (raise --batch, or lower --lr)"
        return f"{told}: {norms.memory(self.stepper.net)}"

    def _training(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(values (n, C, H, W), labels) of training pictures, unchanged."""
        batches = self._batches(epoch)[: self.looked_over]
        for batch in self.train.batches(self.ranks.part(rows) for rows in batches):
            if len(batch.rows) > 1:  # as in a step: batch norm has no variance of one picture
                yield normalise(batch.pixels, self.preprocess, self.device.name), batch.labels.to(self.device.name)
