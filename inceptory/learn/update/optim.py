"""The step that follows a gradient: SGD as PyTorch or Keras computes it, AdamW, RMSProp, decay, penalty, clipping."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from inceptory.engines.device import Device
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.update.depth import scales
from inceptory.learn.update.muon import SHARES, Muon, kind_of
from inceptory.learn.update.rmsprop import RMSProp
from inceptory.nets import layers as modules
from inceptory.nets.network import Network

SCALER = {"scale": float, "_growth_tracker": int}
"""State of a GradScaler between steps: the factor, and the number of good steps since it changed."""


class Optimizer:
    """The optimizer of a recipe on the tensors of a network that learn."""

    def __init__(self, net: Network, recipe: Recipe, scaler: torch.amp.GradScaler | None = None) -> None:
        self.recipe = recipe
        self.scaler = scaler or Device("cpu").scaler()
        self.names = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.penalised = list(penalised(net)) if recipe.penalty else []
        self.inner = _inner(_groups(net, recipe), recipe)
        self.rate = recipe.lr
        """Learning rate of the last step, at the head."""

    def penalty(self) -> float:
        """The recipe's L2 penalty on the weights, which belongs to the loss; `step` adds its gradient."""
        if not self.penalised:
            return 0.0
        return float(self.recipe.penalty * sum(p.detach().square().sum() for p in self.penalised))

    def step(self, rate: float, momentum: float | None = None) -> bool:
        """Update all parameters by their gradients, then clear the gradients; False if the step was skipped.

        `momentum` (AdamW's beta1) replaces the recipe's in this step. The gradients must be those of `scaled`
        losses; if they overflow in fp16, the step is skipped and the scale is halved.
        """
        self.scaler.unscale_(self.inner)
        for parameter in self.penalised:
            assert parameter.grad is not None, "every tensor takes part in the loss"
            parameter.grad.add_(parameter.detach(), alpha=2 * self.recipe.penalty)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        if self.recipe.momentum_rule == "keras" and rate != self.rate:
            self._keep_velocity(self.rate / rate)
        momentum = self.recipe.momentum if momentum is None else momentum
        for group in self.inner.param_groups:
            group["lr"] = rate * group["scale"]
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum
        self.rate = rate
        scale = self.scale
        self.scaler.step(self.inner)
        self.scaler.update()
        self.inner.zero_grad(set_to_none=True)
        return self.scale >= scale

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss for the backward pass: in fp16 multiplied by a factor, so that small gradients do not vanish."""
        return self.scaler.scale(loss)

    @property
    def scale(self) -> float:
        """Factor on the loss, 1 where there is none."""
        return float(self.scaler.get_scale())

    def _keep_velocity(self, factor: float) -> None:
        """Let a new learning rate apply to new gradients only, as in Keras.

        Keras keeps the last update: v = momentum * v - rate * gradient. PyTorch keeps a sum of gradients, and
        multiplies all of it by the new rate: b = momentum * b + gradient, v = -rate * b. So b is rescaled.
        """
        for state in self.inner.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].mul_(factor)

    def tensors(self) -> dict[str, Tensor]:
        """The state between steps, by parameter and kind; that of the scaler by its own names."""
        tensors = {
            f"{name}/{kind}": value
            for name, parameter in zip(self.names, self.parameters, strict=True)
            for kind, value in self.inner.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }
        scaler = {name: self.scaler.state_dict()[name] for name in SCALER if self.scaler.is_enabled()}
        return tensors | {f"{name}/scaler": torch.tensor(value, dtype=torch.float64) for name, value in scaler.items()}

    def load(self, tensors: dict[str, Tensor], rate: float) -> None:
        """Restore what `tensors` returned, and the learning rate of the last step."""
        by_name = dict(zip(self.names, self.parameters, strict=True))
        for name, value in tensors.items():
            owner, kind = name.rsplit("/", 1)
            if owner in SCALER:
                self.scaler.load_state_dict({**self.scaler.state_dict(), owner: SCALER[owner](value)})
                continue
            parameter = by_name[owner]
            # In the memory layout that the optimizer itself would use, so that it is as fast as before.
            tensor = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
            self.inner.state.setdefault(parameter, {})[kind] = tensor.copy_(value)
        self.rate = rate


def penalised(net: Network) -> Iterator[nn.Parameter]:
    """Tensors with the tutorial's L2 penalty: every kernel, and the biases of convolutions inside modules."""
    inside = {
        id(part.bias)
        for module in net.modules()
        if isinstance(module, modules.Concat)
        for part in module.modules()
        if isinstance(part, modules.Kernel)
    }
    for parameter in net.parameters():
        if parameter.requires_grad and (parameter.ndim > 1 or id(parameter) in inside):
            yield parameter


def _groups(net: Network, recipe: Recipe) -> list[dict[str, object]]:
    """One of each factor on the rate, `scale`, and each kind of tensor: vectors do not decay, as a norm's factor or a
    bias near zero regularises nothing, and what Muon turns has a fixed length.
    """
    muon, by_scale = recipe.optimizer == "muon", dict[float, list[nn.Parameter]]()
    for part, scale in scales(net, recipe.unfreeze, recipe.depth_rate).items():
        by_scale.setdefault(scale, []).extend(net.get_submodule(part).parameters())
    groups = list[dict[str, object]]()
    for scale, parameters in by_scale.items():
        for kind, share in SHARES.items():
            members = [parameter for parameter in parameters if kind_of(parameter) == kind]
            turned = muon and kind == "matrix"
            decay = 0.0 if turned or kind == "vector" else recipe.weight_decay
            if members:
                own = {"weight_decay": decay, "scale": scale * share if muon else scale, "matrix": turned}
                groups.append({"params": members, **own})
    return groups


def _inner(groups: list[dict[str, object]], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, (recipe.momentum, recipe.rms_decay), recipe.epsilon)
    if recipe.optimizer == "rmsprop":
        return RMSProp(groups, recipe.lr, recipe.momentum, recipe.rms_decay, recipe.epsilon)
    if recipe.optimizer == "muon":
        return Muon(groups, recipe.lr, recipe.momentum, recipe.rms_decay, recipe.epsilon)
    # Nesterov looks ahead along the momentum, so it needs one.
    return torch.optim.SGD(groups, recipe.lr, recipe.momentum, nesterov=recipe.nesterov and recipe.momentum > 0)
