"""What is known of a published weight file: its record, the hash that it declares, its accuracy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from inceptory.data.picture.preprocess import Preprocess


@dataclass(frozen=True)
class Declared:
    """The hash that a publisher gives a file."""

    kind: Literal["sha256 prefix", "md5", "sha1"]
    """A prefix is the first digits of the sha256, in the file's name after the last dash (torch.hub)."""
    digits: str
    """Lower-case hexadecimal."""
    binding: bool = True
    """Whether another hash means wrong bytes. False where it is unknown whether the digits are those of the file."""

    @property
    def algorithm(self) -> str:
        """The hash, as hashlib calls it."""
        return self.kind.removesuffix(" prefix")

    def wrong(self, digest: str) -> str:
        """What is wrong with a file's digest of this algorithm, in words; empty where it is as declared."""
        if not self.binding or digest.startswith(self.digits):
            return ""
        return f"its {self.algorithm} is {digest[: len(self.digits)]} and not {self.digits}"


@dataclass(frozen=True)
class Accuracy:
    """Single-crop ImageNet validation in percent."""

    top1: float
    top5: float
    source: str
    """Who reports it, and where."""


@dataclass(frozen=True)
class Published:
    """One published file."""

    name: str
    architecture: str
    dialect: str | None
    """None: of a network that is not built yet."""
    origin: str
    """Whose code the file belongs to."""
    file: str
    """Its name; in a repository of the hub, its path there."""
    format: str
    licence: str
    """SPDX identifier, or the publisher's word."""
    urls: tuple[str, ...] = ()
    """Where it is, the first place first; all hold the same bytes."""
    repository: str | None = None
    """Repository of the Hugging Face hub that holds it, instead of urls."""
    bundled: bool = False
    """Whether it is part of this package: no address then, and its card says what a record says of others."""
    page: str | None = None
    """Where a person may look for it, where no address of the file itself is known."""
    declared: Declared | None = None
    size: int | None = None
    """Bytes, where the publisher says so exactly."""
    classes: int | None = 1000
    """Rows of its classifier, a background class included; 0: it has none."""
    background: bool = False
    """Whether class 0 is "background"."""
    preprocess: Preprocess | None = None
    """None: not known, or no such steps as we can take."""
    accuracy: Accuracy | None = None
    note: str = ""
    readable: bool = True
    why_not: str = ""
    """Why it is not readable, and what to take instead."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
