"""The run folder: history, metrics, curves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from inceptory import files
from inceptory.learn.results import Epoch, Metrics
from inceptory.nets.catalogue import Plan

TRAIN, VALIDATION = "#3b6fb6", "#d1622b"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """JSON for people and programs: indented, Unicode kept."""
    files.write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_history(folder: Path, rows: list[dict[str, Any]]) -> None:
    """history.csv: one line an epoch, fractions from 0 to 1, seconds."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(
        [{key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    )
    files.write(folder / "history.csv", text.getvalue())


def read_history(folder: Path) -> list[Epoch]:
    """The rows that `write_history` wrote."""
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        kinds = get_type_hints(Epoch)
        return [Epoch(**{key: kinds[key](value) for key, value in row.items()}) for row in csv.DictReader(file)]


def write_metrics(
    folder: Path, metrics: Metrics, split: str, plan: Plan, epochs: Sequence[Epoch], minutes: float
) -> None:
    """metrics.json: what the best checkpoint scores, and what it took."""
    numbers = plan.numbers(stages=False)
    trained = sum(row.seconds for row in epochs)
    speed = sum(row.images_per_second * row.seconds for row in epochs) / trained
    taken = {"minutes": round(minutes, 3), "images_per_second": round(speed, 1), "epochs": len(epochs)}
    network = {key: numbers[key] for key in ("name", "parameters", "total", "macs")}
    write_json(folder / "metrics.json", {**metrics.to_json(), "split": split, "network": network, **taken})


def draw_curves(path: Path, title: str, epochs: Sequence[Epoch]) -> None:
    """Loss and accuracy of training and validation over the epochs, as a PNG."""
    # The object interface: no global state, no window system, safe in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    numbers = [row.epoch for row in epochs]
    series = (
        (left, "loss", [row.train_loss for row in epochs], [row.validation_loss for row in epochs]),
        (right, "top-1, %", [100 * row.train_top1 for row in epochs], [100 * row.validation_top1 for row in epochs]),
    )
    for axes, name, train, validation in series:
        axes.plot(numbers, train, color=TRAIN, marker="o", markersize=3, label="training (augmented)")
        axes.plot(numbers, validation, color=VALIDATION, marker="o", markersize=3, label="validation")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    best = max(epochs, key=lambda row: row.validation_top1)
    figure.suptitle(f"{title}: best validation top-1 {100 * best.validation_top1:.1f} % in epoch {best.epoch}")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    files.write(path, image.getvalue())
