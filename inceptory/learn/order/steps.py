"""The rows of each step: the order of an epoch, cut into batches, and the pictures of a process's part of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from inceptory.data.feed.feed import Batch, Feed
from inceptory.data.picture.crops import DRAWS
from inceptory.errors import ConfigError
from inceptory.learn.order.easy import Easy
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.state import CROPS, EASY, ORDER, seeded
from inceptory.system.ranks import Ranks


class Steps:
    """The steps of every epoch over the training pictures; epochs are counted from 0."""

    def __init__(self, train: Feed, recipe: Recipe, ranks: Ranks) -> None:
        self.train, self.recipe, self.ranks = train, recipe, ranks
        self.easy = Easy(recipe.skip_easy, len(train.labels)) if recipe.skip_easy else None
        learnt = len(train) if self.easy is None else self.easy.kept(len(train))
        self.per_epoch = -(-len(self._batches(torch.arange(learnt))) // recipe.accumulate)
        """Steps in an epoch."""
        if not self.per_epoch:
            problem = f"{len(train)} training pictures are too few for {ranks.world} processes"
            raise ConfigError(f"{problem} (each needs two in a batch: start fewer)")

    def of(self, number: int, done: int = 0) -> Generator[list[Batch]]:
        """The batches of each step of an epoch, without the first `done` steps."""
        batches = self._learnt(number)
        first = done * self.recipe.accumulate
        feed = self.train.batches(map(self.ranks.part, batches[first:]), self.draws(number, batches, first))
        for _ in range(done, self.per_epoch):
            yield list(islice(feed, self.recipe.accumulate))
        next(feed, None)  # only now does the feed reach its end, where its workers rest

    def begin(self, done: float) -> None:
        """Begin an epoch, of which `of` says the steps; `done` is the share of the training before it."""
        if self.easy is not None:
            self.easy.begin(done)

    def whole(self, number: int) -> list[Tensor]:
        """Rows of batches of all pictures, in the order of an epoch."""
        return self._batches(self._order(number))

    def told(self, batches: Sequence[Batch], losses: Tensor) -> None:
        """Take note of the losses (n,) of this process's pictures in a step."""
        if self.easy is not None:
            rows = [batch.rows for batch in batches if len(batch.rows) > 1]  # the step passes by a single picture
            own = torch.cat(rows) if rows else torch.empty(0, dtype=torch.int64)
            self.easy.told(self.ranks.gathered(own), self.ranks.gathered(losses))

    def counts(self, batch: Batch) -> Tensor | None:
        """(n,) how much each picture of a batch counts, where they do not count alike."""
        return None if self.easy is None else self.easy.counts[batch.rows]

    def draws(self, number: int, batches: Sequence[Tensor], first: int = 0) -> Iterator[Tensor] | None:
        """Random numbers for the crops, from the batch `first` on: the same for any number of processes."""
        if not self.recipe.crop:
            return None

        def drawn(batch: int) -> Tensor:
            generator = seeded(self.recipe.seed, CROPS, number, batch)
            return torch.rand(len(batches[batch]), DRAWS, generator=generator, dtype=torch.float64)

        return (self.ranks.part(drawn(batch)) for batch in range(first, len(batches)))

    def tensors(self) -> dict[str, Tensor]:
        """What an exact resume needs."""
        return {} if self.easy is None else self.easy.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned; KeyError where there is nothing of it."""
        if self.easy is not None:
            self.easy.load(tensors)

    def _learnt(self, number: int) -> list[Tensor]:
        """Rows of the batches that an epoch learns from."""
        if self.easy is None:
            return self.whole(number)
        generator = seeded(self.recipe.seed, EASY, number)
        return self._batches(self.easy.order(self._order(number), generator, first=number == 0))

    def _order(self, number: int) -> Tensor:
        return self.train.order(seeded(self.recipe.seed, ORDER, number), self.recipe.balanced)

    def _batches(self, order: Tensor) -> list[Tensor]:
        """Rows of each batch; a last batch with fewer than two pictures for each process is left out.

        Batch norm cannot compute a variance from one picture.
        """
        every = order.split(self.recipe.batch)  # type: ignore[no-untyped-call]
        return [rows for rows in every if len(rows) >= 2 * self.ranks.world]
