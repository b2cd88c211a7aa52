"""What an answer rests on: where in the picture, and on which branch of a module.

Grad-CAM (Selvaraju et al. 2017, section 3): the gradient of a label's logit, averaged over the positions of a stage's
map, weighs the channels of that map; what the weighted sum has above zero is laid over the picture. A branch's
contribution is the sum of gradient times activation over its channels and positions. Behind a global average pool and
a linear classifier this is exact: the contributions of the last module and the bias add up to the logit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from inceptory.data.feed.batches import normalise
from inceptory.engines.explain.branches import Joint
from inceptory.engines.torch import TorchEngine
from inceptory.nets.network import Network


@dataclass(frozen=True)
class Attribution:
    """Of N pictures the T best labels, and what each of these rests on."""

    best: NDArray[np.int64]
    """(N, T) labels, most probable first."""
    probabilities: NDArray[np.float32]
    """(N, T)."""
    logits: NDArray[np.float32]
    """(N, T)."""
    heat: NDArray[np.float32]
    """(N, T, H, W) of the pictures' height and width, from 0 on: where something speaks for the label."""
    contributions: NDArray[np.float32]
    """(N, T, parts) to the logit, in the order of `Joint.names`."""
    bias: NDArray[np.float32]
    """(N, T) of the classifier."""


@dataclass
class _Taps:
    """Maps that a forward pass goes through, gradients of which can be asked for."""

    heat: Tensor = field(init=False)
    """After the stage of the heat map."""
    joined: Tensor = field(init=False)
    """After the stage of the branches."""
    body: Tensor = field(init=False)
    """Of a residual stage: what its body gives."""
    kept: Tensor = field(init=False)
    """Of a residual stage: what its shortcut gives."""


def attribute(engine: TorchEngine, pixels: NDArray[np.uint8], stage: str, joint: Joint, top: int) -> Attribution:
    """What the `top` best labels of pixels (N, C, H, W) rest on: the map after `stage`, the parts of `joint`.

    Takes one pass back for each label, and none below the two stages. Freezes the engine's network.
    """
    net = engine.net.requires_grad_(False)
    values = normalise(torch.from_numpy(pixels), engine.preprocess, engine.device.name)
    with _tapped(net, stage, joint) as taps:
        logits: Tensor = net(values)
    # In numpy and stable, as `predict` ranks them.
    scores = engine.scores(logits.detach()).cpu().numpy()
    best = scores.argsort(axis=1, kind="stable")[:, ::-1][:, :top].copy()
    heat, contributions = [], []
    tapped = [taps.heat, taps.joined, *([taps.body] if joint.residual else [])]
    for labels in torch.from_numpy(best).to(logits.device).T:
        # Each logit hangs on its own picture only, so that one sum serves the batch.
        total = logits.gather(1, labels[:, None]).sum()
        gradients = torch.autograd.grad(total, tapped, retain_graph=True)
        heat.append(grad_cam(taps.heat, gradients[0], values.shape[2:]))
        contributions.append(_contributions(taps, gradients[1:], joint))
    return Attribution(
        best,
        np.take_along_axis(scores, best, axis=1),
        np.take_along_axis(logits.detach().cpu().numpy(), best, axis=1),
        torch.stack(heat, 1).cpu().numpy(),
        torch.stack(contributions, 1).detach().cpu().numpy(),
        _bias(net)[best],
    )


def heat_of(
    engine: TorchEngine, pixels: NDArray[np.uint8], labels: NDArray[np.int64], stage: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(heat (N, H, W) after a stage of one label each, bottleneck vectors (N, length)) of pixels (N, C, H, W).

    The heat is that of `attribute`, for a label that need not be among the best. Freezes the engine's network.
    """
    net = engine.net.requires_grad_(False)
    values = normalise(torch.from_numpy(pixels), engine.preprocess, engine.device.name)
    maps: list[Tensor] = []
    with net.get_submodule(stage).register_forward_hook(lambda _, given, got: maps.append(_differentiable(got))):
        last = net.features(values, net.stage_names[-1])[net.stage_names[-1]]
    total = net.head(last).gather(1, torch.from_numpy(labels).to(last.device)[:, None]).sum()
    (gradients,) = torch.autograd.grad(total, maps)
    vectors = net.head.bottleneck(last.detach())
    return grad_cam(maps[0], gradients, values.shape[2:]).cpu().numpy(), vectors.cpu().numpy()


def _differentiable(activations: Tensor) -> Tensor:
    return activations if activations.requires_grad else activations.requires_grad_()


def grad_cam(activations: Tensor, gradients: Tensor, size: torch.Size) -> Tensor:
    """Maps (N, C, h, w) and the gradients of a logit for them to (N, H, W) of `size`, by bilinear interpolation."""
    weighted = gradients.mean((2, 3), keepdim=True) * activations.detach()
    heat = weighted.sum(1, keepdim=True).relu()
    return F.interpolate(heat, tuple(size), mode="bilinear", align_corners=False)[:, 0]


@contextmanager
def _tapped(net: Network, stage: str, joint: Joint) -> Iterator[_Taps]:
    """Keep the maps that are asked for while a pass runs; gradients begin at the first of them."""
    taps = _Taps()

    def keep(name: str, part: nn.Module) -> None:
        def hook(_: nn.Module, given: object, got: Tensor) -> None:
            setattr(taps, name, _differentiable(got))

        stack.callback(part.register_forward_hook(hook).remove)

    with ExitStack() as stack:
        whole = net.get_submodule(joint.stage)
        keep("heat", net.get_submodule(stage))
        keep("joined", whole)
        if joint.residual:
            keep("body", whole.get_submodule("body"))
            if whole.shortcut is not None:
                keep("kept", whole.get_submodule("shortcut"))
            else:
                shortcut = whole.register_forward_pre_hook(lambda _, given: setattr(taps, "kept", given[0]))
                stack.callback(shortcut.remove)
        yield taps


def _contributions(taps: _Taps, gradients: tuple[Tensor, ...], joint: Joint) -> Tensor:
    """(N, parts): gradient times activation, summed over the channels and positions of each part."""
    if not joint.residual:
        return _by_branch(gradients[0] * taps.joined, joint)
    # Where the ReLU after the sum is shut, nothing of the shortcut comes through.
    whole = gradients[0] * taps.kept
    shortcut = whole.where(taps.joined > 0, 0) if joint.rectified else whole
    return torch.cat([shortcut.sum((1, 2, 3))[:, None], _by_branch(gradients[1] * taps.body, joint)], 1)


def _by_branch(products: Tensor, joint: Joint) -> Tensor:
    parts = torch.split(products.sum((2, 3)), [*joint.widths], 1)
    return torch.stack([part.sum(1) for part in parts], 1)


@torch.no_grad()
def _bias(net: Network) -> NDArray[np.float32]:
    """(K,) what the classifier answers to nothing: its bias, also of two linear layers in a row."""
    assert net.head.classifier is not None, "an engine answers with logits"
    first = next(part for part in net.head.classifier.modules() if isinstance(part, nn.Linear))
    bias: NDArray[np.float32] = net.head.classifier(first.weight.new_zeros(1, first.in_features))[0].cpu().numpy()
    return bias
