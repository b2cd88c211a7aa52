"""What the catalogue knows of one architecture: its paper, its dialects, how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inceptory.nets.blocks import Residual, Switches, Tree, holds


@dataclass(frozen=True)
class Architecture:
    """One network of one paper."""

    name: str
    title: str
    paper: str
    """Address of the paper or of the text that defines the network."""
    year: int
    idea: str
    """One sentence."""
    build: Callable[[Any], Tree]
    """Switches to tree; each architecture takes its own subclass of `Switches`."""
    dialects: Mapping[str, Switches]
    """The default first. A dialect has the name of the origin whose weights fit it."""
    aux: bool = False
    """Whether auxiliary heads belong to it."""
    scale: bool = False
    """Whether its residual blocks are scaled."""

    @property
    def residual(self) -> bool:
        """Whether it has residual branches; the same in all dialects."""
        tree = self.build(next(iter(self.dialects.values())))
        return any(holds(stage.body, Residual) for stage in tree.stages)
