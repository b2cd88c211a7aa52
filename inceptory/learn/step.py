"""One step of training: forward, loss, backward, update. Everything that moves the weights is here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from inceptory.engines.device import Device
from inceptory.learn.pictures import Targets
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.update.average import Average
from inceptory.learn.update.norms import choose_variance
from inceptory.learn.update.optim import Optimizer
from inceptory.measure.tasks import OneClass, Task
from inceptory.nets.layers import Residual
from inceptory.nets.network import Network
from inceptory.system.ranks import Ranks

Part = tuple[Tensor, Targets]
"""Values and targets of one batch."""
SMALLEST_SCALE = 1.0
"""Below it a gradient of fp16 overflows by itself, and not because the loss was scaled."""


@dataclass(frozen=True)
class Outcome:
    """Sums over the pictures of one step, over all processes."""

    losses: float
    """What is made small: over all heads, with smoothing, weights of classes and the penalty."""
    plain: float
    """Cross-entropy of the answers alone, as `Task.measure` has it of validation."""
    right: float
    seen: int
    sound: bool = True
    """Whether the losses of this process' own pictures are numbers."""

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.losses)


class Stepper:
    """A network, its optimizer and its average, and the way from a batch to the next weights."""

    def __init__(
        self,
        net: Network,
        recipe: Recipe,
        device: Device,
        ranks: Ranks | None = None,
        class_weights: Tensor | None = None,
        heads: Callable[[Tensor], dict[str, Tensor]] | None = None,
        task: Task | None = None,
    ) -> None:
        self.task = task or OneClass()
        self.net, self.recipe, self.device = net, recipe, device
        self.ranks = ranks or Ranks()
        choose_variance(net, recipe.moving_variance)
        _drop_paths(net, recipe.drop_path)
        net.checkpointing = recipe.gradient_checkpointing
        self.optimizer = Optimizer(net, recipe, device.scaler())
        self.average = Average(net, recipe.average) if recipe.average else None
        self.class_weights = class_weights
        self._weights = {"logits": 1.0, **{aux.name: aux.weight for aux in net.plan.tree.aux}}
        self._alone: Callable[[Tensor], dict[str, Tensor]] = heads or net.heads
        self._forward = self._alone
        if self.ranks.world > 1:
            self._forward = _together(_Heads(net, self._alone))

    @property
    def answering(self) -> Network:
        """The network to measure and keep."""
        return self.net if self.average is None else self.average.net

    def step(self, number: int, rate: float, parts: Sequence[Part], momentum: float | None = None) -> Outcome:
        """Update the weights by the mean loss over all parts, of all processes.

        `number` counts steps from 0; `momentum` may be another than the recipe's. A loss that is not
        finite changes nothing. In fp16 that, or a gradient that is too large, skips the step until the
        loss can be scaled no smaller.
        """
        self.net.train()
        # Batch norm has no variance of one picture; where a process is left without, all pass over.
        parts = [part for part in parts if len(part[0]) > 1]
        seen, idle = self.ranks.total(sum(len(values) for values, _ in parts), not parts)
        if idle:
            return Outcome(0.0, 0.0, 0.0, 0)
        penalty, before = self.optimizer.penalty(), self._statistics()
        losses = plain = right = 0.0
        for last, (values, targets) in ((part is parts[-1], part) for part in parts):
            with self._exchanging(last):
                loss, bare, hits = self._losses(values, targets)
                # Gradients are averaged over the processes, losses are summed over the pictures.
                self.optimizer.scaled(loss * (self.ranks.world / seen)).backward()  # type: ignore[no-untyped-call]
            losses, plain, right = losses + float(loss.detach()), plain + bare, right + hits
        sound = math.isfinite(losses)
        losses, plain, right = self.ranks.total(losses, plain, right)
        outcome = Outcome(losses + penalty * seen, plain, right, int(seen), sound)
        if not outcome.finite and self.device.precision != "fp16":
            self.optimizer.inner.zero_grad(set_to_none=True)
            return outcome
        if not self.optimizer.step(rate, momentum):
            return self._skipped(outcome, before)
        self.ranks.share_statistics(self.net)
        if self.average is not None:
            self.average.update(number)
        return outcome

    def leave(self) -> None:
        """Take no more steps with other processes: what exchanges gradients holds their group, and its threads."""
        self._forward = self._alone

    def _statistics(self) -> list[Tensor]:
        """What batch norms remember, kept for a step in fp16, whose maps may overflow."""
        return [buffer.clone() for buffer in self.net.buffers()] if self.device.precision == "fp16" else []

    def _skipped(self, outcome: Outcome, before: list[Tensor]) -> Outcome:
        """What is told of a step in which fp16 overflowed: a failure only where a smaller scale cannot help."""
        for buffer, value in zip(self.net.buffers(), before, strict=True):
            buffer.copy_(value)
        if self.optimizer.scale < SMALLEST_SCALE:
            return replace(outcome, losses=math.nan)
        return outcome if outcome.finite else Outcome(0.0, 0.0, 0.0, 0)

    def _exchanging(self, last: bool) -> AbstractContextManager[object]:
        """Processes exchange gradients once a step, after the last part."""
        if isinstance(self._forward, DistributedDataParallel) and not last:
            return self._forward.no_sync()
        return nullcontext()

    def _losses(self, values: Tensor, targets: Targets) -> tuple[Tensor, float, float]:
        """(sum of the pictures' losses over all heads, their plain ones, pictures whose `labels` are answered)."""
        with self.device.autocast():
            heads = self._forward(values)
        terms = [weight * self._loss(heads[name], targets) for name, weight in self._weights.items()]
        hits = self.task.hits(heads["logits"], targets.labels)
        with torch.no_grad():
            plain = self._mixed(heads["logits"], targets, self.task.loss)
        return torch.stack(terms).sum(), float(plain), float(hits)

    def _loss(self, logits: Tensor, targets: Targets) -> Tensor:
        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return self.task.loss(logits, labels, self.class_weights, self.recipe.label_smoothing)

        return self._mixed(logits, targets, loss)

    def _mixed(self, logits: Tensor, targets: Targets, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Sum of a loss over pictures, of mixed ones by both classes' shares."""
        # float16 and bfloat16 are too coarse for the logarithm of a sum.
        logits = logits if logits.dtype == torch.float64 else logits.float()

        found = loss(logits, targets.labels)
        if targets.others is not None and targets.share is not None:
            found = targets.share * found + (1 - targets.share) * loss(logits, targets.others)
        return found.sum()

    def tensors(self) -> dict[str, Tensor]:
        """All that must be kept to go on exactly."""
        found = {f"net/{name}": value for name, value in self.net.state_dict().items()}
        if self.average is not None:
            found |= {f"average/{name}": value for name, value in self.average.net.state_dict().items()}
        return found | {f"optimizer/{name}": value for name, value in self.optimizer.tensors().items()}

    def load(self, tensors: dict[str, Tensor], rate: float) -> None:
        """Take back what `tensors` gave."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.net.load_state_dict(under("net/"))
        if self.average is not None:
            self.average.net.load_state_dict(under("average/"))
        self.optimizer.load(under("optimizer/"), rate)


def _drop_paths(net: Network, rate: float) -> None:
    """Shares that rise evenly to `rate` at the last residual branch. Huang et al. 2016, section 3: linear decay."""
    residuals = [module for module in net.modules() if isinstance(module, Residual)]
    for depth, module in enumerate(residuals, 1):
        module.drop = rate * depth / len(residuals)


def _together(heads: nn.Module) -> DistributedDataParallel:
    """Gradients averaged over the processes; buffers are seen to by `Ranks.share_statistics`."""
    known = inspect.signature(DistributedDataParallel).parameters
    # PyTorch 2.14 calls it by another name, and warns of the old one.
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {buffers: False}
    return DistributedDataParallel(heads, **options)


class _Heads(nn.Module):
    """`Network.heads` as a module's forward, which is what other parts of torch can wrap."""

    def __init__(self, net: Network, heads: Callable[[Tensor], dict[str, Tensor]]) -> None:
        super().__init__()
        self.net, self._call = net, heads

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self._call(x)
