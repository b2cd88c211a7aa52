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
    """A device and the arithmetic of its convolutions."""

    name: str
    precision: Precision = "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which convolutions and matrix products use 16 bits, if this device's precision has them."""
        kind = TYPES.get(self.precision)
        return nullcontext() if kind is None else torch.autocast(self.name, dtype=kind)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that small fp16 gradients do not vanish; does nothing in other precisions.

        Raises ConfigError for fp16 on mps, which was never tried.
        """
        if self.name == "mps" and self.precision == "fp16":
            raise ConfigError("--precision fp16: training on mps is not tried with it (take fp32, or --device cpu)")
        return torch.amp.GradScaler(self.name, enabled=self.precision == "fp16")

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device of this name, or the best one for auto; raises ConfigError if the machine does not have it."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in present.items() if there)
    if not present[device]:
        others = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f"--device {device}: not on this machine (it has {others})")
    return Device(device, fastest(device) if precision == "auto" else precision)  # type: ignore[arg-type]


def fastest(device: str) -> Precision:
    """16 bits only if the hardware has instructions for them; elsewhere they work but are slower."""
    if device == "cuda":
        # bf16, which needs no scaled loss, from Ampere on; fp16 on tensor cores from Volta on.
        capability = torch.cuda.get_device_capability()
        return "bf16" if capability >= (8, 0) else "fp16" if capability >= (7, 0) else "fp32"
    if device == "cpu":
        # These functions are not public yet; without them torch computes in fp32.
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return "bf16" if any(getattr(torch.cpu, probe, lambda: False)() for probe in probes) else "fp32"
    return "fp32"
