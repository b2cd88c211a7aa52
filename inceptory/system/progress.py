"""Progress of long work on standard error: a bar on a terminal, single lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from inceptory.errors import printable


class Meter:
    """One line of progress; `tick` moves it, `say` prints a lasting line above it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total`, which is 0 where it is not known."""
        self._progress.update(self._task, completed=done, total=total or None)

    def tick(self, note: str) -> None:
        """One more step, with a few words beside the bar."""
        self._progress.update(self._task, advance=1, note=note)

    def say_skipped(self, faults: Sequence[str], remaining: int) -> None:
        """Name the first pictures that could not be read, and count them all."""
        for fault in faults[:10]:
            self.say(printable(f"skipped: {fault}"))
        if faults:
            self.say(f"skipped {len(faults)} unreadable pictures, {remaining} remain")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A length of time in the words of a person who waits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


@contextmanager
def meter(title: str, total: int | None, done: int = 0, shown: bool = True) -> Iterator[Meter]:
    """A meter for `total` steps, `done` of them done before; the bar shows time left and vanishes at the end.

    With shown=False nothing is printed: another process does that.
    """
    console = Console(stderr=True, quiet=not shown)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rest = (TextColumn("{task.fields[note]}"), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    progress = Progress(*columns, *rest, console=console, transient=True, disable=not (shown and sys.stderr.isatty()))
    with progress:
        yield Meter(progress, progress.add_task(title, total=total, completed=done, note=""))
