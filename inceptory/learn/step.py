"""One step of training: forward, loss, backward, update. Everything that moves the weights is here."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from inceptory.engines.device import Device
from inceptory.learn.pictures import Targets
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.update.average import Average
from inceptory.learn.update.depth import Frozen
from inceptory.learn.update.norms import choose_variance, remembered
from inceptory.learn.update.optim import Optimizer
from inceptory.measure.tasks import SINGLE_LABEL, Task
from inceptory.nets.layers import Residual
from inceptory.nets.network import Network
from inceptory.system.ranks import Ranks

Part = tuple[Tensor, Targets]
"""Values and targets of one batch."""
SMALLEST_SCALE = 1.0
"""Factor on an fp16 loss below which an overflow is not the factor's fault: the gradient itself is too large."""


@dataclass(frozen=True)
class Outcome:
    """Sums over the pictures of one step, over all processes."""

    losses: float
    """The objective: over all heads, with label smoothing, class weights and penalty."""
    plain: float
    """Loss of the answers alone, as `Task.measure` computes it for validation."""
    right: float
    """Pictures that were answered correctly."""
    seen: int
    """Pictures in the step."""
    each: Tensor = field(default_factory=lambda: torch.empty(0))
    """(n,) of `plain` for each of this process' own pictures, in their order."""
    sound: bool = True
    """Whether the losses of this process' own pictures are finite."""

    @property
    def finite(self) -> bool:
        """Whether the loss is neither NaN nor infinite."""
        return math.isfinite(self.losses)


