"""The CIFAR-10 networks of the tutorials, trained here and beside one another. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inceptory.measure.metrics import wilson
from inceptory.measure.results import percent_range
from inceptory.nets.drawing.table import aligned
from inceptory.report import page, plots
from inceptory.report.compare import Finished, finished
from inceptory.system import files
from inceptory.system.text import csv_text

PAGE, PLOT, TABLE = WRITTEN = ("reproduced.html", "reproduced.png", "reproduced.csv")
"""Files that are written beside the folders of the runs."""
JPEG = "JPEG copies"
"""How a data set is called whose pictures are not the originals."""
FIGURES = {
    "network": "cifar_inception_",
    "total": "parameters",
    "trainable": "trainable",
    "non_trainable": "non-trainable",
    "file_bytes": "file, MiB",
    "best": "best, %",
    "best_interval": "95 % interval",
    "best_epoch": "in epoch",
    "last": "last, %",
    "last_interval": "95 % interval",
    "minutes": "minutes",
    "images_per_second": "images/s",
    "tutorial": "the tutorials say",
}
"""Rows of the table, by their names in the .csv, where they are columns."""


@dataclass(frozen=True)
class Tutorial:
    """What the tutorials report of a network."""

    total: int
    """Parameters, statistics of batch norms included."""
    accuracy: str
    """Their words; they print no figure but one."""
    printed: bool = True
    """Whether they print the total; otherwise it is ours."""


TUTORIALS = {
    "cifar_inception_v1": Tutorial(5_984_936, "-"),
    "cifar_inception_v2": Tutorial(10_210_090, "-"),
    "cifar_inception_v3": Tutorial(23_397_866, "very poor"),
    "cifar_inception_v3_slim": Tutorial(23_229_370, "94 % and more"),
    "cifar_inception_v3_slim_352": Tutorial(21_215_770, "about as slim"),
    "cifar_inception_v3_stem_slim": Tutorial(23_397_866, "below slim", printed=False),
}
"""In their order. The last one has the layers of cifar_inception_v3, with fewer strides."""


@dataclass(frozen=True)
class Reproduced:
    """The runs that are finished, beside one another."""

    folder: Path
    runs: tuple[Finished, ...]
    command: str
    """The line that makes them, and goes on with those that are missing."""
    missing: tuple[str, ...]
    """Networks that are not finished."""

    @classmethod
    def of(cls, folder: Path, networks: Sequence[str], command: str) -> Reproduced:
        """The runs in the folder of a reproduction, each in one of its network's name; raises DataError."""
        done = [name for name in networks if files.exists(folder / name / "metrics.json")]
        runs = tuple(finished(folder / name, name) for name in done)
        return cls(folder, runs, command, tuple(name for name in networks if name not in done))

    def records(self) -> list[dict[str, Any]]:
        """A row for each network, fractions from 0 to 1."""
        return [_record(run) for run in self.runs]

    def cells(self) -> list[tuple[str, ...]]:
        """The rows of the table, the first one is the head: a network is a column, as names and figures are wide."""
        return list(zip(FIGURES.values(), *map(_cells, self.records()), strict=True))

    def notes(self) -> list[str]:
        """What the reader of the table must know."""
        data = dict.fromkeys(str(run.card.data.get("name")) for run in self.runs)
        lines = [f"Trained and measured on {'; '.join(data)}, n {self.runs[0].n:,}."]
        if any(JPEG in name for name in data):
            lines[0] += " Copies lose: at JPEG quality 75 accuracies are about 3 points below those on the originals."
        lines.append(
            "Best and last are top-1 on the test pictures, measured after every epoch as in the tutorials: the best "
            "epoch is chosen by the very pictures that it is measured on, and so a little too good; the last is not."
        )
        arithmetic = sorted({str(run.card.metrics.get("precision", "fp32")) for run in self.runs})
        lines.append(f"Accuracies are in the arithmetic of the training ({', '.join(arithmetic)}).")
        totals = "; ".join(f"{TUTORIALS[run.name].total:,}" for run in self.runs)
        unprinted = [f" ({run.name}: they print none)" for run in self.runs if not TUTORIALS[run.name].printed]
        lines.append(f"At full width all parameters are as many as the tutorials print: {totals}{''.join(unprinted)}.")
        if self.missing:
            lines.append(f"Not finished yet: {', '.join(self.missing)}.")
        return lines

    def __str__(self) -> str:
        table = aligned(self.cells(), right=range(1, 1 + len(self.runs)))
        return "\n".join([*table, "", *self.notes(), f"curves of all: {self.folder / PAGE}"])

    def write(self) -> None:
        """Write the table, the curves and the page with both."""
        curves = [(_short(run.name), run.history, run.best_epoch) for run in self.runs]
        png = plots.comparison(curves, measured="test")
        files.write(self.folder / TABLE, _csv(self.records()))
        files.write(self.folder / PLOT, png)
        asked = {"again": self.command, "computed on": self.runs[0].card.recipe["computed_on"]}
        text = page.render(
            "reproduced.html.j2", title="CIFAR-10 as in the tutorials", reproduced=self, png=png, asked=asked
        )
        files.write(self.folder / PAGE, text)


def _short(name: str) -> str:
    """A network's name where there is little room."""
    return name.removeprefix("cifar_inception_")


def _record(run: Finished) -> dict[str, Any]:
    numbers = run.card.plan().numbers(stages=False)
    best = next(row for row in run.history if row["epoch"] == run.best_epoch)["validation_top1"]
    last = run.history[-1]["validation_top1"]
    return {
        "network": run.name,
        "total": numbers["total"],
        "trainable": numbers["parameters"],
        "non_trainable": numbers["statistics"],
        "file_bytes": run.file_bytes,
        "best": best,
        "best_interval": wilson(round(best * run.n), run.n),
        "best_epoch": f"{run.best_epoch} of {len(run.history)}",
        "last": last,
        "last_interval": wilson(round(last * run.n), run.n),
        "minutes": run.minutes,
        "images_per_second": run.images_per_second,
        "tutorial": TUTORIALS[run.name].accuracy,
    }


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    shown = {name: f"{record[name]:,}" for name in ("total", "trainable", "non_trainable")}
    shown |= {name: f"{100 * record[name]:.2f}" for name in ("best", "last")}
    shown |= {name: percent_range(record[name]) for name in ("best_interval", "last_interval")}
    shown["network"] = _short(record["network"])
    shown["file_bytes"] = f"{record['file_bytes'] / 2**20:.1f}"
    shown["minutes"] = f"{record['minutes']:.1f}"
    shown["images_per_second"] = f"{record['images_per_second']:,.0f}"
    return tuple(shown.get(name, record[name]) for name in FIGURES)


def _csv(records: Sequence[dict[str, Any]]) -> str:
    """The rows, with both ends of each interval in a column of its own."""
    rows = list[dict[str, Any]]()
    for record in records:
        row = dict(record)
        for name in ("best", "last"):
            row[f"{name}_low"], row[f"{name}_high"] = row.pop(f"{name}_interval")
        rows.append(row)
    return csv_text(rows)
