"""What can be asked of an architecture: the options of every command that builds a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LARGEST_IMAGE = 2048
"""Pixels of a side: the values of one such picture take 48 MiB, the first maps of a network a GiB and more."""


@dataclass(frozen=True)
class Variant:
    """What can be asked of an architecture beside its number of classes. None takes the dialect's value."""

    dialect: str | None = None
    """Origin whose weights must fit; each network's page lists its dialects."""
    image: int | None = None
    """Height and width of the pictures in pixels."""
    width: float = 1.0
    """Factor on the filters of every layer, 0.25 to 2."""
    in_channels: int = 3
    """3 for colour, 1 for grey pictures."""
    dropout: float | None = None
    """Fraction dropped before the classifier in training."""
    se: bool = False
    """Add squeeze-and-excitation to every module."""
    scale: float | Literal["off"] | None = None
    """Factor on residual branches, above 0 to 1; 'off' is 1 (Inception-ResNets only)."""
    aux: bool = False
    """Add the auxiliary heads, which help training."""


PUBLISHED = Variant()
"""A network as its origin has it."""
