"""`compare`: finished runs beside one another. Reads their files only, without torch."""

from __future__ import annotations

import csv
import io
import json as json_text
import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inceptory.errors import ConfigError, DataError, MissingError, UsageError, printable
from inceptory.measure.results import percent_range
from inceptory.measure.tasks import Task, task_of
from inceptory.report import page, plots
from inceptory.system import files
from inceptory.system.outputs import Kind, claimed, marked
from inceptory.system.text import csv_text, shown
from inceptory.weights.card import Card, read_card

CURVES = ("epoch", "train_log_loss", "train_top1", "validation_log_loss", "validation_top1")
"""Columns of history.csv that are drawn; multi-label runs have another name in place of top1."""
TABLE = b"name,parameters,file_bytes,split,n,"
"""How compare.csv begins."""


@dataclass(frozen=True)
class Finished:
    """What the files of a run folder say about the run."""

    name: str
    """The folder's name, or its path where two have the same name."""
    card: Card
    task: Task
    history: list[dict[str, float]]
    """Rows of CURVES."""
    parameters: int
    file_bytes: int
    split: str
    n: int
    shares: dict[str, float]
    """Those of its task; the first is the share of pictures that were answered correctly."""
    interval: tuple[float, float]
    """95 % interval of `right`."""
    log_loss: float
    best_epoch: int
    """The epoch whose weights model.safetensors holds."""
    images_per_second: float
    minutes: float

    @property
    def right(self) -> float:
        """Share of pictures that were answered correctly."""
        return next(iter(self.shares.values()))

    @property
    def measure(self) -> tuple[str, str, int]:
        """What it was measured on: figures are comparable where this is equal."""
        data = self.card.data
        return str(data.get("fingerprint", data.get("name"))), self.split, self.n

    def to_json(self) -> dict[str, Any]:
        """Plain values; None for a loss that is not a finite number."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "file_bytes": self.file_bytes,
            "split": self.split,
            "n": self.n,
            **self.shares,
            "interval": list(self.interval),
            "log_loss": self.log_loss if math.isfinite(self.log_loss) else None,
            "best_epoch": self.best_epoch,
            "images_per_second": self.images_per_second,
            "minutes": self.minutes,
            "network": self.card.architecture,
            "dialect": self.card.dialect,
            "data": self.card.data.get("name"),
            "fingerprint": self.card.data.get("fingerprint"),
            "epochs": len(self.history),
        }


@dataclass(frozen=True)
class Comparison:
    """Several runs; printed as a table with notes, or as JSON where `as_json` is set."""

    runs: tuple[Finished, ...]
    as_json: bool = False

    def groups(self) -> list[list[Finished]]:
        """The runs in groups: those of a group were measured on the same pictures."""
        groups: dict[tuple[str, str, int], list[Finished]] = {}
        for run in self.runs:
            groups.setdefault(run.measure, []).append(run)
        return list(groups.values())

    def against_best(self, run: Finished) -> str | None:
        """How a run compares with the best one of its group: "best" (it is that one), "overlaps" (their
        intervals overlap) or "below"; None where the group has one run only.
        """
        group = next(group for group in self.groups() if run in group)
        best = max(group, key=lambda one: one.right)
        if len(group) == 1:
            return None
        return "best" if run is best else "overlaps" if run.interval[1] >= best.interval[0] else "below"

    def notes(self) -> list[str]:
        """What the reader of the table must know."""
        groups, lines = self.groups(), []
        if len(groups) > 1:
            parts = "; ".join(f"{', '.join(run.name for run in group)} on {_measured(group[0])}" for group in groups)
            lines.append(f"Not measured on the same pictures, so do not rank one group against another: {parts}.")
        if any(run.split == "validation" for run in self.runs):
            lines.append("Figures on validation are a little too good: the same pictures chose the checkpoint.")
        if any(self.against_best(run) == "overlaps" for run in self.runs):
            lines.append("overlaps: the 95 % interval meets that of the best, so the pictures may not tell them apart.")
        return lines

    def differences(self) -> list[tuple[str, ...]]:
        """(option, its value in each run) for the options of network and recipe that are not all equal."""
        settings = [{**run.card.options, **run.card.recipe, "dialect": run.card.dialect} for run in self.runs]
        names = dict.fromkeys(name for options in settings for name in options)
        rows = [(name, *(shown(options[name]) if name in options else "-" for options in settings)) for name in names]
        return [row for row in rows if len(set(row[1:])) > 1]

    @property
    def share(self) -> str:
        """Name of the share of correct answers."""
        return self._shares()[0]

    def _shares(self) -> list[str]:
        """Names of the shares; all runs have the same task."""
        return list(self.runs[0].task.shares.values())

    def cells(self) -> list[tuple[str, ...]]:
        """The rows of the table, the first one is the head."""
        right, *more = (f"{name}, %" for name in self._shares())
        head = ("run", "network", "parameters", "file, MiB", "split", right, "95 % interval", "against the best")
        return [(*head, "log-loss", "best epoch", "images/s", "minutes", *more), *map(self._row, self.runs)]

    def _row(self, run: Finished) -> tuple[str, ...]:
        right, *more = (f"{100 * share:.2f}" for share in run.shares.values())
        return (
            printable(run.name),
            run.card.architecture,
            f"{run.parameters:,}",
            f"{run.file_bytes / 2**20:.1f}",
            run.split,
            right,
            percent_range(run.interval),
            self.against_best(run) or "-",
            f"{run.log_loss:.4f}",
            f"{run.best_epoch} of {len(run.history)}",
            f"{run.images_per_second:,.0f}",
            f"{run.minutes:.1f}",
            *more,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        runs = [{**run.to_json(), "against_best": self.against_best(run)} for run in self.runs]
        return {"runs": runs, "notes": self.notes()}

    def __str__(self) -> str:
        if self.as_json:
            return json_text.dumps(self.to_json(), indent=2)
        from inceptory.nets.drawing.table import aligned

        table = aligned(self.cells(), right=(2, 3, 5, 8, 9, 10, 11, 12))
        return "\n".join([*table, *(["", *map(printable, self.notes())] if self.notes() else [])])


def compare(*runs: Path | str, out: Path | str | None = None, force: bool = False, json: bool = False) -> Comparison:
    """Compare finished runs: size, accuracy with its interval, loss, speed.

    For example:

        inceptory compare runs/a runs/b

        inceptory compare runs/* --out comparison

    Parameters
    ----------
    runs
        Folders that `train` has filled, two or more.
    out
        Folder for compare.html (table, curves of all runs, what differs in the recipes),
        compare.png and compare.csv.
    force
        Replace files of these names that this command did not write.
    json
        Print one record instead of a table.
    """
    if len(runs) < 2:
        raise UsageError(f"compare: {len(runs)} runs given (give two or more run folders)")
    folders = [Path(run) for run in runs]
    names = [Path(os.path.abspath(folder)).name for folder in folders]
    if len(set(names)) < len(names):
        names = list(map(str, folders))
    comparison = Comparison(tuple(map(finished, folders, names)), as_json=json)
    first = comparison.runs[0]
    for run in comparison.runs:
        if run.task is not first.task:
            kinds = f"{run.name} is {run.task.name}, {first.name} is {first.task.name}"
            raise ConfigError(f"compare: {kinds} (compare runs of one kind)")
    if out is not None:
        _write(Path(out), comparison, force)
    return comparison


def _measured(run: Finished) -> str:
    return f"{run.card.data.get('name', 'unknown data')} {run.split} (n {run.n:,})"


# Reading


def finished(folder: Path, name: str) -> Finished:
    """A run folder; raises MissingError where there is none, DataError for one that is no finished run."""
    if not files.is_folder(folder):
        raise MissingError(f"{folder}: no such folder (give the --out of a `train`)")
    if not files.exists(folder / "history.csv"):
        raise DataError(f"{folder}: not a run, it has no history.csv (give the --out of a `train`)")
    if not files.exists(folder / "metrics.json"):
        raise DataError(f"{folder}: an unfinished run, it has no metrics.json (let `train` come to its end)")
    model, path = folder / "model.safetensors", folder / "metrics.json"
    card = read_card(model)
    epoch = card.metrics.get("epoch")
    if not isinstance(epoch, int):
        raise DataError(f"{model}: its card names no epoch (give a folder that `train` has filled)")
    task, metrics = task_of(card.multi_label), _metrics(path)
    try:
        low, high = map(float, metrics["interval"])
        return Finished(
            name=name,
            card=card,
            task=task,
            history=_history(folder / "history.csv", task),
            parameters=int(metrics["network"]["parameters"]),
            file_bytes=model.stat().st_size,
            split=str(metrics["split"]),
            n=int(metrics["n"]),
            shares={name: float(metrics[name]) for name in task.shares},
            interval=(low, high),
            log_loss=float("nan" if metrics["log_loss"] is None else metrics["log_loss"]),
            best_epoch=epoch,
            images_per_second=float(metrics["images_per_second"]),
            minutes=float(metrics["minutes"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as fault:
        raise DataError(f"{path}: not as `train` writes it, {type(fault).__name__} {fault} (train again)") from None


def _metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json_text.loads(files.read(path).decode("utf-8"))
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{path}: no JSON, {fault} (restore it from a copy)") from None
    if not isinstance(metrics, dict):
        raise DataError(f"{path}: not as `train` writes it, no record (restore it from a copy)")
    return metrics


def _history(path: Path, task: Task) -> list[dict[str, float]]:
    try:
        lines = csv.DictReader(io.StringIO(files.read(path).decode("utf-8")))
        right = next(iter(task.shares))
        rows = [{name: float(line[name.replace("top1", right)]) for name in CURVES} for line in lines]
    except KeyError as fault:
        raise DataError(f"{path}: has no column {fault} (damaged, or of another version: train again)") from None
    except (TypeError, ValueError, csv.Error) as fault:
        raise DataError(f"{path}: damaged, {type(fault).__name__} {fault} (restore it from a copy)") from None
    if not rows:
        raise DataError(f"{path}: has no epoch (train again)")
    return rows


# Writing


def _write(folder: Path, comparison: Comparison, force: bool) -> None:
    table = _csv(comparison)
    kinds = {
        # The columns after these have other names for multi-label runs.
        "compare.csv": Kind("a comparison", lambda ends: ends.startswith(TABLE)),
        "compare.png": marked("a comparison"),
        "compare.html": marked("a comparison"),
    }
    with ExitStack() as claims:
        # Claim all three before anything is written: some of them alone are of no use.
        csv_file, png_file, page_file = (
            claims.enter_context(claimed(folder / name, kind, force=force)) for name, kind in kinds.items()
        )
        png = plots.comparison([(run.name, run.history, run.best_epoch) for run in comparison.runs], comparison.share)
        csv_file.write(table)
        png_file.write(png)
        page_file.write(
            page.render(
                "compare.html.j2",
                title=f"{len(comparison.runs)} runs compared",
                comparison=comparison,
                png=png,
                names=[run.name for run in comparison.runs],
                measured={run.name: _measured(run) for run in comparison.runs},
            )
        )


def _csv(comparison: Comparison) -> str:
    """One row for each run, fractions from 0 to 1."""
    rows = comparison.to_json()["runs"]
    for row in rows:
        row["interval_low"], row["interval_high"] = row.pop("interval")
    return csv_text(rows)
