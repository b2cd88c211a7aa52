"""Progress of long work on standard error: a bar on a terminal, single lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Meter:
    """One line of progress; `tick` moves it, `say` prints a lasting line above it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total`."""
        self._progress.update(self._task, completed=done, total=total)

    def tick(self, told: str) -> None:
        """One more step, with a few words beside the bar."""
        self._progress.update(self._task, advance=1, told=told)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def meter(title: str, total: int) -> Iterator[Meter]:
    """A meter for `total` steps; the bar shows time left and vanishes at the end."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rest = (TextColumn("{task.fields[told]}"), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    progress = Progress(*columns, *rest, console=console, transient=True, disable=not sys.stderr.isatty())
    with progress:
        yield Meter(progress, progress.add_task(title, total=total, told=""))
