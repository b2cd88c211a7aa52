"""The run folder: history, metrics, drawings, one page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from inceptory.errors import DataError
from inceptory.measure.results import Details, Ending, Epoch, Metrics, Run, best_epoch
from inceptory.measure.tasks import Task, task_of
from inceptory.measure.vectors import NOTHING, Insight, Reason
from inceptory.nets.catalogue import Plan
from inceptory.report import plots
from inceptory.report.scatter import features
from inceptory.report.story import Story
from inceptory.system import clock, files
from inceptory.system.text import csv_text
from inceptory.weights.card import Card, read_card

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inceptory.measure.evaluate import Scored

MISTAKES = 24
"""Number of wrong answers that the page shows."""
BATCH = "first-batch.png"
SHOWN = 32
"""Number of pictures in it."""


def write_batch(folder: Path, pixels: NDArray[np.uint8], labels: Sequence[Sequence[tuple[str, float]]]) -> float:
    """Write first-batch.png; returns the seconds that drawing it took.

    `pixels` are (n, H, W, C); `labels` are the classes of each picture, as (name, share).
    """
    plots.families()  # loads matplotlib, which happens only once and is not part of the drawing time
    start = clock.now()
    png = plots.pictures(pixels[:SHOWN], labels[:SHOWN])
    seconds = clock.now() - start
    files.write(folder / BATCH, png)
    return seconds


def expected(drawing: float, classes: int) -> float:
    """Seconds that `write_run` will take if `write_batch` took `drawing`: more classes make a larger matrix."""
    return drawing * (4 + (classes if classes <= plots.DRAWN else 0) / 28)


def write_run(
    folder: Path,
    *,
    card: Card,
    plan: Plan,
    epochs: Sequence[Epoch],
    test: Scored,
    split: str,
    minutes: float,
    ending: Ending,
    command: str,
    kept: Epoch | None = None,
    insight: Insight = NOTHING,
) -> Metrics:
    """Write the results of a finished run: metrics.json, report.html, features.png, the plots of its task, and
    curves.png where there were epochs: a head alone has none.

    `model.safetensors` must be in the folder already, first-batch.png may be. `test` holds the answers to the split
    of this name; `insight` is what they rest on; `command` is the line that repeats the run; `kept` is the epoch of
    the network that is kept, if it is not the best one. Returns the metrics of `test`.
    """
    metrics, details = test.metrics(), test.details(card.labels)
    speed = images_per_second(epochs)
    effort: dict[str, Any] = {"minutes": round(minutes, 3), "images_per_second": round(speed, 1), "epochs": len(epochs)}
    effort |= {"steps": ending.steps, "steps_per_epoch": ending.per_epoch, "ended_by": ending.by}
    model = folder / "model.safetensors"
    # Numbers first: plots and page can be made from them again.
    files.write(
        folder / "metrics.json", json_page(record(metrics, details, plan, model.stat().st_size, split=split, **effort))
    )
    story = Story(
        task=test.task,
        card=card,
        plan=plan,
        epochs=epochs,
        metrics=metrics,
        details=details,
        mistakes=[
            replace(mistake, pixels=_upright(card, mistake.pixels)) for mistake in test.mistakes(card.labels, MISTAKES)
        ],
        insight=replace(insight, reasons=[_with_upright(card, reason) for reason in insight.reasons]),
        split=split,
        minutes=minutes,
        ending=ending,
        images_per_second=speed,
        file_bytes=model.stat().st_size,
        command=command,
    )
    pngs = {}
    if story.has_curves:
        pngs["curves"] = plots.curves(plan.architecture, epochs, kept or best_epoch(epochs))
    pngs |= {name: plots.DRAWINGS[name](details) for name in test.task.drawings}
    if insight.plane is not None:
        pngs["features"] = features(insight.plane, card.labels)
    for name, png in pngs.items():
        files.write(folder / f"{name}.png", png)
    if (folder / BATCH).exists():
        pngs["batch"] = files.read(folder / BATCH)
    files.write(folder / "report.html", story.html(pngs))
    return metrics


def images_per_second(epochs: Sequence[Epoch]) -> float:
    """Training pictures per second, as a mean over the epochs, weighted by their seconds."""
    return sum(row.images_per_second * row.seconds for row in epochs) / sum(row.seconds for row in epochs)


def _upright(card: Card, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (H, W, C) in RGB, also if the network reads BGR."""
    swapped = card.preprocess is not None and card.preprocess.order == "BGR"
    return pixels[:, :, ::-1].copy() if swapped else pixels


def _with_upright(card: Card, reason: Reason) -> Reason:
    neighbours = [replace(each, pixels=_upright(card, each.pixels)) for each in reason.neighbours]
    return replace(reason, neighbours=tuple(neighbours))


def record(metrics: Metrics, details: Details, plan: Plan, file_bytes: int, /, **more: Any) -> dict[str, Any]:
    """The content of metrics.json: fractions from 0 to 1, None where there is nothing to divide by.

    `file_bytes` is the size of the weights; `more` are further values of the record.
    """
    numbers = plan.numbers(stages=False)
    network = {key: numbers[key] for key in ("name", "dialect", "parameters", "total", "macs")}
    return {
        **metrics.to_json(),
        **more,
        "network": network,
        "file_bytes": file_bytes,
        **details.to_json(),
    }


def json_page(content: dict[str, Any]) -> str:
    """JSON for people and programs: with Unicode, one line for each row of a table, and null for NaN."""
    return _laid_out(content) + "\n"


def _laid_out(value: Any, margin: str = "") -> str:
    deeper = margin + "  "
    if isinstance(value, dict) and value:
        lines = [f"{files.json_text(key)}: {_laid_out(part, deeper)}" for key, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, list | dict) for part in value):
        lines = [files.json_text(_finite(part)) for part in value]
    else:
        return files.json_text(_finite(value))
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{deeper}" + f",\n{deeper}".join(lines) + f"\n{margin}{end}"


def _finite(value: Any) -> Any:
    """The value with None for every NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_history(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write history.csv: one line for each epoch, with fractions from 0 to 1 and seconds."""
    lines = [{key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    files.write(folder / "history.csv", csv_text(lines))


def read_run(folder: Path) -> Run:
    """The results of a finished run; raises DataError for files that are damaged or of another version."""
    path = folder / "metrics.json"
    task = task_of(read_card(folder / "model.safetensors").multi_label)
    try:
        plain = json.loads(files.read(path))
        split, minutes = msgspec.convert((plain["split"], plain["minutes"]), tuple[str, float])
        return Run(folder, task.metrics.from_json(plain), split, _history(folder / "history.csv", task), minutes)
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise DataError(f"{path}: not as `train` writes it, {type(fault).__name__} {fault} (train again)") from None


def _history(path: Path, task: Task) -> list[Epoch]:
    """The rows that `write_history` wrote in a run of this task; raises DataError for other content."""
    text = files.read(path)
    try:
        rows = list(csv.DictReader(io.StringIO(text.decode())))
        if not rows:
            raise ValueError("it has no epoch")
        types = get_type_hints(task.epoch)
        return [task.epoch(**{key: types[key](value) for key, value in row.items()}) for row in rows]
    except (LookupError, TypeError, ValueError, csv.Error) as fault:
        problem = f"not as this version writes it, {type(fault).__name__} {fault}"
        raise DataError(f"{path}: {problem} (train again)") from None
