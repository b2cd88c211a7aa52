"""How a network is trained: every option with a sentence and a unit. The command line is made from it."""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from inceptory.data.sources.layout import VALIDATION
from inceptory.errors import ConfigError, UsageError
from inceptory.system.clock import seconds
from inceptory.system.text import shown

OPTIMIZERS: dict[str, dict[str, Any]] = {
    # Those under which the recipe quick was measured (benchmarks/README.md).
    "sgd": {
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": True,
        "momentum_rule": "torch",
        "rms_decay": 0.0,
        "epsilon": 0.0,
        "weight_decay": 5e-4,
        "penalty": 0.0,
    },
    # torch.optim.AdamW's own, which are those of Kingma and Ba 2014 and of Loshchilov and Hutter 2017, but for the
    # rate: theirs is 0.001, and in short runs on digits and CIFAR-10 three times that was better in all of four.
    "adamw": {
        "lr": 3e-3,
        "momentum": 0.9,
        "nesterov": False,
        "momentum_rule": "torch",
        "rms_decay": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 1e-2,
        "penalty": 0.0,
    },
    # Szegedy et al. 2015, "Rethinking the Inception Architecture", section 8; momentum and the decay of
    # the weights are those of its released code (tf-slim: train_image_classifier.py).
    "rmsprop": {
        "lr": 0.045,
        "momentum": 0.9,
        "nesterov": False,
        "momentum_rule": "keras",
        "rms_decay": 0.9,
        "epsilon": 1.0,
        "weight_decay": 4e-5,
        "penalty": 0.0,
    },
}
"""What each optimizer brings along where nothing else is said. SGD has no squares to average: 0 stands for none."""

FIXED = {"sgd": ("rms_decay", "epsilon"), "adamw": ("nesterov", "momentum_rule"), "rmsprop": ("nesterov",)}
"""Settings that an optimizer does not have, and so cannot be told."""

SWING = 0.05
"""How far schedule onecycle moves the momentum up and down: PyTorch's 0.95 and 0.85 about 0.9."""

EPOCHS = 20
"""Of a recipe that says neither epochs nor a time."""


