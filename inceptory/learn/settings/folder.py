"""The folder of a run: its states by name, and what is left of a run that was killed or failed. Without torch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from inceptory.errors import InceptoryError, InterruptedRun
from inceptory.learn.events import FOLDER as EVENTS
from inceptory.learn.settings.job import FILE
from inceptory.report.folder import BATCH
from inceptory.system import files
from inceptory.system.lock import FILE as LOCK
from inceptory.system.streams import is_first

STATES = "state"
"""The folder of states inside."""
STATE = re.compile(r"(\d{9})-([0-9a-f]{64})\.safetensors")
"""The file of a state: the step, and the digest of its content."""


def states_in(folder: Path) -> list[Path]:
    """The states of a run, newest first."""
    paths = (folder / STATES).glob("*.safetensors") if (folder / STATES).is_dir() else ()
    return sorted((path for path in paths if STATE.fullmatch(path.name)), key=lambda path: path.name, reverse=True)


def tidy(folder: Path) -> None:
    """Remove unfinished files of a process that was killed."""
    for parent in (folder, folder / STATES):
        for path in parent.glob(f"{files.TEMPORARY}*"):
            path.unlink(missing_ok=True)


def remove_states(folder: Path) -> None:
    """Remove all states: a finished run needs only its checkpoints."""
    for path in states_in(folder):
        path.unlink(missing_ok=True)
    if (folder / STATES).is_dir() and not any((folder / STATES).iterdir()):
        (folder / STATES).rmdir()


@contextlib.contextmanager
def cleared_on_failure(folder: Path, resumed: bool) -> Iterator[None]:
    """Remove the files of a new run that fails before its first state is saved; an interrupted run is kept."""
    try:
        yield
    except InterruptedRun:
        raise
    except InceptoryError:
        if is_first() and not resumed and not states_in(folder):
            _clear(folder)
        raise


def _clear(folder: Path) -> None:
    """Remove the files of a run that failed before its first epoch ended, so that it can be started again."""
    if (folder / "history.csv").exists() or (folder / LOCK).exists():
        return  # an epoch is done, or another process is running in this folder
    for path in (folder / FILE, folder / BATCH, *(folder / EVENTS).glob("events.out.tfevents.*")):
        path.unlink(missing_ok=True)
    for name in (EVENTS, STATES):
        with contextlib.suppress(OSError):
            (folder / name).rmdir()
