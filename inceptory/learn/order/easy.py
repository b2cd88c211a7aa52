"""An epoch without some of the pictures that the network knows well: less time where there is least to learn.

Of the easier half of the pictures some are left out by chance; those of it that are shown count for them, so that the
gradient to be expected is that of all pictures. Towards the end all are alike again, so that nothing is forgotten. Qin
et al. 2024, "InfoBatch: lossless training speed up by unbiased dynamic data pruning" (arXiv 2303.04947, section 3),
which takes the losses below their mean; here it is half of them, so that every epoch has the same number of steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

UNSEEN = 1e30
"""Loss of a picture that was not shown yet: finite, for saved states hold finite numbers only."""
ALIKE = 1 / 8
"""Share of the training, at its end, in which any picture may be left out and all count alike; section 3.2."""
LOSSES = ("easy/known", "easy/latest")
"""Names of the tensors in a saved state."""


class Easy:
    """The loss of each training picture, which of them the next epoch leaves out, and what the others count."""

    def __init__(self, share: float, pictures: int) -> None:
        """`share` of the pictures, below a half, is left out of each epoch."""
        self.share = share
        self._known = torch.full((pictures,), UNSEEN)  # (N,) when the present epoch began
        self._latest = self._known.clone()  # (N,) now
        self.counts = torch.ones(pictures)
        """(N,) of how much each picture counts in this epoch, 1 in the mean."""

    def kept(self, pictures: int) -> int:
        """How many of so many pictures an epoch has."""
        return pictures - int(self.share * pictures)

    def begin(self, done: float) -> None:
        """Begin an epoch by the losses known now; `done` is the share of the training before it."""
        self._known = torch.full_like(self._latest, UNSEEN) if done >= 1 - ALIKE else self._latest.clone()

    def order(self, order: Tensor, generator: torch.Generator, first: bool = False) -> Tensor:
        """The order (n,) of an epoch without the rows that are left out; gives `counts` anew.

        In the `first` epoch no loss is known, and any rows are left out.
        """
        left_out = len(order) - self.kept(len(order))
        self.counts = torch.ones(len(self._known))
        if first or bool((self._known == UNSEEN).all()):
            return order[: len(order) - left_out]
        easier = order[self._known[order].argsort(stable=True)[: len(order) // 2]]
        gone = easier[torch.randperm(len(easier), generator=generator)[:left_out]]
        self.counts *= 1 - self.share
        self.counts[easier] /= 1 - 2 * self.share
        stays = torch.ones(len(self._known), dtype=torch.bool)
        stays[gone] = False
        return order[stays[order]]

    def told(self, rows: Tensor, losses: Tensor) -> None:
        """Remember the losses (n,) of the rows of a step."""
        self._latest[rows] = losses.to(self._latest)

    def tensors(self) -> dict[str, Tensor]:
        """What an exact resume needs."""
        return dict(zip(LOSSES, (self._known, self._latest), strict=True))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned; KeyError where there is nothing of it."""
        self._known, self._latest = (tensors[name] for name in LOSSES)
