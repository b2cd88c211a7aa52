"""Names in StyleGAN's TorchScript of the network of 2015, inception-2015-12-05.pt: those of TensorFlow's graph.

NVlabs/stylegan2-ada-pytorch metrics/metric_utils.py downloads it; its norms have no gamma.
"""

from __future__ import annotations

from inceptory.weights.origins.torchvision import COUNTERS, T
from inceptory.weights.rules import Fill, Rule, Table

STEM = {"1a_3x3": "conv", "2a_3x3": "conv_1", "2b_3x3": "conv_2", "3b_1x1": "conv_3", "4a_3x3": "conv_4"}
MODULES = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


def tower(ours: str, there: str) -> tuple[Rule, ...]:
    """A branch of several layers, of which the first has no number."""
    return (Rule(rf"{ours}\.0{T}", there + "conv.{1}"), Rule(rf"{ours}\.(\d){T}", there + "conv_{1}.{2}"))


def module(stage: str) -> tuple[Rule, ...]:
    """All layers of one module."""
    here, number = f"Mixed_{stage}", MODULES.index(stage)
    there = f"layers.mixed_{number}." if number else "layers.mixed."
    if stage == "7a":
        return (*tower(rf"{here}\.branch0", f"{there}tower."), *tower(rf"{here}\.branch1", f"{there}tower_1."))
    one = Rule(rf"{here}\.branch0\.0{T}", f"{there}conv." + "{1}")
    if stage in ("7b", "7c"):
        return (one, *_forks(here, there), Rule(rf"{here}\.branch3\.0{T}", f"{there}tower_2_conv." + "{1}"))
    branches = (*tower(rf"{here}\.branch1", f"{there}tower."), *tower(rf"{here}\.branch2", f"{there}tower_1."))
    return (one, *branches, Rule(rf"{here}\.branch3\.0{T}", f"{there}tower_2.conv." + "{1}"))


def _forks(here: str, there: str) -> tuple[Rule, ...]:
    """The branches that end in 1x3 beside 3x1."""
    return (
        Rule(rf"{here}\.branch1\.1\.branch0\.0{T}", f"{there}tower_mixed_conv." + "{1}"),
        Rule(rf"{here}\.branch1\.1\.branch1\.0{T}", f"{there}tower_mixed_conv_1." + "{1}"),
        Rule(rf"{here}\.branch2\.2\.branch0\.0{T}", f"{there}tower_1_mixed_conv." + "{1}"),
        Rule(rf"{here}\.branch2\.2\.branch1\.0{T}", f"{there}tower_1_mixed_conv_1." + "{1}"),
        Rule(rf"{here}\.branch1\.0{T}", f"{there}tower_conv." + "{1}"),
        *tower(rf"{here}\.branch2", f"{there}tower_1_"),
    )


INCEPTION_V3 = Table(
    rules=(
        *(Rule(rf"Conv2d_{ours}{T}", f"layers.{there}." + "{1}") for ours, there in STEM.items()),
        *(rule for stage in MODULES for rule in module(stage)),
        Rule(r"head\.classifier\.(\w+)", "output.{1}"),
    ),
    fills=(Fill(r".*\.bn\.weight", 1.0, "the graph of 2015 has no gamma"),),
    drops=(COUNTERS,),
)
