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
    # The values with which the recipe quick was measured (benchmarks/README.md).
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
    # The defaults of torch.optim.AdamW, from Kingma and Ba 2014 and Loshchilov and Hutter 2017, except for the
    # rate: theirs is 0.001; in short runs on digits and CIFAR-10 three times that was better in all of four cases.
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
    # Rate and momentum of airbench94_muon (github.com/KellerJordan/cifar10-airbench); what is no kernel of a
    # convolution moves by AdamW, at a share of the rate (learn/update/muon.py).
    "muon": {
        "lr": 0.24,
        "momentum": 0.6,
        "nesterov": True,
        "momentum_rule": "torch",
        "rms_decay": 0.99,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
        "penalty": 0.0,
    },
    # Szegedy et al. 2015, "Rethinking the Inception Architecture", section 8; momentum and weight decay are
    # from its released code (tf-slim: train_image_classifier.py).
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
"""Defaults of each optimizer. SGD has no running mean of squares: 0 stands for none."""

FIXED = {
    "sgd": ("rms_decay", "epsilon"),
    "adamw": ("nesterov", "momentum_rule"),
    "muon": ("nesterov", "momentum_rule", "penalty"),
    "rmsprop": ("nesterov",),
}
"""Settings that an optimizer does not have, so that they cannot be changed."""

SWING = 0.05
"""How far schedule onecycle moves the momentum up and down: between 0.95 and 0.85 for 0.9, as PyTorch does."""

SMALL = 0.75
"""Side of the pictures in the first part of progressive training, as a share of their own."""

EPOCHS = 20
"""Epochs of a recipe that sets neither epochs nor a time."""