def option(default: Any, told: str, **bounds: float) -> Any:
    """A field with its sentence and its range: `low` and `high` are inside, `above` and `below` outside."""
    return field(default=default, metadata={"told": told, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """Every option of a training; its defaults are the recipe `quick` (recipes/quick.toml)."""

    # How long
    epochs: int | None = option(
        None, "Passes over the training pictures; given beside --time, at most so many.", low=1, high=1e6
    )
    time: str | None = option(
        None,
        "Length of the whole command instead of epochs, such as 20m or 1h, from its start to its last file: "
        "the schedule is fitted to it, but for exponential, inverse and plateau, which go by epochs or steps.",
    )
    batch: int = option(64, "Pictures that pass through the network at once.", low=2, high=2**16)
    accumulate: int = option(1, "Batches whose gradients make one step.", low=1, high=2**16)
    stop_after: int = option(0, "Stop after so many epochs without a better validation; 0 never does.", low=0, high=1e6)

    # The step. What is None here is filled in from OPTIMIZERS.
    optimizer: Literal["sgd", "adamw", "rmsprop"] = option(
        "sgd", "SGD, AdamW, or RMSProp by TensorFlow's rule; each brings defaults of its own for what follows."
    )
    lr: float = option(None, "Learning rate at its peak.", above=0, high=100)
    schedule: Literal["cosine", "onecycle", "step", "exponential", "inverse", "plateau", "constant"] = option(
        "cosine",
        "The rate after its warm-up: along a cosine to zero, straight to zero, a tenth at each drop, "
        "times --decay-rate every --decay-epochs, divided by 1 + --decay x steps, a tenth when validation stands "
        "still, or as it is.",
    )
    warmup: float = option(0.2, "Share of all steps in which the rate rises to its peak.", low=0, below=1)
    drops: tuple[float, ...] = option((), "Shares of the epochs after which schedule step takes a tenth of the rate.")
    decay_rate: float = option(0.94, "Factor on the rate at each decay of schedule exponential.", above=0, high=1)
    decay_epochs: float = option(2.0, "Epochs from one decay of schedule exponential to the next.", above=0, high=1e6)
    decay: float = option(1e-6, "Decay of schedule inverse at each step, as Keras' SGD has it.", low=0, high=1e6)
    patience: int = option(
        5, "Epochs without a better validation until schedule plateau takes a tenth.", low=1, high=1e6
    )
    momentum: float = option(
        None,
        "Momentum of SGD and RMSProp, beta1 of AdamW. Schedule onecycle moves it against the rate, "
        f"from {SWING:g} above this to {SWING:g} below and back.",
        low=0,
        below=1,
    )
    nesterov: bool = option(None, "Look ahead along the momentum (SGD only).")
    momentum_rule: Literal["torch", "keras"] = option(
        None, "Whether a new rate acts on new gradients and old ones (torch), or on new ones only (keras)."
    )
    rms_decay: float = option(
        None, "Decay of the running mean of squared gradients: RMSProp's rho, AdamW's beta2.", low=0, below=1
    )
    epsilon: float = option(
        None, "Added to that mean: under the root by RMSProp, outside of it by AdamW.", low=0, high=1e3
    )
    weight_decay: float = option(None, "Decay of kernels; biases and batch norms have none.", low=0, below=1)
    penalty: float = option(
        None, "Factor on the sum of squares added to the loss: kernels, and biases inside modules.", low=0, below=1
    )
    unfreeze: float = option(
        1.0, "Share of the stages, from the last one, that learn; those below keep all that they are.", above=0, high=1
    )
    depth_rate: float = option(
        1.0,
        "Factor on the rate from each part that learns to the one below it; the head has the rate.",
        above=0,
        high=1,
    )
    clip: float = option(0.0, "Longest gradient, as a norm over all tensors; 0 leaves it.", low=0, high=1e6)

    # The loss and the weights that are kept
    label_smoothing: float = option(0.1, "Share of the target that is spread over all classes.", low=0, below=1)
    class_weights: bool = option(False, "Weigh the loss of each class against its number of pictures.")
    balanced: bool = option(False, "Draw pictures so that all classes come equally often.")
    average: float = option(0.999, "Decay of the running average of the weights; 0 keeps none.", low=0, below=1)
    norm_momentum: float | Literal["auto", "origin"] = option(
        "auto",
        "Share of each batch in what batch norms remember for answering. auto: as fast as the number of steps "
        "needs, and anew before each validation; origin: as the network's origin has it, for very long runs. "
        "Averaged weights (--average) take their statistics anew whatever is said here.",
        low=0,
        high=1,
    )
    moving_variance: Literal["unbiased", "biased"] = option(
        "unbiased", "Which variance of a batch its norm remembers: PyTorch's (unbiased) or Keras' (biased)."
    )
    drop_path: float = option(
        0.0,
        "Share of the pictures that pass by the last residual branch, fewer by the ones before (stochastic depth); "
        "networks with such branches only.",
        low=0,
        below=1,
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
        VALIDATION, "Share of each class held out for validation where the data has no such split.", above=0, high=0.5
    )
    seed: int = option(0, "Start of all random numbers.", low=0, high=2**63 - 1)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Where to compute; auto takes cuda, mps, cpu.")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = option(
        "auto",
        "Arithmetic of the convolutions; auto takes bf16 where the processor has it, and fp16 with a scaled "
        "loss on GPUs that have only that.",
    )
    gradient_checkpointing: bool = option(
        False, "Keep only the maps between stages and compute the rest again on the way back: less memory, more time."
    )
    compile: bool = option(
        False, "Compile the network first: a wait of minutes for steps that some processors do faster."
    )

    def __post_init__(self) -> None:
        """Take what was left open from the optimizer, and a number of epochs where there is no time."""
        for name, value in OPTIMIZERS.get(self.optimizer, OPTIMIZERS["sgd"]).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        # A time needs no number of epochs, and one that nobody gave must not cut it short.
        if self.epochs is None and self.time is None:
            object.__setattr__(self, "epochs", EPOCHS)

    def check(self) -> None:
        """Raise UsageError naming the first flag that is out of range, ConfigError for two that do not agree."""
        for each in fields(self):
            check_option(each.name, getattr(self, each.name))
        if self.compile and self.gradient_checkpointing:
            raise ConfigError("--compile, --gradient-checkpointing: conflicting settings (leave one of them out)")
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        own = OPTIMIZERS[self.optimizer]
        for name in FIXED[self.optimizer]:
            if getattr(self, name) != own[name]:
                told = f"--{name.replace('_', '-')}: {self.optimizer} has no such setting"
                new = f"in Python begin with Recipe(optimizer={self.optimizer!r})"
                raise ConfigError(f"{told} (leave it out, or take another --optimizer; {new})")
        if own["epsilon"] and not self.epsilon:
            raise ConfigError(f"--epsilon 0: {self.optimizer} would divide by zero (give a number above 0)")
        if self.schedule == "onecycle" and self.momentum and not SWING <= self.momentum < 1 - SWING:
            told = f"schedule onecycle moves it by {SWING:g} either way"
            raise ConfigError(f"--momentum {self.momentum:g}: {told} (give {SWING:g} to below {1 - SWING:g}, or 0)")

    def to_json(self) -> dict[str, Any]:
        """Plain values for the card."""
        plain = asdict(self)
        return {**plain, "drops": list(self.drops)}


@cache
def choices(name: str) -> tuple[str, ...]:
    """The words that an option takes, alone or beside numbers; nothing where it takes other values."""
    hint = hints()[name]
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint)
    return tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))