class Stepper:
    """A network with its optimizer and its running average, and the step that updates them from a batch."""

    def __init__(
        self,
        net: Network,
        recipe: Recipe,
        device: Device,
        ranks: Ranks | None = None,
        class_weights: Tensor | None = None,
        heads: Callable[[Tensor], dict[str, Tensor]] | None = None,
        task: Task = SINGLE_LABEL,
    ) -> None:
        self.task, self.criterion = task, task.criterion()
        self.net, self.recipe, self.device = net, recipe, device
        self.ranks = ranks or Ranks()
        self.frozen = Frozen(net, recipe.unfreeze, recipe.freeze_norms)
        choose_variance(net, recipe.moving_variance)
        _drop_paths(net, recipe.drop_path)
        net.checkpointing = recipe.gradient_checkpointing
        self.optimizer = Optimizer(net, recipe, device.scaler())
        self.average = Average(net, recipe.average) if recipe.average else None
        self.class_weights = class_weights
        aux = (head for head in net.plan.tree.aux if head.name not in self.frozen.names)
        self._weights = {"logits": 1.0, **{head.name: head.weight for head in aux}}
        self._alone: Callable[[Tensor], dict[str, Tensor]] = heads or net.heads
        self._forward = self._alone
        if self.ranks.world > 1:
            self._forward = _together(_Heads(net, self._alone))

    @property
    def answering(self) -> Network:
        """The network that is measured and saved: the averaged one, if there is one."""
        return self.net if self.average is None else self.average.net

    def step(self, number: int, rate: float, parts: Sequence[Part], momentum: float | None = None) -> Outcome:
        """Update the weights by the mean loss over all parts, of all processes.

        `number` counts steps from 0; `momentum` replaces the recipe's. A loss that is not finite leaves the
        weights as they are and is returned. In fp16 such a loss, or a gradient that overflows, skips the
        step as long as a smaller factor on the loss may help.
        """
        self.net.train()
        self.frozen.rest()
        # Batch norm cannot use a single picture. If one process has no other, all of them skip the step.
        parts = [part for part in parts if len(part[0]) > 1]
        seen, idle = self.ranks.total(sum(len(values) for values, _ in parts), not parts)
        if idle:
            return Outcome(0.0, 0.0, 0.0, 0)
        # In fp16 the feature maps may overflow: then the statistics of the batch norms are put back.
        before = [buffer.clone() for buffer in self.net.buffers()] if self.device.precision == "fp16" else []
        penalty, options = self.optimizer.penalty(), (self.class_weights, self.recipe.label_smoothing)
        losses = plain = right = 0.0
        each = []
        for index, (values, targets) in enumerate(parts, 1):
            with self._exchanging(last=index == len(parts)):
                with self.device.autocast():
                    heads = self._forward(values)  # (n, K) of each head by name
                terms = [weight * self._loss(heads[name], targets, *options) for name, weight in self._weights.items()]
                loss = torch.stack(terms).sum()
                # Gradients are averaged over the processes, losses are summed over the pictures.
                self.optimizer.scaled(loss * (self.ranks.world / seen)).backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                losses += float(loss.detach())
                each.append(self._losses(heads["logits"], targets))
                plain += float(each[-1].sum())
                right += float(self.criterion.hits(heads["logits"], targets.labels))
        sound = math.isfinite(losses)
        losses, plain, right = self.ranks.total(losses, plain, right)
        outcome = Outcome(losses + penalty * seen, plain, right, int(seen), torch.cat(each).cpu(), sound)
        if not outcome.finite and self.device.precision != "fp16":
            self.optimizer.inner.zero_grad(set_to_none=True)
            return outcome
        if not self.optimizer.step(rate, momentum):
            return self._skipped(outcome, before)
        self.ranks.share_statistics(remembered(self.net))
        if self.average is not None:
            self.average.update(number)
        return outcome

    def leave(self) -> None:
        """End the exchange of gradients with other processes: it keeps their group and its threads alive."""
        self._forward = self._alone

    def _skipped(self, outcome: Outcome, before: list[Tensor]) -> Outcome:
        """The outcome of a step in which fp16 overflowed: a NaN loss only if a smaller scale cannot help."""
        for buffer, value in zip(self.net.buffers(), before, strict=True):
            buffer.copy_(value)
        if self.optimizer.scale < SMALLEST_SCALE:
            return replace(outcome, losses=math.nan)
        return outcome if outcome.finite else Outcome(0.0, 0.0, 0.0, 0)

    def _exchanging(self, last: bool) -> AbstractContextManager[object]:
        """Let processes exchange gradients once in each step, after its last part."""
        if isinstance(self._forward, DistributedDataParallel) and not last:
            return self._forward.no_sync()
        return nullcontext()

    def _loss(self, logits: Tensor, targets: Targets, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
        """() the losses summed over the pictures, each as often as it counts."""
        losses = self._losses(logits, targets, weights, smoothing)
        return losses.sum() if targets.counts is None else (targets.counts * losses).sum()

    def _losses(
        self, logits: Tensor, targets: Targets, weights: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """(n,) the task's loss of each picture; for mixed pictures weighted by the share of each class."""
        # float16 and bfloat16 are too coarse for the logarithm of a sum.
        logits = logits if logits.dtype == torch.float64 else logits.float()
        losses = self.criterion.loss(logits, targets.labels, weights, smoothing)  # (n,)
        if targets.others is not None and targets.share is not None:
            others = self.criterion.loss(logits, targets.others, weights, smoothing)
            losses = targets.share * losses + (1 - targets.share) * others
        return losses

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that an exact resume needs."""
        tensors = {f"net/{name}": value for name, value in self.net.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.net.state_dict().items()}
        return tensors | {f"optimizer/{name}": value for name, value in self.optimizer.tensors().items()}

    def load(self, tensors: dict[str, Tensor], rate: float) -> None:
        """Restore what `tensors` returned; raises ValueError where the run began with another network."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.net.load_state_dict(under("net/"))
        if not self.frozen.unchanged(self.net):
            raise ValueError("its frozen stages are those of another network than the one it starts from")
        if self.average is not None:
            self.average.net.load_state_dict(under("average/"))
        self.optimizer.load(under("optimizer/"), rate)


def _drop_paths(net: Network, rate: float) -> None:
    """Set drop rates that rise evenly to `rate` at the last residual branch. Huang et al. 2016, section 3."""
    residuals = [module for module in net.modules() if isinstance(module, Residual)]
    for depth, module in enumerate(residuals, 1):
        module.drop = rate * depth / len(residuals)


def _together(heads: nn.Module) -> DistributedDataParallel:
    """The heads with gradients averaged over the processes; `Ranks.share_statistics` shares the buffers."""
    parameters = inspect.signature(DistributedDataParallel).parameters
    # PyTorch 2.14 gave this option a new name, and warns about the old one.
    option = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    options: dict[str, Any] = {option: False}
    return DistributedDataParallel(heads, **options)


class _Heads(nn.Module):
    """`Network.heads` as the forward of a module, which DistributedDataParallel needs."""

    def __init__(self, net: Network, heads: Callable[[Tensor], dict[str, Tensor]]) -> None:
        super().__init__()
        self.net, self._call = net, heads

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self._call(x)
