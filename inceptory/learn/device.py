"""Where to compute and in which arithmetic: what the machine has decides, flags may overrule."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from inceptory.errors import ConfigError


@dataclass(frozen=True)
class Device:
    """A place to compute and the arithmetic of its convolutions."""

    name: str
    bf16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Convolutions and matrix products in bfloat16 inside, where this device uses it."""
        return torch.autocast(self.name, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def __str__(self) -> str:
        return f"{self.name} {'bf16' if self.bf16 else 'fp32'}"


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device asked for, or the best one; raises ConfigError where it is not there."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    if not present[device]:
        others = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f"--device {device}: not on this machine (it has {others})")
    bf16 = has_bf16(device) if precision == "auto" else precision == "bf16"
    return Device(device, bf16)


def has_bf16(device: str) -> bool:
    """Whether bfloat16 is computed by the hardware, so that it is faster and not just possible."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)  # Ampere; older ones emulate it
    if device == "cpu":
        # These probes have no public name yet; a torch without them is used in fp32.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False