def takes_number(name: str) -> bool:
    """Whether an option may be a number with a fraction, alone or beside words."""
    hint = hints()[name]
    return hint is float or (get_origin(hint) is not tuple and float in get_args(hint))


def is_of_kind(name: str, value: object) -> bool:
    """Whether a value is of a kind that an option takes; a word may still be unknown, a number out of range."""
    parts = (hints()[name],) if get_origin(hints()[name]) is tuple else get_args(hints()[name]) or (hints()[name],)
    return any(_is_one(part, value) for part in ((str,) if choices(name) and not takes_number(name) else parts))


def _is_one(part: Any, value: object) -> bool:
    if get_origin(part) is tuple:
        return isinstance(value, tuple) and all(type(each) in (int, float) for each in value)
    if get_origin(part) is Literal or part is str:
        return isinstance(value, str)
    return type(value) in ((int, float) if part is float else (part,))


def kind_wanted(name: str) -> str:
    """The kind of value that an option takes, in words."""
    if choices(name):
        return f"a number, {' or '.join(choices(name))}" if takes_number(name) else f"one of {', '.join(choices(name))}"
    hint = hints()[name]
    kinds = {bool: "true or false", float: "a number", int: "a whole number", int | None: "a whole number"}
    return "a list of numbers" if get_origin(hint) is tuple else kinds.get(hint, 'a text such as "20m"')


@cache
def hints() -> dict[str, Any]:
    """The type of every option."""
    return get_type_hints(Recipe)


def check_option(name: str, value: Any) -> None:
    """Raise UsageError naming the flag of an option where a value is of the wrong kind, unknown or out of range."""
    flag, known = f"--{name.replace('_', '-')}", choices(name)
    if not is_of_kind(name, value):
        raise UsageError(f"{flag} {value!r}: of the wrong kind ({kind_wanted(name)} is wanted)")
    numeric = type(value) in (int, float) and (not known or takes_number(name))
    if known and value not in known and not numeric:
        number = " or a number" if takes_number(name) else ""
        raise UsageError(f"{flag} {value}: unknown (choose {', '.join(known)}{number})")
    bounds = Recipe.__dataclass_fields__[name].metadata["bounds"]
    if value is not None and (numeric or not known) and not _inside(value, bounds):
        raise UsageError(f"{flag} {shown(value)}: out of range ({_range(bounds)})")
    if name == "drops" and not all(0 < drop < 1 for drop in value):
        shares = " ".join(f"{drop:g}" for drop in value)
        raise UsageError(f"{flag} {shares}: out of range (shares of the run, above 0 and below 1)")
    if name == "time" and value is not None:
        seconds(value, flag)


def _inside(value: Any, bounds: dict[str, float]) -> bool:
    tests = {"low": operator.ge, "high": operator.le, "above": operator.gt, "below": operator.lt}
    return all(tests[name](value, limit) for name, limit in bounds.items())


def _range(bounds: dict[str, float]) -> str:
    words = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
    return " and ".join(f"{words[name]} {bounds[name]:g}" for name in words if name in bounds)


def with_optimizer(recipe: Recipe, optimizer: str) -> Recipe:
    """The recipe with another optimizer and all that this one brings along; with its own, as it is."""
    if optimizer == recipe.optimizer:
        return recipe
    return replace(recipe, **{"optimizer": optimizer, **OPTIMIZERS.get(optimizer, {})})


def beside_time(options: dict[str, Any]) -> dict[str, Any]:
    """Options that were given on top of a named recipe; with a time among them, its epochs are left out."""
    return {"epochs": None, **options} if options.get("time") is not None else options
