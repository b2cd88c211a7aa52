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
    """Data, network and recipe of a run, and how its state is saved."""

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
    """Where pictures and labels are in the data, as far as the user said it."""
    given: bool = False
    """Whether the pictures came from Python, so that `data` is only a name for them."""
    backbone: Backbone | None = None
    """The trained network that it begins from, in place of fresh weights."""
    transfer: Transfer = ALONE
    """What is done with that network."""
    calibrated: bool = False
    """Whether validation pictures are kept apart to calibrate fresh weights. Not in a run that an older version began:
    there all of them have chosen."""
    within: str = ""
    """The command that trains this network among others, and goes on with it; empty for a run of its own."""

    @property
    def recipes_of(self) -> str | None:
        """Whose names its recipe may have, as `decided` takes it."""
        return None if self.transfer.finetune else self.model

    def plan(self, classes: int) -> Plan:
        """The network for so many classes; raises UsageError for options that do not fit it."""
        from inceptory.nets.catalogue import decide

        return decide(self.model, classes, self.variant)

    def source(self) -> Source:
        """The data, with a validation split, as it is now."""
        from inceptory.data.sources.opening import open_source

        return open_source(self.data, layout=self.layout).with_validation(self.recipe.validation)

    def going_on(self, folder: Path) -> str:
        """The command, or the call in Python, that goes on with the run."""
        if self.within:
            return self.within
        if self.given:
            return f"inceptory.train(data, resume={str(folder)!r})"
        return shlex.join(["inceptory", "train", "--resume", str(folder)])

    def write(self, folder: Path) -> None:
        """Write the record into the folder of a run."""
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
            job = msgspec.convert(plain, cls)
            job.recipe.check()
            return job
        except (ValueError, RecursionError, UsageError, ConfigError) as fault:
            raise DataError(f"{folder / FILE}: damaged, {fault} (start the run again)") from None

    def done(self, folder: Path) -> None:
        """Note that the run is finished."""
        replace(self, finished=True).write(folder)

    def check_same(self, folder: Path, parts: dict[str, Any], recipe: Recipe) -> None:
        """Raise ConfigError with the differences where a resume has other settings than the run.

        `parts` holds those of data, model, variant and layout that were set.
        """
        changes = list[str]()
        for name, value in {**parts, "recipe": recipe}.items():
            own = getattr(self, name)
            changes += differences(own, value) if is_dataclass(own) else [f"{name} {own}, not {value}"] * (own != value)
        if changes:
            raise _other(folder, changes)

    def check_data(self, folder: Path, source: Source) -> None:
        """Raise ConfigError where the data has changed since the run was started."""
        if source.fingerprint() != self.fingerprint:
            sizes = ", ".join(f"{name} {len(split):,}" for name, split in source.splits.items())
            if self.given:
                change = f"this run has other pictures than those that are handed over now ({sizes})"
                raise ConfigError(f"{folder}: {change} (hand over those that it was started with, or start a new run)")
            raise _other(folder, [f"the pictures of {self.data} as they were, not as they are now ({sizes})"])


def _other(folder: Path, changes: Sequence[str]) -> ConfigError:
    """The error for a resume with other settings; each change says what the run has, and what it would be now."""
    shown = "; ".join(changes[:5]) + ("; ..." if len(changes) > 5 else "")
    return ConfigError(f"{folder}: this run has {shown} (leave that out, or start a new run with --out)")


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
            problem = "not a length of time or a number of steps (such as 5m or 200steps)"
            raise UsageError(f"--checkpoint-every {text}: {problem}") from None

    def due(self, steps: int, elapsed: float) -> bool:
        """Whether it is time to save, so many steps and seconds after the last state."""
        return steps >= self.steps if self.steps is not None else elapsed >= (self.seconds or 0)
