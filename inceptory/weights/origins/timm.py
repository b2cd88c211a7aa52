"""timm's names, and Cadene's where they differ by the classifier only.

timm/models/inception_v4.py, inception_resnet_v2.py, xception.py, xception_aligned.py; Cadene's
pretrainedmodels/models/inceptionv4.py, inceptionresnetv2.py, xception.py. In their branches a single
layer has no number, and a pool takes one.
"""

from __future__ import annotations

from inceptory.weights.origins.torchvision import COUNTERS, T
from inceptory.weights.rules import Drop, Rule, Table

# inception_v4: stages are numbers; C modules name their forks

V4_FORKS = (
    Rule(rf"Mixed_7([bcd])\.branch0\.0{T}", "features.{1|b+19}.branch0.{2}"),
    Rule(rf"Mixed_7([bcd])\.branch1\.0{T}", "features.{1|b+19}.branch1_0.{2}"),
    Rule(rf"Mixed_7([bcd])\.branch1\.1\.branch0\.0{T}", "features.{1|b+19}.branch1_1a.{2}"),
    Rule(rf"Mixed_7([bcd])\.branch1\.1\.branch1\.0{T}", "features.{1|b+19}.branch1_1b.{2}"),
    Rule(rf"Mixed_7([bcd])\.branch2\.([012]){T}", "features.{1|b+19}.branch2_{2}.{3}"),
    Rule(rf"Mixed_7([bcd])\.branch2\.3\.branch0\.0{T}", "features.{1|b+19}.branch2_3a.{2}"),
    Rule(rf"Mixed_7([bcd])\.branch2\.3\.branch1\.0{T}", "features.{1|b+19}.branch2_3b.{2}"),
    Rule(rf"Mixed_7([bcd])\.branch3\.0{T}", "features.{1|b+19}.branch3.1.{2}"),
)
V4_STAGES = (
    Rule(rf"Conv2d_1a_3x3{T}", "features.0.{1}"),
    Rule(rf"Conv2d_2([ab])_3x3{T}", "features.{1|a+1}.{2}"),
    Rule(rf"Mixed_3a\.branch1\.0{T}", "features.3.conv.{1}"),
    Rule(rf"Mixed_4a\.branch(\d)\.(\d){T}", "features.4.branch{1}.{2}.{3}"),
    Rule(rf"Mixed_5a\.branch0\.0{T}", "features.5.conv.{1}"),
    Rule(rf"Mixed_5([b-e])\.branch0\.0{T}", "features.{1|b+6}.branch0.{2}"),
    Rule(rf"Mixed_5([b-e])\.branch3\.0{T}", "features.{1|b+6}.branch3.1.{2}"),
    Rule(rf"Mixed_5([b-e])\.branch([12])\.(\d){T}", "features.{1|b+6}.branch{2}.{3}.{4}"),
    Rule(rf"Mixed_6a\.branch0\.0{T}", "features.10.branch0.{1}"),
    Rule(rf"Mixed_6a\.branch1\.(\d){T}", "features.10.branch1.{1}.{2}"),
    Rule(rf"Mixed_6([b-h])\.branch0\.0{T}", "features.{1|b+11}.branch0.{2}"),
    Rule(rf"Mixed_6([b-h])\.branch3\.0{T}", "features.{1|b+11}.branch3.1.{2}"),
    Rule(rf"Mixed_6([b-h])\.branch([12])\.(\d){T}", "features.{1|b+11}.branch{2}.{3}.{4}"),
    Rule(rf"Mixed_7a\.branch([01])\.(\d){T}", "features.18.branch{1}.{2}.{3}"),
)
LAST_LINEAR = Rule(r"head\.classifier\.(\w+)", "last_linear.{1}")
INCEPTION_V4 = Table((*V4_STAGES, *V4_FORKS, LAST_LINEAR), drops=(COUNTERS,))

# inception_resnet_v2; facenet-pytorch numbers its repeats from 1 and shares the blocks

RESIDUAL_STEM = (
    Rule(rf"Conv2d_(1a|2a|2b|4a|4b)_3x3{T}", "conv2d_{1}.{2}"),
    Rule(rf"Conv2d_3b_1x1{T}", "conv2d_3b.{1}"),
)


def repeats(block: str, there: str) -> tuple[Rule, ...]:
    """Rules of a run of residual blocks, numbered from 1 here and from 0 there."""
    return (
        Rule(rf"{block}_(\d+)\.up\.conv\.(\w+)", there + ".{1-1}.conv2d.{2}"),
        Rule(rf"{block}_(\d+)\.body\.branch0\.0{T}", there + ".{1-1}.branch0.{2}"),
        Rule(rf"{block}_(\d+)\.body\.branch([12])\.(\d){T}", there + ".{1-1}.branch{2}.{3}.{4}"),
    )


