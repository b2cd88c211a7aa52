"""How a network is trained: every option with a sentence and a unit. The command line is made from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from inceptory.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum, one-cycle rate, label smoothing, flips and shifts."""

    epochs: int = 20
    """Passes over the training pictures."""
    batch: int = 64
    """Pictures in a step."""
    lr: float = 0.05
    """Learning rate at its peak."""
    warmup: float = 0.2
    """Share of all steps in which the rate rises linearly; then it falls linearly to zero."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 5e-4
    """L2 factor on kernels; biases and batch norms have none."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes."""
    flip: bool = True
    """Mirror half of the pictures left to right."""
    shift: float = 0.125
    """Largest move of a picture, as a share of its side."""
    validation: float = 0.1
    """Share of each class held out for validation where the data has no such split."""
    seed: int = 0
    """Start of all random numbers."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute; auto takes cuda, then mps, then cpu."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic of the convolutions; auto takes bf16 where the processor has it."""

    def check(self) -> None:
        """Raise UsageError naming the first flag that is out of range."""
        at_least_one = ("epochs", "batch")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} {getattr(self, name)}: out of range (at least 1)")
        if self.batch == 1:
            raise UsageError("--batch 1: batch norm has no variance of one picture (at least 2)")
        if not 0 < self.lr <= 100:
            raise UsageError(f"--lr {self.lr:g}: out of range (above 0; 0.05 is usual)")
        for name in ("warmup", "momentum", "label_smoothing", "shift", "weight_decay"):
            self._check_fraction(name, getattr(self, name))
        if not 0 < self.validation <= 0.5:
            raise UsageError(f"--validation {self.validation:g}: out of range (above 0 to 0.5)")
        for name, known in (("device", DEVICES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise UsageError(f"--{name} {getattr(self, name)}: unknown (choose {', '.join(known)})")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed}: out of range (0 to 2^63 - 1)")

    @staticmethod
    def _check_fraction(name: str, value: float) -> None:
        if not 0 <= value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: out of range (a fraction from 0 to below 1)")

    def to_json(self) -> dict[str, Any]:
        """Plain values for the card."""
        return asdict(self)

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0, of `steps` in all."""
        rising = max(round(self.warmup * steps), 1)
        if step < rising:
            return self.lr * (step + 1) / rising
        return self.lr * (steps - step) / (steps - rising + 1)


QUICK = Recipe()
"""Good in few epochs."""
