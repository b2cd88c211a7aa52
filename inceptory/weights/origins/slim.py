"""tf-slim's names: a scope for each module and branch, layers by a number, a letter and their kernel.

tf_slim/nets/inception_v{1,2,3}.py, tensorflow/models research/slim/nets/inception_v4.py and
inception_resnet_v2.py. The kernel is left out here, for some layers carry the wrong one; v1's 5b, v3's 5c
and v3's 7b have letters of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from inceptory.weights.origins.torchvision import T
from inceptory.weights.rules import Alias, Drop, Fill, Rule, Table

GAMMA = Fill(r".*\.bn\.weight", 1.0, "slim trains without gamma")
TRAINING = (
    Drop(r"global_step", "the number of the last step"),
    Drop(
        r".+\.(Momentum|RMSProp|RMSProp_1|Adam|Adam_1|ExponentialMovingAverage)",
        "the state of an optimizer, and averages beside the weights that slim's own checkpoints have averaged",
    ),
)
LETTERS = "abcde"


def _kernels(scope: str) -> Alias:
    return Alias(rf"({scope}\..*Branch_\d\.Conv2d_\d[a-e])_\dx\d(\..+)", r"\1\2", "the kernel, which its shape tells")


def layers(scope: str, stage: str, branches: dict[int, Iterable[str]]) -> tuple[Rule, ...]:
    """The rules of one module: for each branch the names of its layers in their order."""
    return tuple(
        Rule(rf"{stage}\.branch{branch}\.{i}{T}", f"{scope}.{stage}.Branch_{branch}.Conv2d_{name}." + "{1}")
        for branch, names in branches.items()
        for i, name in enumerate(names)
    )


def up_to(count: int, last: str = "") -> tuple[str, ...]:
    """Names of `count` layers; `last` replaces that of the last one, which is strided."""
    names = tuple(f"0{letter}" for letter in LETTERS[:count])
    return (*names[:-1], last) if last else names


def forks(scope: str, stage: str, branch: int, after: int) -> tuple[Rule, ...]:
    """The two layers side by side at the end of a branch that has `after` layers before them."""
    return tuple(
        Rule(
            rf"{stage}\.branch{branch}\.{after}\.branch{i}\.0{T}",
            f"{scope}.{stage}.Branch_{branch}.Conv2d_0{LETTERS[after + i]}." + "{1}",
        )
        for i in range(2)
    )


def stem(scope: str) -> Rule:
    """Layers outside of modules, which have the same names there."""
    return Rule(rf"(Conv2d_\w+){T}", f"{scope}." + "{1}.{2}")


def head(there: str, ours: str = r"head\.classifier") -> Rule:
    """A classifier, which has no norm."""
    return Rule(rf"{ours}\.(\w+)", f"{there}.conv." + "{1}")


def aux(scope: str, second: str, classifier: str) -> tuple[Rule, ...]:
    """The auxiliary head."""
    there = f"{scope}.AuxLogits"
    return (
        Rule(rf"AuxLogits\.body\.0{T}", f"{there}.Conv2d_1b_1x1." + "{1}"),
        Rule(rf"AuxLogits\.body\.1{T}", f"{there}.{second}." + "{1}"),
        head(f"{there}.{classifier}", r"AuxLogits\.classifier"),
    )


def table(scope: str, rules: Iterable[Rule], *aliases: Alias) -> Table:
    """The table of one network."""
    kept = (*aliases, _kernels(scope))
    return Table((*rules, stem(scope)), fills=(GAMMA,), drops=TRAINING, aliases=kept)


POOL = ("0b",)
"""The layer after a pool, which itself is 0a."""
V1, V2, V3, V4, RES = "InceptionV1", "InceptionV2", "InceptionV3", "InceptionV4", "InceptionResnetV2"

INCEPTION_V1 = table(
    V1,
    (
        *(
            rule
            for stage in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
            for rule in layers(V1, f"Mixed_{stage}", {0: up_to(1), 1: up_to(2), 2: up_to(2), 3: POOL})
        ),
        head(f"{V1}.Logits.Conv2d_0c_1x1"),
    ),
    Alias(rf"({V1}\.Mixed_5b\.Branch_2\.Conv2d_0)a_3x3(\..+)", r"\1b\2", "a letter that is there twice"),
)

INCEPTION_V2 = table(
    V2,
    (
        Rule(r"Conv2d_1a_7x7\.0\.conv\.weight", f"{V2}.Conv2d_1a_7x7.depthwise"),
        Rule(r"Conv2d_1a_7x7\.1\.conv\.weight", f"{V2}.Conv2d_1a_7x7.pointwise"),
        Rule(r"Conv2d_1a_7x7\.1\.conv\.bias", f"{V2}.Conv2d_1a_7x7.conv.bias"),
        *(
            rule
            for stage in ("3b", "3c", "4b", "4c", "4d", "4e", "5b", "5c")
            for rule in layers(V2, f"Mixed_{stage}", {0: up_to(1), 1: up_to(2), 2: up_to(3), 3: POOL})
        ),
        *(
            rule
            for stage in ("4a", "5a")
            for rule in layers(V2, f"Mixed_{stage}", {0: up_to(2, "1a"), 1: up_to(3, "1a")})
        ),
        head(f"{V2}.Logits.Conv2d_1c_1x1"),
    ),
)

INCEPTION_V3 = table(
    V3,
    (
        *(
            rule
            for stage in ("5b", "5c", "5d")
            for rule in layers(V3, f"Mixed_{stage}", {0: up_to(1), 1: up_to(2), 2: up_to(3), 3: POOL})
        ),
        *layers(V3, "Mixed_6a", {0: ("1a",), 1: up_to(3, "1a")}),
        *(
            rule
            for stage in ("6b", "6c", "6d", "6e")
            for rule in layers(V3, f"Mixed_{stage}", {0: up_to(1), 1: up_to(3), 2: up_to(5), 3: POOL})
        ),
        *layers(V3, "Mixed_7a", {0: up_to(2, "1a"), 1: up_to(4, "1a")}),
        *(
            rule
            for stage in ("Mixed_7b", "Mixed_7c")
            for rule in (
                *layers(V3, stage, {0: up_to(1), 1: up_to(1), 2: up_to(2), 3: POOL}),
                *forks(V3, stage, 1, 1),
                *forks(V3, stage, 2, 2),
            )
        ),
        *aux(V3, "Conv2d_2a_5x5", "Conv2d_2b_1x1"),
        head(f"{V3}.Logits.Conv2d_1c_1x1"),
    ),
    Alias(rf"({V3}\.Mixed_5c\.Branch_1\.Conv2d_0)b_1x1(\..+)", r"\1a\2", "a letter of its own"),
    Alias(rf"({V3}\.Mixed_5c\.Branch_1\.Conv)_1_0c_5x5(\..+)", r"\g<1>2d_0b\2", "a name of its own"),
    Alias(rf"({V3}\.Mixed_7b\.Branch_1\.Conv2d_0)b_3x1(\..+)", r"\1c\2", "a letter that is there twice"),
)

INCEPTION_V4 = table(
    V4,
    (
        *layers(V4, "Mixed_3a", {1: up_to(1)}),
        *layers(V4, "Mixed_4a", {0: up_to(2, "1a"), 1: up_to(4, "1a")}),
        *layers(V4, "Mixed_5a", {0: ("1a",)}),
        *(
            rule
            for letter in "bcde"
            for rule in layers(V4, f"Mixed_5{letter}", {0: up_to(1), 1: up_to(2), 2: up_to(3), 3: POOL})
        ),
        *layers(V4, "Mixed_6a", {0: ("1a",), 1: up_to(3, "1a")}),
        *(
            rule
            for letter in "bcdefgh"
            for rule in layers(V4, f"Mixed_6{letter}", {0: up_to(1), 1: up_to(3), 2: up_to(5), 3: POOL})
        ),
        *layers(V4, "Mixed_7a", {0: up_to(2, "1a"), 1: up_to(4, "1a")}),
        *(
            rule
            for letter in "bcd"
            for rule in (
                *layers(V4, f"Mixed_7{letter}", {0: up_to(1), 1: up_to(1), 2: up_to(3), 3: POOL}),
                *forks(V4, f"Mixed_7{letter}", 1, 1),
                *forks(V4, f"Mixed_7{letter}", 2, 3),
            )
        ),
        *aux(V4, "Conv2d_2a", "Aux_logits"),
        head(f"{V4}.Logits.Logits"),
    ),
)


def blocks(ours: str, there: str, second: int) -> tuple[Rule, ...]:
    """A run of residual blocks, whose first branch and whose projection have no letter."""
    return (
        Rule(rf"{ours}\.up\.conv\.(\w+)", f"{there}.Conv2d_1x1.conv." + "{2}"),
        Rule(rf"{ours}\.body\.branch0\.0{T}", f"{there}.Branch_0.Conv2d_1x1." + "{2}"),
        *(
            Rule(rf"{ours}\.body\.branch([12])\.{i}{T}", f"{there}.Branch_{{2}}.Conv2d_0{LETTERS[i]}." + "{3}")
            for i in range(second)
        ),
    )


INCEPTION_RESNET_V2 = table(
    RES,
    (
        Rule(rf"Mixed_5b\.branch0\.0{T}", f"{RES}.Mixed_5b.Branch_0.Conv2d_1x1." + "{1}"),
        *layers(RES, "Mixed_5b", {1: up_to(2), 2: up_to(3), 3: POOL}),
        *layers(RES, "Mixed_6a", {0: ("1a",), 1: up_to(3, "1a")}),
        *layers(RES, "Mixed_7a", {0: up_to(2, "1a"), 1: up_to(2, "1a"), 2: up_to(3, "1a")}),
        *blocks(r"(block35_\d+)", f"{RES}.Repeat." + "{1}", 3),
        *blocks(r"(block17_\d+)", f"{RES}.Repeat_1." + "{1}", 3),
        *blocks(r"(block8_\d+)", f"{RES}.Repeat_2." + "{1}", 3),
        *blocks(r"(Block8)", f"{RES}." + "{1}", 3),
        *aux(RES, "Conv2d_2a_5x5", "Logits"),
        head(f"{RES}.Logits.Logits"),
    ),
)
