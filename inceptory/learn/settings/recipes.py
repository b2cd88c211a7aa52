"""Recipes by name: for few epochs, the tutorial's, and those of each network's own paper."""

from __future__ import annotations

from typing import Any

from inceptory.errors import UsageError
from inceptory.learn.settings.recipe import Recipe

QUICK = Recipe()
"""Made for few epochs."""

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
    norm_momentum="origin",
    moving_variance="biased",
    statistics="cifar10",
    shift_kind="continuous",
)
"""The tutorial's own training on CIFAR-10, to the letter: 300 epochs of batches of 64, rates 0.01,
0.001 and 0.0001 from epochs 1, 101 and 201, L2 of 1e-4, flips and shifts of up to 4 pixels."""

TUTORIAL_OLDER = Recipe(**{**TUTORIAL.__dict__, "epochs": 200, "drops": (0.5,)})
"""The same for its Inception v1 and v2: 200 epochs, so that the second drop, after 225, never comes."""


def _paper(**own: Any) -> Recipe:
    """What the papers share: batches of 32, rates that decay by steps from the first one on, averaged weights
    (0.9999 in the released inception_train.py), crops of 8 % of a picture and more (GoogLeNet, section 6).
    Where a paper does not say how many epochs it trained, they are Inception v3's 100."""
    shared = {"epochs": 100, "batch": 32, "schedule": "exponential", "warmup": 0.0}
    return Recipe(**{**shared, "label_smoothing": 0.0, "average": 0.9999, "shift": 0.0, "crop": 0.08, **own})


_V4 = _paper(optimizer="rmsprop")
_ALIGNED = _paper(lr=0.05, weight_decay=4e-5)
_BN_INCEPTION = _paper(epochs=150, lr=0.045, nesterov=False, weight_decay=4e-5, decay_rate=0.96, decay_epochs=8 / 6)

PAPERS = {
    # "Going Deeper with Convolutions", section 6: momentum 0.9, the rate 4 % lower every 8 epochs. What it leaves
    # open is from the training that was released (Caffe's bvlc_googlenet/solver.prototxt), of 10 million batches.
    "googlenet": _paper(
        epochs=250,
        lr=0.01,
        nesterov=False,
        momentum_rule="keras",
        weight_decay=2e-4,
        decay_rate=0.96,
        decay_epochs=8.0,
    ),
    # "Batch Normalization", section 4.2: its BN-x30, which has GoogLeNet's training with 30 times the rate
    # (0.045), decays that come six times faster, a fifth of the L2, and 6 million steps.
    "bn_inception": _BN_INCEPTION,
    "inception_v2": _BN_INCEPTION,
    # "Rethinking the Inception Architecture", sections 7 and 8: RMSProp (decay 0.9, epsilon 1), rate 0.045,
    # 0.94 of it every second epoch, gradients clipped at 2, label smoothing of 0.1, 100 epochs.
    "inception_v3": _paper(optimizer="rmsprop", clip=2.0, label_smoothing=0.1),
    # "Inception-v4, Inception-ResNet ...", section 4: the same without clipping and without a word on smoothing.
    "inception_v4": _V4,
    "inception_resnet_v1": _V4,
    "inception_resnet_v2": _V4,
    # "Xception", sections 4.3 and 4.4, on ImageNet: SGD with momentum 0.9, rate 0.045, 0.94 of it every second
    # epoch, weight decay of 1e-5. Its dropout of one half belongs to the network: --dropout 0.5.
    "xception": _paper(lr=0.045, nesterov=False, weight_decay=1e-5),
    # "Encoder-Decoder with Atrous Separable Convolution", section 4: Nesterov, rate 0.05, weight decay of 4e-5.
    **dict.fromkeys(("xception41", "xception65", "xception71"), _ALIGNED),
}
"""How each paper trained its network on ImageNet. Rates are of batches of 32 on each of up to 50 machines, none of
which waited for another: one process takes the same steps one after another, with no stale gradients."""

NAMES = ("quick", "tutorial", "paper")


def recipes(architecture: str) -> dict[str, Recipe]:
    """The named recipes that there are for a network; those of CIFAR-10 are the tutorial's and of no paper."""
    older = architecture in ("cifar_inception_v1", "cifar_inception_v2")
    found = {"quick": QUICK, "tutorial": TUTORIAL_OLDER if older else TUTORIAL}
    return found | ({"paper": PAPERS[architecture]} if architecture in PAPERS else {})


def named(name: str, architecture: str) -> Recipe:
    """The recipe of this name for a network; raises UsageError.

    Its epochs are a proposal: with a time, only those count that somebody gave (`beside_time`).
    """
    found = recipes(architecture)
    if name in found:
        return found[name]
    told = f"{architecture} has none" if name in NAMES else "no such recipe"
    raise UsageError(f"--recipe {name}: {told} (choose {', '.join(found)})")
