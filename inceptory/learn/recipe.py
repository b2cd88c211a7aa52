"""How a network is trained: every option with a sentence and a unit. The command line is made from it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from inceptory.errors import UsageError

EPOCHS = 20
"""Of a recipe that says neither epochs nor a time."""


def option(default: Any, told: str, **bounds: float) -> Any:
    """A field with its sentence and its range: `low` and `high` are inside, `above` and `below` outside."""
    return field(default=default, metadata={"told": told, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """Every option of a training; its defaults are the recipe `quick`."""

    # How long
    epochs: int | None = option(None, "Passes over the training pictures; given beside --time, at most so many.", low=1)
    time: str | None = option(
        None,
        "Length of the whole command instead of epochs, such as 20m or 1h, from its start to its last file: "
        "the schedule is fitted to it.",
    )
    batch: int = option(64, "Pictures that pass through the network at once.", low=2)
    accumulate: int = option(1, "Batches whose gradients make one step.", low=1)
    stop_after: int = option(0, "Stop after so many epochs without a better validation; 0 never does.", low=0)

    # The step
    optimizer: Literal["sgd", "adamw"] = option("sgd", "SGD with Nesterov momentum, or AdamW.")
    lr: float = option(0.05, "Learning rate at its peak.", above=0, high=100)
    schedule: Literal["cosine", "onecycle", "step", "plateau", "constant"] = option(
        "cosine",
        "The rate after its warm-up: along a cosine to zero, straight to zero, a tenth at each drop, "
        "a tenth when validation stands still, or as it is.",
    )
    warmup: float = option(0.2, "Share of all steps in which the rate rises to its peak.", low=0, below=1)
    drops: tuple[float, ...] = option((), "Shares of the epochs after which schedule step takes a tenth of the rate.")
    patience: int = option(5, "Epochs without a better validation until schedule plateau takes a tenth.", low=1)
    momentum: float = option(0.9, "Momentum of SGD.", low=0, below=1)
    momentum_rule: Literal["torch", "keras"] = option(
        "torch", "Whether a new rate acts on new gradients and old ones (torch), or on new ones only (keras)."
    )
    weight_decay: float = option(5e-4, "Decay of kernels; biases and batch norms have none.", low=0, below=1)
    penalty: float = option(
        0.0, "Factor on the sum of squares added to the loss: kernels, and biases inside modules.", low=0, below=1
    )
    clip: float = option(0.0, "Longest gradient, as a norm over all tensors; 0 leaves it.", low=0, high=1e6)

    # The loss and the weights that are kept
    label_smoothing: float = option(0.1, "Share of the target that is spread over all classes.", low=0, below=1)
    class_weights: bool = option(False, "Weigh the loss of each class against its number of pictures.")
    balanced: bool = option(False, "Draw pictures so that all classes come equally often.")
    average: float = option(0.999, "Decay of the running average of the weights; 0 keeps none.", low=0, below=1)
    moving_variance: Literal["unbiased", "biased"] = option(
        "unbiased", "Which variance of a batch its norm remembers: PyTorch's (unbiased) or Keras' (biased)."
    )

    # The pictures
    statistics: Literal["own", "cifar10"] = option(
        "own", "Mean and deviation for standardising: of the training pictures, or the tutorial's of CIFAR-10."
    )
    flip: Literal["random", "alternate", "off"] = option(
        "random", "Mirror half of the pictures, each picture every second epoch, or none."
    )
    shift: float = option(0.125, "Largest move of a picture, as a share of its side.", low=0, below=1)
    shift_kind: Literal["reflect", "zero", "continuous"] = option(
        "reflect", "Whole pixels with a mirrored or a black border, or Keras' parts of pixels and zeros."
    )
    crop: float = option(0.0, "Smallest area that a random crop keeps, as a share; 0 crops none.", low=0, high=1)
    trivial: bool = option(False, "TrivialAugment: one random change of random strength for each picture.")
    colour: float = option(0.0, "Strength of random brightness, contrast, saturation and hue.", low=0, high=1)
    erase: float = option(0.0, "Share of the pictures in which a rectangle is erased.", low=0, high=1)
    mixup: float = option(0.0, "Strength (alpha) of MixUp; 0 mixes none.", low=0, high=100)
    cutmix: float = option(0.0, "Strength (alpha) of CutMix; 0 mixes none.", low=0, high=100)

    # The rest
    validation: float = option(
        0.1, "Share of each class held out for validation where the data has no such split.", above=0, high=0.5
    )
    seed: int = option(0, "Start of all random numbers.", low=0, high=2**63 - 1)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Where to compute; auto takes cuda, mps, cpu.")
    precision: Literal["auto", "bf16", "fp32"] = option(
        "auto", "Arithmetic of the convolutions; auto takes bf16 where the processor has it."
    )
    compile: bool = option(
        False, "Compile the network first: a wait of minutes for steps that some processors do faster."
    )

    def __post_init__(self) -> None:
        # A time needs no number of epochs, and one that nobody gave must not cut it short.
        if self.epochs is None and self.time is None:
            object.__setattr__(self, "epochs", EPOCHS)

    def check(self) -> None:
        """Raise UsageError naming the first flag that is out of range."""
        for each in fields(self):
            value, flag = getattr(self, each.name), f"--{each.name.replace('_', '-')}"
            known = choices(each.name)
            if known and value not in known:
                raise UsageError(f"{flag} {value}: unknown (choose {', '.join(known)})")
            if value is not None and not _inside(value, each.metadata["bounds"]):
                raise UsageError(f"{flag} {value:g}: out of range ({_range(each.metadata['bounds'])})")
        if not all(0 < drop < 1 for drop in self.drops):
            told = " ".join(f"{drop:g}" for drop in self.drops)
            raise UsageError(f"--drops {told}: out of range (shares of the run, above 0 and below 1)")
        if self.time is not None:
            seconds(self.time, "--time")

    def to_json(self) -> dict[str, Any]:
        """Plain values for the card."""
        plain = asdict(self)
        return {**plain, "drops": list(self.drops)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Recipe:
        """The recipe that `to_json` wrote."""
        known = {each.name for each in fields(cls)}
        return cls(**{**{key: plain[key] for key in plain if key in known}, "drops": tuple(plain.get("drops", ()))})


@cache
def choices(name: str) -> tuple[str, ...]:
    """The words that an option takes, or nothing where it takes other values."""
    hint = hints()[name]
    return get_args(hint) if get_origin(hint) is Literal else ()


@cache
def hints() -> dict[str, Any]:
    """The type of every option."""
    return get_type_hints(Recipe)


def _inside(value: Any, bounds: dict[str, float]) -> bool:
    tests = {"low": operator.ge, "high": operator.le, "above": operator.gt, "below": operator.lt}
    return all(tests[name](value, limit) for name, limit in bounds.items())


def _range(bounds: dict[str, float]) -> str:
    words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
    return " and ".join(f"{words[name]} {bounds[name]:g}" for name in words if name in bounds)


UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def seconds(text: str, flag: str) -> float:
    """Seconds of "90s", "20m" or "1.5h"; raises UsageError naming the flag."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h)", text.strip())
    if match is None or not 0 < float(match[1]) * UNITS[match[2]] < math.inf:
        raise UsageError(f"{flag} {text}: not a length of time (such as 90s, 20m or 1.5h)")
    return float(match[1]) * UNITS[match[2]]


