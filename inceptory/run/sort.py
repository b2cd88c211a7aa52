"""`predict --sort-into`: a copy of each picture in the folder of its class; nothing is moved and nothing replaced."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from inceptory.errors import WriteError, printable
from inceptory.run.pictures import Distinct
from inceptory.system import files
from inceptory.system.files import reason
from inceptory.system.progress import meter

UNSURE = "unsure"
"""Folder of the pictures whose class is not sure."""
UNFIT = frozenset('/\\:*?"<>|')
"""Letters that no name of a folder may have on one system or another."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Names of devices on Windows, with any ending."""
LONGEST = 200
"""Bytes of a folder's name, of the 255 that systems take."""
SHOWN = 20
"""Folders, and renamed classes, that are told one by one."""


def sort_pictures(
    answers: Iterable[tuple[str, Sequence[str], Sequence[float]]],
    total: int,
    labels: Sequence[str],
    folder: Path,
    least: float,
) -> str:
    """Copy pictures into folders of `folder`; gives a summary in words.

    `answers` are `total` pictures' paths, the classes that each may be sorted into and their probabilities; those from
    `least` on count, and without one the picture is unsure. `labels` are all classes. Raises WriteError; what was
    copied by then stays.
    """
    names, counts, there = folder_names(labels), Counter[str](), 0
    with meter("copying", total) as bar:
        for number, (picture, classes, probabilities) in enumerate(answers, 1):
            sure = [names[one] for one, p in zip(classes, probabilities, strict=True) if p >= least]
            for name in dict.fromkeys(sure or [UNSURE]):
                there += not copy(Path(picture), folder / name)
                counts[name] += 1
            bar(number, total)
    renamed = [label for label in dict.fromkeys(labels) if names[label] != label and counts[names[label]]]
    lines = [f"class {label!r} is in the folder {names[label]}" for label in renamed[:SHOWN]]
    several = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(SHOWN))
    more = f" and {len(counts) - SHOWN} more folders" if len(counts) > SHOWN else ""
    again = f" ({there:,} were there already)" if there else ""
    return "\n".join(map(printable, [*lines, f"sorted {total:,} pictures into {folder}: {several}{more}{again}"]))


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A folder's name for each class, no two alike on any system, none that of the unsure ones.

    Letters that a name cannot have become `_`, and names that are taken get a number; a class whose own name will do
    keeps it whatever the others are called.
    """
    distinct = Distinct({UNSURE})
    last = sorted(dict.fromkeys(labels), key=lambda label: _fit(label) != label or label.casefold() == UNSURE)
    return {label: distinct(_fit(label)) for label in last}


def _fit(label: str) -> str:
    """A class's name as that of a folder on any system."""
    letters = "".join("_" if letter in UNFIT or not letter.isprintable() else letter for letter in label)
    # Windows drops dots and spaces at the end, and a dot at the beginning hides a folder.
    name = letters.encode()[:LONGEST].decode(errors="ignore").strip(" .")
    return f"_{name}" if not name or name.partition(".")[0].casefold() in RESERVED else name


def copy(picture: Path, folder: Path) -> bool:
    """Copy a picture with its time into a folder under its name, or with a number where that is another's.

    False where its content lies there already, under its name or one of these. Raises WriteError, MissingError.
    """
    content, number, place = files.read(picture), 1, folder / picture.name
    while not _claimed(place):
        if files.is_file(place) and place.stat().st_size == len(content) and files.read(place) == content:
            return False
        number += 1
        place = folder / f"{picture.stem}-{number}{picture.suffix}"
    try:
        files.write(place, content)
    except BaseException:
        place.unlink()
        raise
    with contextlib.suppress(OSError):
        times = picture.stat()
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    return True


def _claimed(place: Path) -> bool:
    """Make an empty file, in a folder that is made too; False where there is something already."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb"):
            return True
    except FileExistsError:
        if os.path.lexists(place):
            return False
        raise WriteError(f"{place.parent}: is no folder (move it away, or choose another place)") from None
    except (OSError, ValueError) as fault:
        raise WriteError(f"{place}: cannot be written, {reason(fault)} (choose another place)") from fault
