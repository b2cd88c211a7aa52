"""What every proof does: weights under which nothing cancels, answers taken by hooks, differences measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FOUND: list[str] = []
"""One line for every comparison made, printed at the end."""


@dataclass(frozen=True)
class Peer:
    """One network of another package, and where in it the answers are found."""

    make: Callable[[int], nn.Module]
    """The network by its number of classes, without pretrained weights."""
    to: str
    """The package, as `inceptory convert --to` calls it."""
    classifier: str
    inner: tuple[str, str]
    """A module in the middle, and our stage that ends there."""
    classes: int = 1000
    size: int = 299
    odd: int = 225
    """A size that is not its own and that it can run."""
    least: int = 96
    """A small size that it can run: some average over a fixed grid."""
    enters: bool = False
    """Whether the inner map is what that module takes, and not what it gives."""
    embedding: str = ""
    """The module that gives the embedding; without one it is what the classifier takes."""
    call: Callable[[nn.Module, Tensor], Any] = field(default=lambda peer, x: peer(x))


def randomised(peer: nn.Module, seed: int = 0) -> nn.Module:
    """He-normal kernels and norms whose every statistic matters; in eval mode."""
    torch.manual_seed(seed)
    for part in peer.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight.data)
            if part.bias is not None:
                part.bias.data.normal_(0, 0.1)
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.8, 1.2)
            part.weight.data.uniform_(0.8, 1.2)
            part.bias.data.normal_(0, 0.1)
    return peer.eval()


def pictures(size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Two pictures whose values in [-1, 1) are exact steps of 1/128, as a byte can say them."""
    steps = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(size))
    return (steps.to(dtype) - 128) / 128


def answers(peer: Peer, module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Logits, embedding and an inner map of another package's network."""
    taps: dict[str, Tensor] = {}
    parts = dict(module.named_modules())
    hooks = [_tap(taps, parts[peer.inner[0]], "map", enters=peer.enters)]
    if peer.classifier in parts:
        hooks.append(_tap(taps, parts[peer.classifier], "logits"))
        hooks.append(_tap(taps, parts[peer.classifier], "embedding", enters=True))
    if peer.embedding:
        hooks.append(_tap(taps, parts[peer.embedding], "embedding"))
    with torch.inference_mode():
        peer.call(module, x)
    for hook in hooks:
        hook.remove()
    if peer.embedding:
        taps["embedding"] = F.normalize(taps["embedding"])
    return {**taps, "embedding": taps["embedding"].flatten(1)}


def _tap(taps: dict[str, Tensor], part: nn.Module, name: str, *, enters: bool = False) -> Any:
    # Cloned, for the next layer may work in place.
    if enters:
        return part.register_forward_pre_hook(lambda _, given: taps.update({name: given[0].clone()}))
    return part.register_forward_hook(lambda _, given, got: taps.update({name: got.clone()}))


def ours(net: Any, stage: str, x: Tensor) -> dict[str, Tensor]:
    """The same three of our network."""
    with torch.inference_mode():
        found = {"embedding": net.embed(x), "map": net.features(x, stage)[stage]}
        return {**found, "logits": net(x)} if net.plan.classes else found


def compare(name: str, expected: Mapping[str, Any], found: Mapping[str, Any], within: float) -> None:
    """Every answer agrees relative to its largest value, and the two pictures' answers differ."""
    parts = {key: (np.asarray(value), np.asarray(found[key])) for key, value in expected.items()}
    apart = {key: float(abs(a - b).max() / abs(a).max()) for key, (a, b) in parts.items()}
    FOUND.append(f"{name:55}" + "  ".join(f"{key} {value:.1e}" for key, value in sorted(apart.items())))
    for key, (a, b) in parts.items():
        assert a.shape == b.shape, key
        assert apart[key] <= within, f"{key}: {apart[key]:.2e} apart"
        if key != "map":
            assert abs(a[0] - a[1]).max() > 1e-3 * abs(a).max(), f"{key}: both pictures have the same answer"
