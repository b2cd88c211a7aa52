"""RMSProp by TensorFlow's rule, under which the Inception papers trained.

PyTorch's own adds epsilon outside of the root and starts the mean of squares at zero. With the papers'
epsilon of 1 that is a different optimizer: TensorFlow's is then close to SGD with momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class RMSProp(torch.optim.Optimizer):
    """s = decay * s + (1 - decay) * g^2 from s = 1; b = momentum * b + g / sqrt(s + epsilon); w = w - lr * b.

    g includes weight_decay * w. Source: tf.compat.v1.train.RMSPropOptimizer and its kernel ApplyRMSProp,
    which keeps lr * b in place of b. At a constant rate both are the same; when the rate changes,
    `optim.Optimizer` treats b as momentum_rule says, as for every optimizer.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        decay: float = 0.9,
        epsilon: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "decay": decay, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every tensor that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["square_avg"] = torch.ones_like(weight)
            state["momentum_buffer"] = torch.zeros_like(weight)
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        squares = state["square_avg"].lerp_(gradient.square(), 1 - group["decay"])
        momentum = state["momentum_buffer"].mul_(group["momentum"])
        momentum.addcdiv_(gradient, (squares + group["epsilon"]).sqrt_())
        weight.add_(momentum, alpha=-group["lr"])
