"""Changes of colour and light, as pure functions on batches: the same generator state, the same pictures."""

from __future__ import annotations

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a grey of the same brightness. ITU-R BT.601."""


def jitter(
    images: Tensor,
    generator: torch.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Tensor:
    """Change each picture's colours: factors from uniform(1 - x, 1 + x), the hue by uniform(-x, x) turns.

    (N, C, H, W) uint8, RGB or grey -> same. In the order of the arguments; a grey picture has no
    saturation or hue to change.
    """
    draws = 2 * torch.rand(4, len(images), generator=generator) - 1
    values = images.float()
    if brightness:
        values = scale_brightness(values, factors(draws[0], brightness))
    if contrast:
        values = scale_contrast(values, factors(draws[1], contrast))
    if saturation and images.shape[1] == 3:
        values = scale_saturation(values, factors(draws[2], saturation))
    if hue and images.shape[1] == 3:
        values = turn_hue(values, draws[3] * hue)
    return values.round_().clamp_(0, 255).to(images.dtype)


def light(values: Tensor, reach: float, generator: torch.Generator) -> Tensor:
    """Shift and stretch each picture as a whole: (v + s) * (1 + c), with s and c from uniform(-reach, reach).

    (N, C, H, W) standardised values -> same; so s is in deviations of the training pictures, and values spread around
    their mean. github.com/hiverge/cifar10-speedrun, 2025.
    """
    draws = reach * (2 * torch.rand(2, len(values), 1, 1, 1, generator=generator) - 1)
    shifts, stretches = draws.to(values.device).unbind()
    return (values + shifts) * (1 + stretches)


def factors(draws: Tensor, reach: float) -> Tensor:
    """Draws (N,) from -1 to 1 as factors around 1, none below 0."""
    return (1 + draws * reach).clamp_min(0)


def scale_brightness(values: Tensor, factors: Tensor) -> Tensor:
    """values: (N, C, H, W) float, 0 to 255; factors: (N,)."""
    return _blend(values, torch.zeros(()), factors)


def scale_contrast(values: Tensor, factors: Tensor) -> Tensor:
    """Towards or away from the picture's mean grey. values: (N, C, H, W) float, 0 to 255; factors: (N,)."""
    return _blend(values, grey(values).mean((1, 2, 3), keepdim=True), factors)


def scale_saturation(values: Tensor, factors: Tensor) -> Tensor:
    """Towards or away from each pixel's grey. values: (N, 3, H, W) float, 0 to 255; factors: (N,)."""
    return _blend(values, grey(values), factors)


def grey(values: Tensor) -> Tensor:
    """(N, 3 or 1, H, W) -> (N, 1, H, W)."""
    if values.shape[1] == 1:
        return values
    return (values * torch.tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _blend(values: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    return other.lerp(values, factors.view(-1, 1, 1, 1)).clamp_(0, 255)


def turn_hue(values: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue by parts of the circle. values: (N, 3, H, W) float, 0 to 255; turns: (N,), -0.5 to 0.5."""
    red, green, blue = values.unbind(1)
    most = red.maximum(green).maximum(blue)
    spread = most - red.minimum(green).minimum(blue)
    # Grey pixels have no hue, and none is needed: their three colours stay alike.
    step = spread.clamp_min(1e-6)
    of_others = torch.where(most == green, (blue - red) / step + 2, (red - green) / step + 4)
    hue = torch.where(most == red, (green - blue) / step, of_others) + 6 * turns.view(-1, 1, 1)
    # Smith 1978 in one formula for all six parts of the circle: a colour falls where it is far from its own place.
    place = (torch.tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1) + hue[:, None]) % 6
    return most[:, None] - spread[:, None] * torch.minimum(place, 4 - place).clamp(0, 1)
