"""What a reproduction is asked for, kept in its folder, so that the same call goes on with it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from inceptory.data.picture.decode import examine
from inceptory.data.sources.source import Source
from inceptory.errors import DataError, UnknownName, UsageError
from inceptory.learn.settings.job import Job
from inceptory.learn.settings.options import Options, decided
from inceptory.learn.settings.recipe import Recipe
from inceptory.nets.catalogue import decide, plan
from inceptory.nets.variant import Variant
from inceptory.report.reproduced import JPEG, TUTORIALS
from inceptory.system import files

FILE = "reproduce.json"
"""The file that makes a folder a reproduction."""
FORMAT = 1
DATA = "cifar10"
RECIPES = ("tutorial", "quick")


@dataclass(frozen=True)
class Reproduction:
    """Networks that are trained one after another, and how; the defaults are the tutorials' own."""

    recipe: str = "tutorial"
    networks: tuple[str, ...] = tuple(TUTORIALS)
    """In the order of TUTORIALS."""
    width: float = 1.0
    epochs: int | None = None
    """For each network; None leaves them to the recipe."""
    time: str | None = None
    """For each network."""

    def check(self) -> None:
        """Raise UsageError or ConfigError for what cannot be trained."""
        if self.recipe not in RECIPES:
            raise UsageError(f"--recipe {self.recipe}: not of the tutorials (choose {', '.join(RECIPES)})")
        for network in self.networks:
            if network not in TUTORIALS:
                raise UnknownName("network of the tutorials", network, TUTORIALS)
            decide(network, None, self.variant)
            self.recipe_of(network)
            total = plan(network).numbers(stages=False)["total"]
            assert total == TUTORIALS[network].total, f"{network}: {total:,} parameters, not those of the tutorial"

    @property
    def variant(self) -> Variant:
        """How each network differs from the tutorials'."""
        return Variant(width=self.width)

    def recipe_of(self, network: str) -> Recipe:
        """How one of the networks is trained; raises UsageError for options out of range."""
        return decided(self.recipe, Options(epochs=self.epochs, time=self.time), network)

    def flags(self) -> list[str]:
        """The words by which it differs from the tutorials."""
        words = list[str]()
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                several = value if isinstance(value, tuple) else (value,)
                words += [
                    f"--{field.name}",
                    *(f"{each:g}" if isinstance(each, float) else str(each) for each in several),
                ]
        return words

    def command(self, out: Path | str) -> str:
        """The line for a shell that begins it, and goes on with it.

        >>> Reproduction(width=0.25, time="20m").command("runs/small")
        'inceptory reproduce cifar10 --width 0.25 --time 20m --out runs/small'
        """
        return shlex.join(["inceptory", "reproduce", DATA, *self.flags(), "--out", str(out)])

    def job(self, network: str, source: Source, command: str) -> Job:
        """The training of one of the networks; `command` goes on with all of them.

        No test picture is kept apart for a calibration: all of them are measured after each epoch.
        """
        asked: dict[str, Any] = {"given": True, "calibrated": False, "within": command}
        return Job(source.name, network, self.variant, self.recipe_of(network), source.fingerprint(), command, **asked)

    def write(self, folder: Path) -> None:
        """Write the record into the folder of the reproduction."""
        files.write(folder / FILE, files.json_text({"format": FORMAT, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Reproduction:
        """The record of a folder; raises DataError."""
        try:
            plain = msgspec.convert(json.loads(files.read(folder / FILE)), dict[str, Any])
            if plain.get("format") != FORMAT:
                raise DataError(f"{folder / FILE}: has a newer format (update inceptory)")
            return msgspec.convert(plain, cls)
        except (ValueError, RecursionError) as fault:
            raise DataError(f"{folder / FILE}: damaged, {fault} (choose another --out)") from None


def as_in_the_tutorials(source: Source) -> Source:
    """All training pictures to learn from, and the test pictures in place of validation: both measured every epoch.

    The name says so wherever a figure appears, and whether the pictures are JPEG copies of the originals. Raises
    ConfigError for data without a test split.
    """
    train, test = source.split("train"), source.split("test")
    copies = len(train) > 0 and examine(train.pictures[0], train.names[0]).format == "JPEG"
    name = f"{source.name}{f' ({JPEG})' if copies else ''}, its test pictures as validation"
    return replace(source, name=name, splits={"train": train, "validation": test}, listing=None)
