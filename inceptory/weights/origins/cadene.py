"""Cadene's names for BN-Inception: Caffe's layers, with _ for /.

pretrainedmodels/models/bninception.py. Its other networks are called as in timm.py.
"""

from __future__ import annotations

from inceptory.weights.origins.torchvision import COUNTERS
from inceptory.weights.rules import Alias, Rule, Table

FC = Alias(r"fc\.(\w+)", r"last_linear.\1", "what tsn-pytorch's BNInception calls its head")


def layer(ours: str, there: str) -> tuple[Rule, ...]:
    """A convolution and the norm beside it, which there is a layer of its own."""
    return (
        Rule(rf"{ours}\.conv\.(\w+)", there + ".{1}"),
        Rule(rf"{ours}\.bn\.(\w+)", there + "_bn.{1}"),
    )


# Stage letters shift by one within a grid, and the reductions open the next grid here but end theirs there.
STAGES = {
    "3b": "3a",
    "3c": "3b",
    "4a": "3c",
    "4b": "4a",
    "4c": "4b",
    "4d": "4c",
    "4e": "4d",
    "5a": "4e",
    "5b": "5a",
    "5c": "5b",
}
REDUCTIONS = ("4a", "5a")


def module(stage: str) -> tuple[Rule, ...]:
    """All layers of one module."""
    here, there = f"Mixed_{stage}", f"inception_{STAGES[stage]}"
    first = 0 if stage in REDUCTIONS else 1
    rules = (
        *layer(rf"{here}\.branch{first}\.0", f"{there}_3x3_reduce"),
        *layer(rf"{here}\.branch{first}\.1", f"{there}_3x3"),
        *layer(rf"{here}\.branch{first + 1}\.0", f"{there}_double_3x3_reduce"),
        *layer(rf"{here}\.branch{first + 1}\.1", f"{there}_double_3x3_1"),
        *layer(rf"{here}\.branch{first + 1}\.2", f"{there}_double_3x3_2"),
    )
    if stage in REDUCTIONS:
        return rules
    ends = (*layer(rf"{here}\.branch0\.0", f"{there}_1x1"), *layer(rf"{here}\.branch3\.0", f"{there}_pool_proj"))
    return (*rules, *ends)


BN_INCEPTION = Table(
    rules=(
        *layer("Conv2d_1a_7x7", "conv1_7x7_s2"),
        *layer("Conv2d_2b_1x1", "conv2_3x3_reduce"),
        *layer("Conv2d_2c_3x3", "conv2_3x3"),
        *(rule for stage in STAGES for rule in module(stage)),
        Rule(r"head\.classifier\.(\w+)", "last_linear.{1}"),
    ),
    drops=(COUNTERS,),
    aliases=(FC,),
)
