"""Where to compute and in which arithmetic: what the machine has decides, flags may overrule."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from inceptory.errors import ConfigError

Precision = Literal["fp32", "bf16", "fp16"]
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A place to compute and the arithmetic of its convolutions."""

    name: str
    precision: Precision = "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """Convolutions and matrix products in 16 bits inside, where this device uses them."""
        kind = TYPES.get(self.precision)
        return nullcontext() if kind is None else torch.autocast(self.name, dtype=kind)

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps small gradients of fp16 from vanishing; in any other precision it does nothing.

        Raises ConfigError on mps, where it was never tried.
        """
        if self.name == "mps" and self.precision == "fp16":
            raise ConfigError("--precision fp16: training on mps is not tried with it (take fp32, or --device cpu)")
        return torch.amp.GradScaler(self.name, enabled=self.precision == "fp16")

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device asked for, or the best one; raises ConfigError where it is not there."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    if not present[device]:
        others = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f"--device {device}: not on this machine (it has {others})")
    return Device(device, fastest(device) if precision == "auto" else precision)  # type: ignore[arg-type]


def fastest(device: str) -> Precision:
    """16 bits where the hardware computes them, so that they are faster and not just possible."""
    if device == "cuda":
        # bf16 from Ampere on, which needs no scaling; fp16 on tensor cores from Volta on.
        capability = torch.cuda.get_device_capability()
        return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    if device == "cpu":
        # These probes have no public name yet; a torch without them is used in fp32.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return "bf16" if any(getattr(torch.cpu, probe, lambda: False)() for probe in probes) else "fp32"
    return "fp32"