QUICK = Recipe()
"""Good in few epochs."""

TUTORIAL = Recipe(
    epochs=300,
    lr=0.01,
    schedule="step",
    warmup=0.0,
    drops=(1 / 3, 2 / 3),
    momentum_rule="keras",
    weight_decay=0.0,
    penalty=1e-4,
    label_smoothing=0.0,
    average=0.0,
    moving_variance="biased",
    statistics="cifar10",
    shift_kind="continuous",
)
"""The tutorial's own training on CIFAR-10, to the letter: 300 epochs of batches of 64, rates 0.01,
0.001 and 0.0001 from epochs 1, 101 and 201, L2 of 1e-4, flips and shifts of up to 4 pixels."""

TUTORIAL_OLDER = Recipe(**{**TUTORIAL.__dict__, "epochs": 200, "drops": (0.5,)})
"""The same for its Inception v1 and v2: 200 epochs, so that the second drop, after 225, never comes."""

NAMES = ("quick", "tutorial")


def named(name: str, architecture: str) -> Recipe:
    """The recipe of this name for a network; raises UsageError.

    Its epochs are a proposal: with a time, only those count that somebody gave (`beside_time`).
    """
    if name not in NAMES:
        raise UsageError(f"--recipe {name}: no such recipe (choose {', '.join(NAMES)})")
    older = architecture in ("cifar_inception_v1", "cifar_inception_v2")
    return {"quick": QUICK, "tutorial": TUTORIAL_OLDER if older else TUTORIAL}[name]


def beside_time(options: dict[str, Any]) -> dict[str, Any]:
    """Options that were given on top of a named recipe; with a time among them, its epochs are left out."""
    return {"epochs": None, **options} if options.get("time") is not None else options


def differences(one: Recipe, other: Recipe) -> Sequence[str]:
    """What two recipes do not share, as "--batch 64, not 32"."""
    pairs = [(each.name, getattr(one, each.name), getattr(other, each.name)) for each in fields(Recipe)]
    return [f"--{name.replace('_', '-')} {a}, not {b}" for name, a, b in pairs if a != b]
