"""`cache`: what is kept of features and of engines, where, how large, and how to be rid of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from inceptory.engines.choice import remembered
from inceptory.errors import UsageError, printable
from inceptory.features.cache import Kept, folder, kept, limit, size_of, trim


@dataclass(frozen=True)
class Listing:
    """Files of vectors, the one used last first."""

    place: Path
    files: tuple[Kept, ...]
    limit: int
    """Bytes that all may take."""
    removed: int = 0
    """Bytes that were removed by this command."""
    choices: int = 0
    """Models for which it is remembered which engine is fastest."""

    def __iter__(self) -> Iterator[Kept]:
        return iter(self.files)

    def __str__(self) -> str:
        told = [f"removed {_size(self.removed)}"] * (self.removed > 0)
        total = sum(one.size for one in self.files)
        told.append(f"{self.place}: {_size(total)} of at most {_size(self.limit)} (INCEPTORY_CACHE_LIMIT)")
        told += map(_line, self.files)
        if self.choices:
            told.append(
                f"{self.place.with_name('engines')}: the fastest engine by measurement, models: {self.choices:,}"
            )
        return "\n".join(told)


def _line(one: Kept) -> str:
    about = one.about()
    if not about:
        return f"  {_size(one.size):>9}  cannot be read; begun anew when it is wanted  {one.path.name}"
    network, layer, arithmetic = about["network"][0], about["layer"], about["arithmetic"][0]
    used = time.strftime("%Y-%m-%d", time.localtime(one.used))
    of = f"{about['vectors']:,} vectors of {network}, {layer}, {about['preprocess']['size']} pixels, {arithmetic}"
    return f"  {_size(one.size):>9}  {of}, used {used}, {printable(about['model'])}"


def _size(count: float) -> str:
    unit = next(((name, size) for name, size in (("GB", 1e9), ("MB", 1e6)) if count >= size), ("KB", 1e3))
    return f"{count / unit[1]:.1f} {unit[0]}"


def cache(
    *,
    clear: Annotated[bool, Parameter(negative="")] = False,
    keep: str | None = None,
) -> Listing:
    """Show what is kept of features and of engines, or empty it.

    For example:

        inceptory cache

        inceptory cache --clear

        inceptory cache --keep 2GB

    Features lie in the folder `features` of the cache ($INCEPTORY_CACHE, else the user's cache folder). They take
    at most $INCEPTORY_CACHE_LIMIT (20GB without it); what was not used for longest goes first. In `engines`
    lies how fast each engine answers here, a small file for each model; without it that is measured again. Weights
    and data sets that were downloaded are not touched.

    Parameters
    ----------
    clear
        Remove all of it, but for what another process has open.
    keep
        Remove what was not used for longest, until so much is left: a size such as 500MB or 2GB.
    """
    if clear and keep is not None:
        raise UsageError("--clear, --keep: give one of them (--clear removes everything)")
    most = 0 if clear else None if keep is None else size_of(keep, "--keep")
    removed = 0 if most is None else trim(most)
    for note in remembered() if clear else ():
        with contextlib.suppress(OSError):
            note.unlink()
    return Listing(folder(), tuple(kept()), limit(), removed, len(remembered()))
