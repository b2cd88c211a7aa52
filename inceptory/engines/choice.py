"""Which engine: measured on this machine once, remembered, and in 16 bits only where the answers were compared.

Remembered is a small JSON file for each model, machine and set of versions, in the folder "engines" of the cache: the
measured rates and on how many pictures an arithmetic agreed with fp32. No picture is kept, and not where it lay.

An arithmetic is compared once, by the pictures of a `Sample`: at once where a person gave them for that, else where
two calls on as many pictures as are ahead save more time by it than the comparison takes, by the measured rates. A call
on few pictures never waits for what nobody asked for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inceptory.engines import machine
from inceptory.engines.answers import Answers, Engine, Name, Precision
from inceptory.errors import InceptoryError
from inceptory.system import files
from inceptory.system.fetch import cache_folder

if TYPE_CHECKING:
    from inceptory.weights.model import Model

FORMAT = 1
FEW = 256
"""Pictures from which on it pays to measure."""
SAMPLE, LEAST = 256, 200
"""Pictures that are compared, and how many of them must be there to prove anything."""
AGREED = 0.995
"""Share of them whose first label must be that of fp32."""
CALLS = 2
"""Calls like this one within which a comparison must save the time that it takes, since it is remembered."""
BATCH = 16
EARLIER, TOO_LONG = "pictures, compared earlier", "comparing it with fp32 would take longer than it saves"
TIMED, BUDGET = 4, 2.0
"""Timed calls of an engine, and seconds after which no further one begins."""


@dataclass(frozen=True)
class Setting:
    """A way to compute."""

    engine: Name
    precision: Precision = "fp32"
    threads: int = 0
    """0: as many as there are cores."""
    streams: int = 1
    """Parts of a batch that are answered beside one another."""

    def __str__(self) -> str:
        streams = f", {self.streams} streams" if self.streams > 1 else ""
        return f"{self.engine} {self.precision}{streams}{', 1 thread' * (self.threads == 1)}"


@dataclass(frozen=True)
class Sample:
    """Pictures to compare an arithmetic with fp32 by."""

    read: Callable[[int], tuple[NDArray[np.uint8], str]]
    """From a number to pixels (N, C, H, W) of so many pictures, or fewer, and what follows their number in a line, such
    as "pictures of holiday"."""
    given: bool = False
    """Whether a person gave them for this: they are compared however few pictures are ahead."""


@dataclass(frozen=True)
class Rate:
    """What was measured of a setting."""

    setting: Setting
    images_per_s: float
    """In batches of BATCH; 0: it failed here, and is neither used nor tried again."""


@dataclass
class Note:
    """What is remembered of a model on a machine."""

    model: str = ""
    date: str = ""
    busy: bool = False
    """Whether others kept the machine busy meanwhile: such a measurement is done again."""
    rates: list[Rate] = field(default_factory=list)
    proofs: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By engine and precision: on how many pictures it agreed with fp32, and on how many it was compared."""

    def proves(self, setting: Setting) -> bool:
        """Whether answers may be computed so."""
        if setting.precision == "fp32":
            return True
        agreed, count = self.proofs.get(_arithmetic(setting), (0, 0))
        return count >= LEAST and agreed >= AGREED * count