def option(default: Any, sentence: str, **bounds: float) -> Any:
    """A field with its help text and its range: `low` and `high` are allowed values, `above` and `below` are not."""
    return field(default=default, metadata={"sentence": sentence, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """Every option of a training; its defaults are the recipe `quick` (recipes/quick.toml)."""

    # How long
    epochs: int | None = option(
        None, "Passes over the training pictures; together with --time, the largest number of them.", low=1, high=1e6
    )
    time: str | None = option(
        None,
        "Length of the whole command, such as 20m or 1h, in place of epochs: from its start to its last file. "
        "The schedule is fitted to it, except exponential, inverse and plateau, which count epochs or steps.",
    )
    batch: int = option(64, "Pictures that pass through the network at once.", low=2, high=2**16)
    accumulate: int = option(1, "Batches whose gradients are added up for one step.", low=1, high=2**16)
    stop_after: int = option(0, "Stop after so many epochs without a better validation; 0: never.", low=0, high=1e6)

    # The step. Where the default is None, the value comes from OPTIMIZERS.
    optimizer: Literal["sgd", "adamw", "muon", "rmsprop"] = option(
        "sgd",
        "SGD, AdamW, Muon (kernels of convolutions by orthogonal momentum, all else by AdamW), or RMSProp by "
        "TensorFlow's rule; each has its own defaults for the options below.",
    )
    lr: float = option(None, "Learning rate at its peak.", above=0, high=100)
    schedule: Literal["cosine", "onecycle", "step", "exponential", "inverse", "plateau", "constant"] = option(
        "cosine",
        "The rate after its warm-up: along a cosine to zero, in a straight line to zero, a tenth at each drop, "
        "times --decay-rate every --decay-epochs, divided by 1 + --decay x steps, a tenth when validation stops "
        "improving, or constant.",
    )
    warmup: float = option(0.2, "Share of all steps in which the rate rises to its peak.", low=0, below=1)
    drops: tuple[float, ...] = option((), "Shares of the epochs after which schedule step divides the rate by ten.")
    decay_rate: float = option(0.94, "Factor on the rate at each decay of schedule exponential.", above=0, high=1)
    decay_epochs: float = option(2.0, "Epochs from one decay of schedule exponential to the next.", above=0, high=1e6)
    decay: float = option(1e-6, "Decay of schedule inverse at each step, as Keras' SGD has it.", low=0, high=1e6)
    patience: int = option(
        5, "Epochs without a better validation until schedule plateau divides the rate by ten.", low=1, high=1e6
    )
    momentum: float = option(
        None,
        "Momentum of SGD, RMSProp and of Muon's kernels; beta1 of AdamW, also inside Muon. Schedule onecycle lowers it "
        f"while the rate rises, from {SWING:g} above this value to {SWING:g} below, and raises it again while the rate "
        "falls.",
        low=0,
        below=1,
    )
    nesterov: bool = option(None, "Look ahead along the momentum: SGD; Muon always does.")
    momentum_rule: Literal["torch", "keras"] = option(
        None, "Whether a new rate applies to earlier gradients as well (torch), or to new ones only (keras)."
    )
    rms_decay: float = option(
        None, "Decay of the running mean of squared gradients: RMSProp's rho, AdamW's beta2.", low=0, below=1
    )
    epsilon: float = option(
        None, "Added to that mean: under the square root in RMSProp, outside of it in AdamW.", low=0, high=1e3
    )
    weight_decay: float = option(
        None, "Weight decay of kernels but those that Muon turns; biases and batch norms have none.", low=0, below=1
    )
    penalty: float = option(
        None,
        "Factor on the sum of squared weights that is added to the loss: of kernels, and of biases inside modules.",
        low=0,
        below=1,
    )
    unfreeze: float = option(
        1.0, "Share of the stages, from the last one, that learn; those below stay as they are.", above=0, high=1
    )
    depth_rate: float = option(
        1.0,
        "Factor on the rate from each part that learns to the one below it; the head has the full rate.",
        above=0,
        high=1,
    )
    freeze_norms: bool = option(
        False, "Batch norms stay as they are and standardise by what they remember, as in answering."
    )
    whitening: bool = option(
        False,
        "Begin the first convolution with the patterns in which patches of the training pictures vary, each with both "
        "signs, and leave it so.",
    )
    clip: float = option(
        0.0,
        "Largest norm of the gradient over all tensors: a longer one is scaled down; 0 switches this off.",
        low=0,
        high=1e6,
    )

    # The loss, and the weights that are saved
    label_smoothing: float = option(0.1, "Share of the target that is spread over all classes.", low=0, below=1)
    class_weights: bool = option(False, "Weight the loss of each class by the inverse of its number of pictures.")
    balanced: bool = option(False, "Draw pictures so that all classes are equally frequent.")
    skip_easy: float = option(
        0.0,
        "Share of the training pictures that an epoch leaves out, by chance among the half with the smaller losses; "
        "those of it that are shown count for them. Not in the last eighth of the training.",
        low=0,
        below=0.5,
    )
    average: float = option(0.999, "Decay of the running average of the weights; 0: no average.", low=0, below=1)
    norm_momentum: float | Literal["auto", "origin"] = option(
        "auto",
        "Share of each batch in the running statistics of batch norms. auto: fitted to the number of steps, and "
        "statistics are computed anew before each validation; origin: the value of the network's origin, for very "
        "long runs. For averaged weights (--average) they are always computed anew.",
        low=0,
        high=1,
    )
    moving_variance: Literal["unbiased", "biased"] = option(
        "unbiased", "Which variance goes into the running statistics: PyTorch's (unbiased) or Keras' (biased)."
    )
    drop_path: float = option(
        0.0,
        "Share of the pictures that skip the last residual branch; earlier branches are skipped less often "
        "(stochastic depth). Only for networks with residual branches.",
        low=0,
        below=1,
    )

    # The pictures
    statistics: Literal["own", "cifar10"] = option(
        "own", "Mean and standard deviation for standardising: of the training pictures, or the tutorial's of CIFAR-10."
    )
    flip: Literal["random", "alternate", "off"] = option(
        "random", "Mirror a random half of the pictures, each picture in every second epoch, or none."
    )
    shift: float = option(0.125, "Largest move of a picture, as a share of its side.", low=0, below=1)
    shift_kind: Literal["reflect", "zero", "continuous"] = option(
        "reflect",
        "By whole pixels with a mirrored or a black border, or by fractions of pixels with zeros, as Keras does.",
    )
    progressive: float = option(
        0.0,
        "Share of the training, from its start, in which pictures pass at three quarters of their side, in about half "
        "of the time; 0: none.",
        low=0,
        below=1,
    )
    crop: float = option(0.0, "Smallest share of the area that a random crop keeps; 0: no crops.", low=0, high=1)
    trivial: bool = option(False, "TrivialAugment: one random change of random strength for each picture.")
    colour: float = option(0.0, "Strength of random brightness, contrast, saturation and hue.", low=0, high=1)
    light: float = option(
        0.0,
        "Largest shift and stretch of a picture's standardised values (brightness, contrast).",
        low=0,
        below=1,
    )
    erase: float = option(
        0.0, "Share of the pictures in which a rectangle is erased: the mean stands there.", low=0, high=1
    )
    mixup: float = option(0.0, "Strength (alpha) of MixUp; 0: none.", low=0, high=100)
    cutmix: float = option(0.0, "Strength (alpha) of CutMix; 0: none.", low=0, high=100)

    # The rest
    validation: float = option(
        VALIDATION,
        "Share of each class held out for validation where the data has no such split. Of 100 validation pictures and "
        "more half, at most 2,000, choose nothing and calibrate the answers (without --from).",
        above=0,
        high=0.5,
    )
    seed: int = option(0, "Seed of all random numbers.", low=0, high=2**63 - 1)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Where to compute; auto takes cuda, mps, cpu.")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = option(
        "auto",
        "Arithmetic of the convolutions; auto takes bf16 where the processor has it, and fp16 with a scaled "
        "loss on GPUs that have only that.",
    )
    gradient_checkpointing: bool = option(
        False,
        "Keep only the feature maps between stages and compute the others again in the backward pass: less memory, "
        "more time.",
    )
    compile: bool = option(
        False, "Compile the network first: this takes minutes, and makes steps faster on some processors."
    )

    def __post_init__(self) -> None:
        """Fill in the defaults of the optimizer, and the number of epochs if there is no time."""
        for name, value in OPTIMIZERS.get(self.optimizer, OPTIMIZERS["sgd"]).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        # A run with a time needs no number of epochs, and a default number must not end it early.
        if self.epochs is None and self.time is None:
            object.__setattr__(self, "epochs", EPOCHS)

    def check(self) -> None:
        """Raise UsageError for the first option that is out of range, ConfigError for options in conflict."""
        for each in fields(self):
            check_option(each.name, getattr(self, each.name))
        if self.compile and self.gradient_checkpointing:
            raise ConfigError("--compile, --gradient-checkpointing: conflicting settings (leave one of them out)")
        if self.balanced and self.skip_easy:
            raise ConfigError("--balanced, --skip-easy: conflicting settings (leave one of them out)")
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        own = OPTIMIZERS[self.optimizer]
        for name in FIXED[self.optimizer]:
            if getattr(self, name) != own[name]:
                problem = f"--{name.replace('_', '-')}: {self.optimizer} has no such setting"
                in_python = f"in Python begin with Recipe(optimizer={self.optimizer!r})"
                raise ConfigError(f"{problem} (leave it out, or take another --optimizer; {in_python})")
        if own["epsilon"] and not self.epsilon:
            raise ConfigError(f"--epsilon 0: {self.optimizer} would divide by zero (give a number above 0)")
        if self.schedule == "onecycle" and self.momentum and not SWING <= self.momentum < 1 - SWING:
            problem = f"schedule onecycle moves it by {SWING:g} either way"
            raise ConfigError(f"--momentum {self.momentum:g}: {problem} (give {SWING:g} to below {1 - SWING:g}, or 0)")

    def to_json(self) -> dict[str, Any]:
        """Plain values for the card."""
        plain = asdict(self)
        return {**plain, "drops": list(self.drops)}


@cache
def choices(name: str) -> tuple[str, ...]:
    """The words that an option accepts, with or without numbers; empty where it accepts no words."""
    hint = hints()[name]
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint)
    return tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))


