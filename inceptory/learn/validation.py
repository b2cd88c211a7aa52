"""Measuring the network between epochs: statistics that fit it, its metrics, and a word where both disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import Feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.device import Device
from inceptory.engines.torch import TorchEngine
from inceptory.learn.halves import Halves
from inceptory.learn.step import Stepper
from inceptory.learn.update import norms
from inceptory.measure.calibration import Calibration, temperature
from inceptory.measure.evaluate import logits_of
from inceptory.measure.results import Epoch, Metrics
from inceptory.system import clock

FEWEST, MOST = 8, 32
"""Limits of the number of batches for the statistics of batch norms; between them it is a tenth of an epoch's."""
SUSPECT = 0.2
"""The norms are checked if the share of correct answers is higher by so much in training than on validation."""


def looked_over(batches: int) -> int:
    """Number of training batches that the statistics of batch norms are computed from, of those of an epoch."""
    return min(max(batches // 10, FEWEST), MOST)


class Validation:
    """Measures the network that will be saved on pictures that it does not learn from.

    `batches` returns the rows of each batch of an epoch, in the order of that epoch.
    """

    def __init__(
        self,
        stepper: Stepper,
        feeds: dict[str, Feed],
        halves: Halves,
        preprocess: Preprocess,
        per_epoch: int,
        batches: Callable[[int], list[Tensor]],
    ) -> None:
        self.stepper, self.preprocess, self.recipe = stepper, preprocess, stepper.recipe
        self.ranks, self.device = stepper.ranks, stepper.device
        self.train, self.pictures = feeds["train"], feeds["validation"]
        self.choosing, self.calibrating = torch.from_numpy(halves.choose), torch.from_numpy(halves.calibrate)
        """Rows of them, as `Halves` says."""
        self.final = feeds.get("test", self.pictures)
        """Pictures on which the best checkpoint is measured at the end."""
        self.final_rows = torch.arange(len(self.final.labels)) if "test" in feeds else self.choosing
        self._batches = batches
        # A momentum that the recipe names is respected. Otherwise the running statistics may come from older
        # weights, and never from the averaged ones.
        learning = not self.recipe.freeze_norms
        self.renews = learning and (stepper.average is not None or self.recipe.norm_momentum == "auto")
        """Whether the statistics of batch norms are computed anew before each measurement."""
        self.looked_over = looked_over(per_epoch * self.recipe.accumulate)
        """Number of training batches from which they are computed."""

    def renew(self, epoch: int) -> None:
        """Compute the statistics anew, from the weights that are measured after this epoch (counted from 1)."""
        if self.renews:
            with self.device.autocast():
                norms.renew(self.stepper.answering, (values for values, _ in self._training(epoch)))
            self.ranks.share_statistics(norms.remembered(self.stepper.answering))

    def measure(self, look: Callable[[int, int], None]) -> Metrics:
        """Metrics on the validation pictures that choose; `look` is called after each batch, and may raise."""
        net = self.stepper.answering
        engine = TorchEngine(net, self.preprocess, self.device)
        logits, rows = logits_of(engine, self.pictures, look, self.ranks, self.choosing)
        labels = self.pictures.labels[rows]
        return self.stepper.task.measure(logits.numpy(), labels.numpy(), self.device.precision)

    def calibration(self, engine: TorchEngine) -> dict[str, Any]:
        """What the pictures kept apart say of an engine's answers, for its card; nothing where there are none."""
        if not len(self.calibrating):
            return {}
        logits, rows = logits_of(engine, self.pictures, ranks=self.ranks, rows=self.calibrating)
        labels = self.pictures.labels[rows]
        return Calibration.of(logits.numpy(), labels.numpy(), "held-out").to_json() if len(rows) else {}

    def seconds_at_the_end(self) -> float:
        """Seconds for each picture that is looked at at the end, in full precision; timed on one batch."""
        if len(self.calibrating):
            temperature(np.eye(2), np.arange(2))  # loads scipy, which happens only once
        start = clock.now()
        batch = next(self.final.batches([torch.arange(min(len(self.final.labels), self.recipe.batch))]))
        TorchEngine(self.stepper.answering, self.preprocess, Device(self.device.name)).answers(batch.pixels.numpy())
        return (clock.now() - start) / max(len(batch.rows), 1) / self.ranks.world

    def doubt(self, row: Epoch) -> str | None:
        """A warning if the network learnt but answers badly: its norms' statistics do not fit its weights."""
        training, validation = row.right
        if training - validation < SUSPECT:
            return None
        with self.device.autocast():
            counts = norms.right(self.stepper.answering, self._training(row.epoch), self.stepper.criterion.hits)
        count, by_batch, running = self.ranks.total(*counts)
        if by_batch - running <= SUSPECT * count:
            return None
        observation = (
            f"the network names {100 * by_batch / count:.0f} % of its training pictures by the statistics of their "
            f"batch, as in training, but {100 * running / count:.0f} % by its running statistics, as it will answer"
        )
        if self.renews:
            return f"{observation}: its batches differ too much from one another (raise --batch, or lower --lr)"
        return f"{observation}: {norms.memory(self.stepper.net)}"

    def _training(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(values (n, C, H, W), labels) of training pictures, unchanged."""
        batches = self._batches(epoch)[: self.looked_over]
        for batch in self.train.batches(self.ranks.part(rows) for rows in batches):
            if len(batch.rows) > 1:  # as in a step: batch norm cannot use a single picture
                yield normalise(batch.pixels, self.preprocess, self.device.name), batch.labels.to(self.device.name)