class Choice:
    """From the settings that a wish leaves to one of them."""

    def __init__(self, model: Model, settings: list[Setting], make: Callable[[Setting], Engine]) -> None:
        self.model, self.settings, self._make = model, settings, make
        self._made: dict[Setting, Engine] = {}

    def taken(self, setting: Setting) -> Engine:
        """The engine of a setting. Only the last one is kept: two would take the memory of both."""
        if setting not in self._made:
            self._made.clear()
            self._made[setting] = self._make(setting)
        return self._made[setting]

    def settle(self, pictures: int, sample: Sample | None, *, proved: bool = False) -> tuple[Setting, str]:
        """(setting, why) for so many pictures; `proved`: the person has asked for the precision."""
        place = self._place()
        note = _read(place)
        known = {rate.setting: rate for rate in note.rates}
        lacking, given = not known.keys() >= set(self.settings), sample is not None and sample.given and not proved
        if (lacking and given) or (pictures >= FEW and (lacking or note.busy)):
            measured = self._measured()
            # Another wish may have left other settings to choose from.
            note.rates = [*measured, *(rate for rate in note.rates if rate.setting not in self.settings)]
            note.busy = bool(machine.busy())
            note.model, note.date = str(self.model.path), time.strftime("%Y-%m-%d")
            known = {rate.setting: rate for rate in note.rates}
            _write(place, note)
        if not known:
            return self.settings[0], ""
        rates = (known[one] for one in self.settings if one in known)
        order = sorted((rate for rate in rates if rate.images_per_s), key=lambda rate: -rate.images_per_s)
        before = len(note.proofs)
        compared = {} if proved or sample is None else self._prove(note, order, pictures, sample)
        if len(note.proofs) > before:
            _write(place, note)
        usable = [rate for rate in order if proved or note.proves(rate.setting)]
        if not usable:
            return self.settings[0], ""  # whose fault is told as it is made
        failed = [str(one) for one in self.settings if one in known and not known[one].images_per_s]
        return usable[0].setting, _told(usable[0], order, failed, note, None if proved else compared)

    def _measured(self) -> list[Rate]:
        """Rates of all settings, one engine after another."""
        preprocess = self.model.require_preprocess()
        shape = (preprocess.at_a_time(BATCH), len(preprocess.mean), preprocess.size, preprocess.size)
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return [Rate(setting, self._rate(setting, pixels)) for setting in self.settings]

    def _rate(self, setting: Setting, pixels: NDArray[np.uint8]) -> float:
        """Pictures a second in the fastest of some calls: what disturbs one does not count; 0 where it fails."""
        with suppress(InceptoryError):
            engine, seconds = self.taken(setting), list[float]()
            engine.answers(pixels)
            while len(seconds) < TIMED and sum(seconds) < BUDGET:
                begun = time.perf_counter()
                engine.answers(pixels)
                seconds.append(time.perf_counter() - begun)
            return len(pixels) / min(seconds)
        return 0.0

    def _prove(self, note: Note, order: list[Rate], pictures: int, sample: Sample) -> dict[str, str]:
        """Compare with fp32 what is faster than all that is proved, the fastest first, until one of them proves.

        Gives of each arithmetic that was looked at which pictures it was compared on, or why it was not.
        """
        exact = next((rate for rate in order if rate.setting.precision == "fp32"), None)
        if exact is None:
            return {}
        usable = next(rate for rate in order if note.proves(rate.setting))
        unknown: dict[str, Rate] = {}
        for rate in order[: order.index(usable)]:
            if (name := _arithmetic(rate.setting)) not in note.proofs:
                unknown.setdefault(name, rate)
        compared = dict.fromkeys(unknown, TOO_LONG)
        if not unknown or not (sample.given or _pays(pictures, exact, usable, next(iter(unknown.values())))):
            return compared
        pixels, whose = sample.read(SAMPLE)
        if len(pixels) < LEAST:
            return dict.fromkeys(compared, f"{len(pixels):,} {whose} prove nothing, {LEAST} would")
        truth = self._answered(exact.setting, pixels)
        for name, rate in unknown.items():
            note.proofs[name] = (agreement(truth, self._answered(rate.setting, pixels)), len(pixels))
            compared[name] = whose
            if note.proves(rate.setting):
                break
        return compared

    def _answered(self, setting: Setting, pixels: NDArray[np.uint8]) -> list[Answers]:
        engine = self.taken(setting)
        return [engine.answers(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]

    def _place(self) -> Path:
        model = self.model
        facts = {
            "format": FORMAT,
            "weights": model.digest(),
            "network": [model.plan.architecture, model.plan.dialect, model.plan.options()],
            "preprocess": model.require_preprocess().to_json(),
            "machine": [machine.processor(), machine.cores()],
            "versions": {name: _version(name) for name in (*machine.PACKAGES, "inceptory")},
        }
        name = hashlib.sha256(files.json_text(facts).encode()).hexdigest()[:32]
        return _folder() / f"{name}.json"


def _folder() -> Path:
    return cache_folder() / "engines"


def remembered() -> list[Path]:
    """The notes of all models."""
    return sorted(_folder().glob("*.json"))


def agreement(exact: Iterable[Answers], other: Iterable[Answers]) -> int:
    """On how many pictures both name the same label first."""
    return sum(int((one.logits.argmax(1) == two.logits.argmax(1)).sum()) for one, two in zip(exact, other, strict=True))


def _pays(pictures: int, exact: Rate, usable: Rate, faster: Rate) -> bool:
    """Whether CALLS on so many pictures end sooner although SAMPLE pictures are first answered in both ways."""
    exact_s, usable_s, faster_s = (1 / rate.images_per_s for rate in (exact, usable, faster))
    return pictures >= FEW and CALLS * pictures * (usable_s - faster_s) > SAMPLE * (exact_s + faster_s)


def _told(best: Rate, order: list[Rate], failed: list[str], note: Note, compared: dict[str, str] | None) -> str:
    """The line for a person; `compared` is what `_prove` gives, None where nobody asked for a proof."""
    slowest: Mapping[str, Rate] = {_arithmetic(rate.setting): rate for rate in reversed(order)}
    mine = _arithmetic(best.setting)
    others = [f"{name} {rate.images_per_s:.1f}" for name, rate in slowest.items() if name != mine]
    told = [f"{best.images_per_s:.1f} images/s" + (f"; {', '.join(others)}" if others else "")]
    if compared is not None and best.setting.precision != "fp32":
        agreed, count = note.proofs[mine]
        told.append(f"same first label as fp32 on {agreed:,} of {count:,} {compared.get(mine, EARLIER)}")
    if order[0] != best:
        name = _arithmetic(order[0].setting)
        agreed, count = note.proofs.get(name, (0, 0))
        why = (compared or {}).get(name, EARLIER if count else "not compared with fp32")
        why = f"same first label as fp32 on only {agreed:,} of {count:,} {why}" if count else why
        told.append(f"{name} is not used, {why}")
    if failed:
        told.append(f"{', '.join(failed)} failed")
    if note.busy:
        told.append("measured on a busy machine, and so again the next time")
    return f"engine: {best.setting} ({'; '.join(told)})"


def _arithmetic(setting: Setting) -> str:
    """What is proved together: threads and streams change no answer."""
    return f"{setting.engine} {setting.precision}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _read(place: Path) -> Note:
    """What is remembered; nothing where the file is not there or damaged."""
    try:
        return msgspec.json.decode(files.read(place), type=Note)
    except (InceptoryError, OSError, msgspec.MsgspecError, RecursionError):
        return Note()


def _write(place: Path, note: Note) -> None:
    """Remember it, where there is room to."""
    plain: dict[str, Any] = asdict(note)
    with suppress(InceptoryError, OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write(place, files.json_text(plain))