def takes_number(name: str) -> bool:
    """Whether an option accepts any number (with a fraction), with or without words."""
    hint = hints()[name]
    return hint is float or (get_origin(hint) is not tuple and float in get_args(hint))


def is_of_kind(name: str, value: object) -> bool:
    """Whether a value has a type that an option accepts; a word may still be unknown, a number out of range."""
    parts = (hints()[name],) if get_origin(hints()[name]) is tuple else get_args(hints()[name]) or (hints()[name],)
    return any(_is_one(part, value) for part in ((str,) if choices(name) and not takes_number(name) else parts))


def _is_one(part: Any, value: object) -> bool:
    if get_origin(part) is tuple:
        return isinstance(value, tuple) and all(type(each) in (int, float) for each in value)
    if get_origin(part) is Literal or part is str:
        return isinstance(value, str)
    return type(value) in ((int, float) if part is float else (part,))


def kind_wanted(name: str) -> str:
    """The kind of value that an option accepts, in words."""
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
    """Raise UsageError for a value that is of the wrong kind, unknown or out of range; it names the option's flag."""
    flag, words = f"--{name.replace('_', '-')}", choices(name)
    if not is_of_kind(name, value):
        raise UsageError(f"{flag} {value!r}: of the wrong kind ({kind_wanted(name)} is wanted)")
    numeric = type(value) in (int, float) and (not words or takes_number(name))
    if words and value not in words and not numeric:
        number = " or a number" if takes_number(name) else ""
        raise UsageError(f"{flag} {value}: unknown (choose {', '.join(words)}{number})")
    bounds = Recipe.__dataclass_fields__[name].metadata["bounds"]
    if value is not None and (numeric or not words) and not _inside(value, bounds):
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
    """The recipe with this optimizer and its defaults; unchanged if the recipe has it already."""
    if optimizer == recipe.optimizer:
        return recipe
    return replace(recipe, **{"optimizer": optimizer, **OPTIMIZERS.get(optimizer, {})})


def beside_time(options: dict[str, Any]) -> dict[str, Any]:
    """Options that change a named recipe; if a time is among them, the recipe's number of epochs is dropped."""
    return {"epochs": None, **options} if options.get("time") is not None else options