RESIDUAL_REST = (
    Rule(r"Block8\.up\.conv\.(\w+)", "block8.conv2d.{1}"),
    Rule(rf"Block8\.body\.branch0\.0{T}", "block8.branch0.{1}"),
    Rule(rf"Block8\.body\.branch1\.(\d){T}", "block8.branch1.{1}.{2}"),
    Rule(rf"Mixed_6a\.branch0\.0{T}", "mixed_6a.branch0.{1}"),
    Rule(rf"Mixed_6a\.branch1\.(\d){T}", "mixed_6a.branch1.{1}.{2}"),
    Rule(rf"Mixed_7a\.branch([012])\.(\d){T}", "mixed_7a.branch{1}.{2}.{3}"),
)
MIXED_5B = (
    Rule(rf"Mixed_5b\.branch0\.0{T}", "mixed_5b.branch0.{1}"),
    Rule(rf"Mixed_5b\.branch3\.0{T}", "mixed_5b.branch3.1.{1}"),
    Rule(rf"Mixed_5b\.branch([12])\.(\d){T}", "mixed_5b.branch{1}.{2}.{3}"),
    Rule(rf"Conv2d_7b_1x1{T}", "conv2d_7b.{1}"),
)
BLOCKS = (*repeats("block35", "repeat"), *repeats("block17", "repeat_1"), *repeats("block8", "repeat_2"))
V2_BODY = (*RESIDUAL_STEM, *MIXED_5B, *BLOCKS, *RESIDUAL_REST)
INCEPTION_RESNET_V2 = Table((*V2_BODY, Rule(r"head\.classifier\.(\w+)", "classif.{1}")), drops=(COUNTERS,))
CADENE_INCEPTION_RESNET_V2 = Table((*V2_BODY, LAST_LINEAR), drops=(COUNTERS,))

FACENET_BLOCKS = (*repeats("block35", "repeat_1"), *repeats("block17", "repeat_2"), *repeats("block8", "repeat_3"))
FACENET = Table(
    rules=(
        *RESIDUAL_STEM,
        *FACENET_BLOCKS,
        *RESIDUAL_REST,
        Rule(r"head\.neck\.0\.weight", "last_linear.weight"),
        Rule(r"head\.neck\.1\.(\w+)", "last_bn.{1}"),
        Rule(r"head\.classifier\.(\w+)", "logits.{1}"),
    ),
    drops=(COUNTERS,),
)

# xception: their blockN is our block(N+1); inside, layers are numbered among activations and norms


def separable(ours: str, there: str, first: int) -> tuple[Rule, ...]:
    """The separable convolutions of a block, whose first one has number `first` there."""
    return (
        Rule(rf"{ours}\.body\.(\d)\.dw\.conv\.weight", f"{there}.rep.{{2*3+{first}}}.conv1.weight"),
        Rule(rf"{ours}\.body\.(\d)\.pw\.conv\.weight", f"{there}.rep.{{2*3+{first}}}.pointwise.weight"),
        Rule(rf"{ours}\.body\.(\d)\.pw\.bn\.(\w+)", f"{there}.rep.{{2*3+{first + 1}}}.{{3}}"),
    )


XCEPTION_BODY = (
    Rule(r"block1_conv(\d)\.conv\.weight", "conv{1}.weight"),
    Rule(r"block1_conv(\d)\.bn\.(\w+)", "bn{1}.{2}"),
    *separable("block(2)", "block{1-1}", 0),  # the only block that begins without an activation
    *separable(r"block(\d+)", "block{1-1}", 1),
    Rule(r"block(\d+)\.shortcut\.conv\.weight", "block{1-1}.skip.weight"),
    Rule(r"block(\d+)\.shortcut\.bn\.(\w+)", "block{1-1}.skipbn.{2}"),
    Rule(r"block14_sepconv(\d)\.dw\.conv\.weight", "conv{1+2}.conv1.weight"),
    Rule(r"block14_sepconv(\d)\.pw\.conv\.weight", "conv{1+2}.pointwise.weight"),
    Rule(r"block14_sepconv(\d)\.pw\.bn\.(\w+)", "bn{1+2}.{2}"),
)
# DeepfakeBench's copy of pretrainedmodels/models/xception.py has this layer, and uses it only on request.
UNUSED = Drop(r"adjust_channel\..*", "a layer of DeepfakeBench's that its default mode does not use")
XCEPTION = Table((*XCEPTION_BODY, Rule(r"head\.classifier\.(\w+)", "fc.{1}")), drops=(COUNTERS, UNUSED))
CADENE_XCEPTION = Table((*XCEPTION_BODY, LAST_LINEAR), drops=(COUNTERS, UNUSED))

# aligned xceptions: one list of blocks there, three flows here


def aligned(entry: int, middle: int) -> Table:
    """The table of an aligned Xception with so many blocks in its entry and middle flows."""
    end = entry + middle
    return Table(
        rules=(
            Rule(rf"entry_conv(\d){T}", "stem.{1-1}.{2}"),
            *_flow(r"entry_block(\d+)\.body", "blocks.{1-1}"),
            *_flow(r"middle_block(\d+)\.body", f"blocks.{{1+{entry - 1}}}"),
            *_flow(r"exit_block(1)\.body", f"blocks.{end}"),
            *_flow(r"exit_block(2)", f"blocks.{end + 1}"),
            Rule(rf"entry_block(\d+)\.shortcut{T}", "blocks.{1-1}.shortcut.{2}"),
            Rule(rf"exit_block1\.shortcut{T}", f"blocks.{end}.shortcut." + "{1}"),
            Rule(r"head\.classifier\.(\w+)", "head.fc.{1}"),
        ),
        drops=(COUNTERS,),
    )


def _flow(ours: str, there: str) -> tuple[Rule, ...]:
    stack = there + ".stack.conv{2+1}"
    return (
        Rule(rf"{ours}\.(\d)\.(dw|pw)\.conv\.weight", stack + ".conv_{3}.weight"),
        Rule(rf"{ours}\.(\d)\.(dw|pw)\.bn\.(\w+)", stack + ".bn_{3}.{4}"),
    )
