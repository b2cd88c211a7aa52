"""Every architecture and dialect by name, and the way from a name and options to a tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any

from inceptory.errors import UnknownName, UsageError
from inceptory.nets.architecture import Architecture
from inceptory.nets.arithmetic import Row, minimum_image, rows
from inceptory.nets.blocks import Switches, Tree
from inceptory.nets.papers import (
    bn_inception,
    cifar,
    fast,
    googlenet,
    inception_resnet,
    inception_v3,
    inception_v4,
    xception,
)
from inceptory.nets.transform import inherit, widen, with_se
from inceptory.nets.variant import LARGEST_IMAGE, Variant

PAPERS = (googlenet, bn_inception, inception_v3, inception_v4, inception_resnet, xception, cifar, fast)


MOST_CHANNELS = 64
MOST_CLASSES = 1_000_000
"""A head for more would be larger than any network of the family."""


@dataclass(frozen=True)
class Plan:
    """One network, fully decided: what the torch module, the table and the checkpoint are made from."""

    architecture: str
    dialect: str
    classes: int
    """0: the network answers with its embedding."""
    image: int
    """Height and width in pixels that it is meant for; the module takes any from the minimum on."""
    width: float
    in_channels: int
    dropout: float
    se: bool
    scale: float | None
    aux: bool
    tree: Tree

    def options(self) -> dict[str, Any]:
        """What `plan` needs, beside name and dialect, to make this plan again."""
        return {key: value for key, value in self.__dict__.items() if key not in ("architecture", "dialect", "tree")}

    def rows(self) -> list[Row]:
        """The network in numbers at its image, stage by stage; heads last."""
        return rows(self.tree, self.in_channels, self.image)

    def numbers(self, *, stages: bool = True) -> dict[str, Any]:
        """The network in numbers as `inceptory show --json` prints it.

        `parameters` counts auxiliary heads where the network has them; `macs` is what an answer
        costs, and answering leaves them out.
        """
        table = self.rows()
        training_only = {aux.name for aux in self.tree.aux}
        learnable, statistics = sum(r.parameters for r in table), sum(r.statistics for r in table)
        figures: dict[str, Any] = {
            "name": self.architecture,
            "dialect": self.dialect,
            "classes": self.classes,
            "image": self.image,
            "parameters": learnable,
            "statistics": statistics,
            "total": learnable + statistics,
            "macs": sum(r.macs for r in table if r.name not in training_only),
        }
        if stages:
            keys = ("name", "shape", "parameters", "macs")
            figures["stages"] = [{key: asdict(row)[key] for key in keys} for row in table]
        return figures


@cache
def catalogue() -> Mapping[str, Architecture]:
    """Every architecture by name, in the order of the family's history."""
    return {network.name: network for paper in PAPERS for network in paper.ARCHITECTURES}


def architecture(name: str) -> Architecture:
    """The architecture of this name; raises UnknownName with the nearest one."""
    if name not in catalogue():
        raise UnknownName("network", name, catalogue(), listed="`inceptory models` lists them")
    return catalogue()[name]


def plan(name: str, *, classes: int | None = None, **variant: Any) -> Plan:
    """Decide a network by name; the keywords are the fields of `Variant`.

    Raises UnknownName for a name, dialect or keyword that does not exist, UsageError for a value
    out of range or an option that this architecture does not have.

        inceptory.plan("inception_v3", dialect="keras").numbers()["total"]      # 23851784
    """
    options = [field.name for field in fields(Variant)]
    for keyword in variant:
        if keyword not in options:
            raise UnknownName("option of a network", keyword, ["classes", *options])
    return decide(name, classes, Variant(**variant))


def decide(name: str, classes: int | None, variant: Variant) -> Plan:
    """`plan` with the options as one object."""
    network = architecture(name)
    dialect = variant.dialect or next(iter(network.dialects))
    if dialect not in network.dialects:
        raise UnknownName(f"dialect of {name}", dialect, network.dialects)
    own = network.dialects[dialect]
    switches = replace(
        own,
        classes=own.classes if classes is None else classes,
        image=own.image if variant.image is None else variant.image,
        dropout=own.dropout if variant.dropout is None else variant.dropout,
        scale=1.0 if variant.scale == "off" else variant.scale,
        aux=variant.aux,
    )
    _check_ranges(switches, variant.width, variant.in_channels)
    _check_makes_sense(network, switches)
    tree = _tree(network, switches, variant.width, variant.se)
    _check_image(network, tree, switches.image, variant.in_channels, own.image)
    return Plan(
        architecture=name,
        dialect=dialect,
        classes=switches.classes,
        image=switches.image,
        width=variant.width,
        in_channels=variant.in_channels,
        dropout=switches.dropout,
        se=variant.se,
        scale=switches.scale,
        aux=variant.aux,
        tree=tree,
    )


def check_residual(name: str, flag: str) -> None:
    """Raise UsageError where an option of residual branches is asked of a network that has none."""
    if not architecture(name).residual:
        raise UsageError(f"{flag}: {name} has no residual branches (those with: {_having('residual')})")


def _tree(network: Architecture, switches: Switches, width: float, se: bool) -> Tree:
    tree = inherit(widen(network.build(switches), width), switches.defaults)
    tree = with_se(tree) if se else tree
    return tree if switches.classes else replace(tree, head=replace(tree.head, classifier=None))


def _check_ranges(switches: Switches, width: float, in_channels: int) -> None:
    if not 0 <= switches.classes <= MOST_CLASSES:
        raise UsageError(f"--classes {switches.classes}: out of range (0, an embedding, to {MOST_CLASSES:,})")
    if not 0.25 <= width <= 2:
        raise UsageError(f"--width {width:g}: out of range (choose 0.25 to 2; 1 is the published network)")
    if not 1 <= in_channels <= MOST_CHANNELS:
        raise UsageError(
            f"--in-channels {in_channels}: out of range (1 for grey pictures, 3 for colour, at most {MOST_CHANNELS})"
        )
    if not 0 <= switches.dropout < 1:
        raise UsageError(f"--dropout {switches.dropout:g}: out of range (a fraction from 0 to below 1)")
    if switches.scale is not None and not 0 < switches.scale <= 1:
        raise UsageError(f"--scale {switches.scale:g}: out of range (above 0 to 1; 'off' is 1)")


def _check_makes_sense(network: Architecture, switches: Switches) -> None:
    if switches.aux and not network.aux:
        raise UsageError(f"--aux: {network.name} has no auxiliary heads (those with: {_having('aux')})")
    if switches.aux and not switches.classes:
        raise UsageError("--aux: auxiliary heads classify (give --classes, or leave --aux out)")
    if switches.scale is not None and not network.scale:
        raise UsageError(f"--scale: {network.name} does not scale residuals (those that do: {_having('scale')})")


def _having(trait: str) -> str:
    return ", ".join(name for name, network in catalogue().items() if getattr(network, trait))


def _check_image(network: Architecture, tree: Tree, image: int, in_channels: int, native: int) -> None:
    if image > LARGEST_IMAGE:
        problem = f"above {LARGEST_IMAGE:,}, where one picture takes gigabytes of memory"
        raise UsageError(f"--image {image}: {problem} (the networks of the family want {native}; give fewer pixels)")
    if image == native:
        return
    smallest = minimum_image(tree, in_channels)
    if image < smallest:
        raise UsageError(f"--image {image}: below the minimum of {network.name} (give {smallest} or more pixels)")
