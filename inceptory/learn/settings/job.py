"""What a run is asked to do, written into its folder before anything else, so that it can always go on."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from inceptory.data.sources.layout import AUTO, Layout
from inceptory.errors import ConfigError, DataError, MissingError, UsageError
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.settings.transfer import ALONE, Backbone, Transfer
from inceptory.nets.variant import Variant
from inceptory.system import files
from inceptory.system.clock import seconds
from inceptory.system.text import differences

if TYPE_CHECKING:
    from inceptory.data.sources.source import Source
    from inceptory.nets.catalogue import Plan

FILE = "run.json"
"""The file that makes a folder a run."""
FORMAT = 1


@dataclass(frozen=True)
class Job:
    """Data, network and recipe of a run, and how it is kept."""

    data: str
    """Built-in set, or absolute path."""
    model: str
    variant: Variant
    recipe: Recipe
    fingerprint: str
    """Of the data: `Source.fingerprint`."""
    command: str
    """The line that makes the run again."""
    checkpoint_every: str = "5m"
    tensorboard: bool = True
    workers: int | None = None
    finished: bool = False
    layout: Layout = AUTO
    """What was said about where pictures and labels are in the data."""
    given: bool = False
    """Whether Python handed the pictures over, so that `data` is but a name for them."""
    backbone: Backbone | None = None
    """What it begins from in place of fresh weights."""
    transfer: Transfer = ALONE
    """How that is put to the pictures."""

    def plan(self, classes: int) -> Plan:
        """The network, for so many classes; raises UsageError for one that cannot be."""
        from inceptory.nets.catalogue import decide

        return decide(self.model, classes, self.variant)

    def source(self) -> Source:
        """The data, with a validation split, as it is now."""
        from inceptory.data.sources.opening import open_source

        return open_source(self.data, layout=self.layout).with_validation(self.recipe.validation)

    def going_on(self, folder: Path) -> str:
        """How a person goes on with the run."""
        if self.given:
            return f"inceptory.train(data, resume={str(folder)!r})"
        return shlex.join(["inceptory", "train", "--resume", str(folder)])

    def write(self, folder: Path) -> None:
        """Put the record into a run's folder."""
        plain = {"format": FORMAT, **asdict(self), "recipe": self.recipe.to_json()}
        files.write(folder / FILE, files.json_text(plain, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The record of a run's folder; raises MissingError or DataError."""
        if not files.exists(folder / FILE):
            raise MissingError(f"{folder}: holds no run (give the --out of an earlier train)")
        try:
            plain = msgspec.convert(json.loads(files.read(folder / FILE)), dict[str, Any])
            if plain.get("format") != FORMAT:
                raise DataError(f"{folder / FILE}: has a newer format (update inceptory)")
            found = msgspec.convert(plain, cls)
            found.recipe.check()
            return found
        except (ValueError, RecursionError, UsageError, ConfigError) as fault:
            raise DataError(f"{folder / FILE}: damaged, {fault} (start the run again)") from None

    def done(self, folder: Path) -> None:
        """Note that the run is finished."""
        replace(self, finished=True).write(folder)

    def check_same(self, folder: Path, wanted: dict[str, Any], recipe: Recipe) -> None:
        """Raise ConfigError with the differences where a resume asks for something else.

        `wanted` holds those of data, model, variant and layout that were given.
        """
        found = list[str]()
        for name, value in {**wanted, "recipe": recipe}.items():
            own = getattr(self, name)
            found += differences(own, value) if is_dataclass(own) else [f"{name} {own}, not {value}"] * (own != value)
        if found:
            raise _other(folder, found)

    def check_data(self, folder: Path, source: Source) -> None:
        """Raise ConfigError where the data is no longer what it was."""
        if source.fingerprint() != self.fingerprint:
            sizes = ", ".join(f"{name} {len(split):,}" for name, split in source.splits.items())
            if self.given:
                told = f"this run has other pictures than those that are handed over now ({sizes})"
                raise ConfigError(f"{folder}: {told} (hand over those that it was started with, or start a new run)")
            raise _other(folder, [f"the pictures of {self.data} as they were, not as they are now ({sizes})"])


def _other(folder: Path, found: Sequence[str]) -> ConfigError:
    told = "; ".join(found[:5]) + ("; ..." if len(found) > 5 else "")
    return ConfigError(f"{folder}: this run has {told} (leave that out, or start a new run with --out)")


@dataclass(frozen=True)
class Every:
    """How often a state is saved: by the clock, or by steps."""

    seconds: float | None
    steps: int | None

    @classmethod
    def of(cls, text: str) -> Every:
        """The meaning of "5m" or "200steps"; raises UsageError."""
        match = re.fullmatch(r"([1-9][0-9]*)\s*steps?", text.strip())
        if match:
            return cls(None, int(match[1]))
        try:
            return cls(seconds(text, "--checkpoint-every"), None)
        except UsageError:
            told = "not a length of time or a number of steps (such as 5m or 200steps)"
            raise UsageError(f"--checkpoint-every {text}: {told}") from None

    def due(self, steps: int, elapsed: float) -> bool:
        """Whether a state is due, so many steps and seconds after the last."""
        return steps >= self.steps if self.steps is not None else elapsed >= (self.seconds or 0)
