"""A folder written whole or not at all: made beside its place, and moved there when all is in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inceptory.engines.exported import CARD, FILES, RECORD
from inceptory.errors import ConfigError, InceptoryError, UsageError, WriteError
from inceptory.system import files

LABELS, README, PROOF, PAGE = "labels.txt", "README.md", "proof.json", "proof.html"
OWN = {CARD, LABELS, README, PROOF, PAGE, *(name for each in FILES.values() for name in each)}
"""Every file that an export may write."""


@contextlib.contextmanager
def staged(out: Path, inputs: list[Path], force: bool) -> Iterator[Path]:
    """An empty folder, whose files come to lie in `out` when all went well.

    Files of an earlier export there are replaced. Raises UsageError for a place that this command reads, ConfigError
    for a folder that holds anything else without `force`, which keeps what has other names; WriteError where nothing
    can be written.
    """
    place = Path(os.path.realpath(out))
    _check(out, place, inputs, force)
    created = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=files.TEMPORARY))
    except (OSError, ValueError) as fault:
        files.remove_empty(created)
        raise WriteError(f"--out {out}: cannot be written, {files.reason(fault)} (choose another place)") from fault
    try:
        yield folder
        _move(folder, place)
    except OSError as fault:
        problem = f"{out}: cannot be written, {files.reason(fault)}"
        raise WriteError(f"{problem} (make room or choose another place)") from fault
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        files.remove_empty(created)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder, by name."""
    sums = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _check(out: Path, place: Path, inputs: list[Path], force: bool) -> None:
    if files.exists(place) and not files.is_folder(place):
        raise UsageError(f"--out {out}: is a file (give a folder)")
    for source in inputs:
        real = Path(os.path.realpath(source))
        if real.parent == place or real == place or (files.is_folder(real) and real in place.parents):
            raise UsageError(f"--out {out}: lies in {source}, which this command reads (choose another folder)")
    try:
        held = {path.name for path in place.iterdir()} if files.exists(place) else set()
    except OSError as fault:
        raise WriteError(f"--out {out}: cannot be looked at, {files.reason(fault)} (choose another folder)") from fault
    if held and not force and not (held <= OWN and _is_ours(place / CARD)):
        raise ConfigError(f"--out {out}: holds other files (choose another folder, or --force to write beside them)")


def _is_ours(card: Path) -> bool:
    """Whether a file is the card of an export."""
    try:
        return RECORD in json.loads(files.read(card))
    except (InceptoryError, ValueError, TypeError, RecursionError):
        return False


def _move(folder: Path, place: Path) -> None:
    # mkdtemp's folders are private; this one gets what the user's umask gives any new folder.
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    if not place.exists() or not any(place.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()
        os.replace(folder, place)
        return
    stale = OWN if _is_ours(place / CARD) else set()
    # Without its card a folder is no model: whoever reads it meanwhile is told so.
    (place / CARD).unlink(missing_ok=True)
    for name in sorted(stale):
        (place / name).unlink(missing_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == CARD):
        os.replace(path, place / path.name)
