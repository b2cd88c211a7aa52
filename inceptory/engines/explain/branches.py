"""What joins in a stage of a network: branches side by side, or a shortcut and what is added to it. Without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inceptory.errors import UnknownName, UsageError
from inceptory.nets.arithmetic import Shape, steps, trace
from inceptory.nets.blocks import Chain, Concat, Residual
from inceptory.nets.catalogue import Plan
from inceptory.nets.drawing.table import summary

FINE = 4
"""Positions a side from which a map over the picture says where."""


@dataclass(frozen=True)
class Joint:
    """A stage whose map is put together of parts."""

    stage: str
    words: dict[str, str]
    """Each part's name, as in names of parameters, and what it is: {"branch0": "1x1"}; of a residual stage
    "shortcut" is the first."""
    widths: tuple[int, ...]
    """Channels of the branches side by side, in order; of a residual stage those inside its body."""
    residual: bool = False
    rectified: bool = False
    """Whether a ReLU follows the sum of a residual stage."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts, in order."""
        return tuple(self.words)


def joint_of(plan: Plan, stage: str | None = None) -> Joint:
    """That of a stage; without one the last with branches side by side, else the last residual one.

    Raises UnknownName for a stage that is not there, UsageError for one that joins nothing.
    """
    joints = {joint.stage: joint for joint in _joints(plan)}
    if stage is None:
        return next((joint for joint in reversed(joints.values()) if not joint.residual), [*joints.values()][-1])
    require_stage(plan, stage)
    if stage not in joints:
        raise UsageError(f"--module {stage}: has no branches (stages with branches: {', '.join(joints)})")
    return joints[stage]


def require_stage(plan: Plan, name: str) -> None:
    """Raise UnknownName for what is no stage of the network."""
    stages = [stage.name for stage in plan.tree.stages]
    if name not in stages:
        raise UnknownName(f"stage of {plan.architecture}", name, stages)


def located(plan: Plan) -> str:
    """The last stage whose map still tells places apart, by FINE positions a side; the last of all where none does.

    Of the networks for pictures of 32 pixels the last map is a single position.
    """
    places = {name: min(after[1:]) for name, after, _ in steps(plan.tree, plan.in_channels, plan.image, plan.image)}
    stages = [stage.name for stage in plan.tree.stages]
    return next((name for name in reversed(stages) if places[name] >= FINE), stages[-1])


def _joints(plan: Plan) -> Iterator[Joint]:
    shape: Shape = (plan.in_channels, plan.image, plan.image)
    # The steps go on with the head.
    for stage, (_, after, _) in zip(plan.tree.stages, steps(plan.tree, *shape), strict=False):
        match stage.body:
            case Concat(branches):
                yield Joint(stage.name, _words(branches), _widths(branches, shape))
            case Residual(body=Concat(branches), act=act):
                words = {"shortcut": "shortcut", **_words(branches)}
                yield Joint(stage.name, words, _widths(branches, shape), residual=True, rectified=act)
            case Residual(body=body, act=act):
                words = {"shortcut": "shortcut", "body": "body"}
                yield Joint(stage.name, words, (trace(body, shape)[0][0],), residual=True, rectified=act)
        shape = after


def _words(branches: Sequence[Chain]) -> dict[str, str]:
    return {f"branch{number}": summary(Concat((branch,))) for number, branch in enumerate(branches)}


def _widths(branches: Sequence[Chain], before: Shape) -> tuple[int, ...]:
    return tuple(trace(branch, before)[0][0] for branch in branches)
