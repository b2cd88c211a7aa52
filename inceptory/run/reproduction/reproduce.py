"""`reproduce`: the CIFAR-10 networks of the tutorials, trained one after another and set beside one another."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from inceptory.errors import ConfigError, InterruptedRun, UnknownName
from inceptory.learn.settings.job import FILE as RUN
from inceptory.learn.settings.job import Job
from inceptory.report.reproduced import TUTORIALS, WRITTEN, Reproduced
from inceptory.run.reproduction.forecast import DAY, NARROW, Forecast, proposals, spent
from inceptory.run.reproduction.record import DATA, FILE, Reproduction, as_in_the_tutorials
from inceptory.system import clock, files
from inceptory.system.progress import duration, meter
from inceptory.system.signals import Stop, watched
from inceptory.system.streams import processes
from inceptory.system.text import differences

if TYPE_CHECKING:
    from inceptory.data.sources.source import Source
    from inceptory.learn.pace import Pace

USUAL = Reproduction()


def reproduce(
    data: str,
    /,
    *,
    recipe: Literal["tutorial", "quick"] = "tutorial",
    networks: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    width: float = USUAL.width,
    epochs: int | None = None,
    time: str | None = None,
    out: Path | str = Path("runs/cifar10"),
) -> Reproduced:
    """Train the six CIFAR-10 networks of the tutorials one after another, and set them beside one another.

    As there, all 50,000 training pictures are learnt from, and the test pictures are measured after every epoch. First
    a few steps of each network are timed: it says how long all of it takes on this machine, and where that is more
    than a day, what would take less. Stopped at any moment, the same command goes on: networks that are finished are
    kept, and the one that was interrupted is resumed.

    For example:

        inceptory reproduce cifar10 --width 0.25 --time 20m --out runs/small

        inceptory reproduce cifar10 --networks cifar_inception_v3 cifar_inception_v3_slim --recipe quick

    Parameters
    ----------
    data
        cifar10, which is looked for in the folder that INCEPTORY_DATA names, else downloaded once.
    recipe
        tutorial: 300 epochs (200 of v1 and v2) exactly as in the tutorials; quick: 20 epochs, as `train` has them.
    networks
        Some of the networks instead of all six: cifar_inception_v1, _v2, _v3, _v3_slim, _v3_slim_352, _v3_stem_slim.
    width
        Factor on the filters of every layer, 0.25 to 2; the tutorials' is 1.
    epochs
        Passes over the training pictures for each network, in place of the recipe's.
    time
        Length of the training of each network, such as 20m or 1h, in place of epochs.
    out
        Folder for the runs, each in a folder of its network's name, and for reproduced.html (table, curves of all),
        reproduced.png and reproduced.csv.
    """
    if data != DATA:
        raise UnknownName("reproduction", data, [DATA])
    if processes() > 1:
        raise ConfigError("reproduce: the networks are trained in one process (start it without torchrun)")
    ordered = sorted(set(networks), key=[*TUTORIALS, *networks].index)
    asked = Reproduction(recipe, tuple(ordered) or USUAL.networks, width, epochs, time)
    asked.check()
    folder, command = Path(out), asked.command(out)
    begun = _begun(folder, asked)
    with nullcontext(folder) if begun else files.new_folder(folder, FILE):
        left = [name for name in asked.networks if not _is_finished(folder / name)]
        if left:
            source = _pictures()
            with watched() as stop:
                work = _Work(asked, source, folder, command, stop)
                work.check_data()
                work.say_how_long(left)
                asked.write(folder)
                work.train(left)
        else:
            print(f"{folder}: all networks are finished, nothing is left to do", file=sys.stderr)
        reproduced = Reproduced.of(folder, asked.networks, command)
        reproduced.write()
    return reproduced


def _begun(folder: Path, asked: Reproduction) -> bool:
    """Whether a folder holds the same reproduction; raises ConfigError where it holds another, or files in the way."""
    # A folder that cannot be looked into counts as free here: making it reports the reason.
    if os.path.exists(folder / FILE):
        before = Reproduction.read(folder)
        if before != asked:
            changes = "; ".join(differences(before, asked))
            again = before.command(folder)
            raise ConfigError(f"{folder}: was begun with {changes} (choose another --out, or go on with {again})")
        return True
    for name in (*TUTORIALS, *WRITTEN):
        if os.path.lexists(folder / name):
            raise ConfigError(f"{folder / name}: would be replaced (choose another --out, or move it away)")
    return False


def _is_finished(folder: Path) -> bool:
    return os.path.exists(folder / RUN) and Job.read(folder).finished


def _pictures() -> Source:
    """CIFAR-10, split as in the tutorials."""
    from inceptory.data.sources.opening import open_source

    with meter(f"looking for {DATA}", None) as bar:
        return as_in_the_tutorials(open_source(DATA, bar))


@dataclass(frozen=True)
class _Work:
    """A reproduction on its way."""

    asked: Reproduction
    source: Source
    folder: Path
    command: str
    """The line that goes on with it."""
    stop: Stop

    def check_data(self) -> None:
        """Raise ConfigError where a network was trained on other pictures than those that are here now."""
        for name in self.asked.networks:
            if os.path.exists(self.folder / name / RUN):
                Job.read(self.folder / name).check_data(self.folder / name, self.source)

    def say_how_long(self, left: Sequence[str]) -> None:
        """Time a few steps of each network that is left; where they take more than a day, say what would take less."""
        paces = self._paces(left, self.asked)
        forecast = Forecast(self.asked, paces, {name: spent(self.folder / name) for name in left})
        print(forecast, file=sys.stderr)
        if forecast.seconds <= DAY:
            return
        by_width = {self.asked.width: paces}
        if self.asked.width > NARROW:
            by_width[NARROW] = self._paces(left, replace(self.asked, width=NARROW))
        print("less than a day would take, each with another --out:", file=sys.stderr)
        for flags, seconds in proposals(self.asked, by_width):
            print(f"  {flags}: {duration(seconds)}", file=sys.stderr)

    def _paces(self, left: Sequence[str], asked: Reproduction) -> dict[str, Pace]:
        from inceptory.learn.pace import pace_of

        paces: dict[str, Pace] = {}
        with meter("timing", len(left)) as bar:
            bar.say(f"timing a few steps of each network at width {asked.width:g}")
            for name in left:
                job = asked.job(name, self.source, self.command)
                paces[name] = pace_of(job, self.source, self.folder / name, self.stop)
                bar.tick(name)
                self._leave()
        return paces

    def train(self, left: Sequence[str]) -> None:
        """Train the networks that are left, and set those that are finished beside one another after each."""
        names = self.asked.networks
        for name in left:
            print(f"network {names.index(name) + 1} of {len(names)}: {name}", file=sys.stderr)
            _train(self.asked.job(name, self.source, self.command), self.source, self.folder / name)
            Reproduced.of(self.folder, names, self.command).write()
            self._leave()

    def _leave(self) -> None:
        """Raise InterruptedRun after a signal that came between two networks."""
        if self.stop.asked:
            told = f"{self.folder}: stopped, what is finished is kept"
            raise InterruptedRun(f"{told} (go on with {self.command})")


def _train(job: Job, source: Source, folder: Path) -> None:
    """Train a network in its folder, from the start or from where it was."""
    from inceptory.learn.fit import fit

    if os.path.exists(folder / RUN):
        fit(replace(Job.read(folder), within=job.within), source, folder, clock.now(), resumed=True)
        return
    with files.new_folder(folder, RUN):
        job.write(folder)
        fit(job, source, folder, clock.now(), resumed=False)
