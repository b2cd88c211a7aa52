"""Pictures in, ranked labels out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inceptory.errors import DataError, MissingError, UsageError, printable
from inceptory.measure.tasks import task_of
from inceptory.run.evaluate import classifier
from inceptory.system import files
from inceptory.system.outputs import MARK, Kind, claimed, headed, marked

if TYPE_CHECKING:
    from inceptory.engines.torch import Engine

BATCH = 32
"""Largest number of pictures that are decoded and answered at once."""
FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = {"picture": "string", "rank": "int64", "label": "string", "probability": "double"}
"""Columns of .csv and .parquet, with their types."""
PRECISION = "precision"
"""Name of one more column, which is written if the precision is not fp32."""
KINDS = {
    "csv": headed("predictions", ",".join(COLUMNS), ",".join((*COLUMNS, PRECISION))),
    "jsonl": Kind("predictions", lambda ends: ends.startswith(b'{"picture": ') and b'"probabilities": [' in ends),
    "parquet": marked("predictions"),
}
"""How files of earlier calls are recognised, which may be replaced."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Prediction:
    """The best classes of a picture; of a multi-label model those above probability 0.5, maybe none."""

    picture: str
    labels: tuple[str, ...]
    """Best first."""
    probabilities: tuple[float, ...]
    """From 0 to 1, in the order of `labels`."""

    def __str__(self) -> str:
        ranked = zip(self.labels, self.probabilities, strict=True)
        answers = ", ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in ranked)
        return f"{printable(self.picture)}: {answers or 'none of the classes'}"


@dataclass(frozen=True)
class Predictions:
    """The result of `predict`; iterates over the pictures that could be read."""

    found: tuple[Prediction, ...]
    skipped: tuple[str, ...]
    """One line for each picture that could not be read."""
    precision: str = "fp32"
    """Arithmetic of the convolutions; printed if it is not fp32."""

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        precision = [] if self.precision == "fp32" else [f"computed in {self.precision}"]
        return "\n".join([*map(str, self.found), *precision])


def predict(
    model: Path | str,
    /,
    *images: Path | str,
    top: int = 3,
    out: Path | str | None = None,
    format: Literal["csv", "jsonl", "parquet"] | None = None,  # noqa: A002, the flag is --format
    force: bool = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "fp32",
    weights: Path | None = None,
    raw: bool = False,
) -> Predictions:
    """Name what is in pictures.

    For example:

        inceptory predict runs/photos/model.safetensors cat.jpg holiday/

        inceptory predict runs/photos holiday/ --top 1 --out holiday.csv

        inceptory predict inception_v3.tf_in1k elephant.jpg

        inceptory predict runs/photos holiday/ --out /dev/stdout --format jsonl | head

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`).
    images
        Pictures, or folders that are searched for them. Unreadable ones are named, counted, skipped.
    top
        Number of classes for each picture; a multi-label checkpoint answers those above 50 %, at most so many.
    out
        Also write the answers to this .csv, .jsonl or .parquet file; that this is possible is checked before
        the work begins. In .csv a name that begins like a formula gets an apostrophe in front; .jsonl and
        .parquet hold every name unchanged. A file name that is not UTF-8 keeps its bytes in .csv, is escaped
        in .jsonl, and is in a printable form in .parquet, whose texts must be UTF-8. A picture without any
        class has an empty list in .jsonl and no row in the others. If `precision` is not fp32, each row
        contains it.
    format
        Format of the file, if the name of `out` does not show it.
    force
        Replace `out` if it is a file that this command did not write. Files that it reads are never replaced.
    device
        Where to compute; auto takes cuda, mps, cpu.
    precision
        Arithmetic of the convolutions; auto takes the fastest of the hardware. Results say which it was.
    weights
        Your own copy of the published file that `model` names, which is then not downloaded.
    raw
        If a weight file holds averaged weights as well, take the weights without averaging.
    """
    if top < 1:
        raise UsageError(f"--top {top}: out of range (at least 1)")
    if not images:
        raise UsageError("predict needs pictures (give one or more files or folders after the model)")
    kind = "" if out is None else _format(out, format)
    paths = _find(images)
    with ExitStack() as stack:
        opened = stack.enter_context(classifier(model, weights, raw))
        read = [opened.path, *images]
        output = None if out is None else stack.enter_context(claimed(out, KINDS[kind], inputs=read, force=force))
        from inceptory.engines.torch import open_engine

        engine = open_engine(opened, device, precision)
        predictions, skipped = _answer(paths, engine, opened.card.labels, top)
        if output is not None:
            output.write(_content(predictions, kind, engine.device.precision))
    return Predictions(tuple(predictions), tuple(skipped), engine.device.precision)


def _format(out: Path | str, chosen: str | None) -> str:
    kind = chosen or Path(out).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"--out {out}: unknown kind of file (end it in .{', .'.join(FORMATS)}, or give --format)")
    return kind


def _find(images: Sequence[Path | str]) -> list[Path]:
    """Paths of all pictures; folders are searched."""
    from inceptory.data.sources.source import visible_files

    for image in images:
        if not isinstance(image, str | os.PathLike):
            problem = f"predict: a picture of the type {type(image).__name__} is not a path"
            raise UsageError(f"{problem} (give files, or folders that hold them)")
    paths: list[Path] = []
    for image in map(Path, images):
        if files.is_folder(image):
            inside = visible_files(image)
            if not inside:
                raise DataError(f"{image}: an empty folder (give one that holds pictures)")
            paths += inside
        elif files.exists(image):
            paths.append(image)
        else:
            raise MissingError(f"{image}: no such picture or folder (check the path)")
    return paths


def _answer(paths: list[Path], engine: Engine, labels: Sequence[str], top: int) -> tuple[list[Prediction], list[str]]:
    """(predictions for the pictures that could be read, a line for each that could not)."""
    import numpy as np

    from inceptory.data.feed.decoding import Decoder
    from inceptory.system.progress import meter

    predictions: list[Prediction] = []
    skipped: list[str] = []
    task = task_of(engine.multi_label)
    decoder, most = Decoder(paths, engine.preprocess), engine.preprocess.at_a_time(BATCH)
    with meter("predicting", len(paths)) as bar:
        for start in range(0, len(paths), most):
            rows = np.arange(start, min(start + most, len(paths)))
            decoded = decoder(rows, [str(paths[row]) for row in rows])
            skipped += [fault for _, fault in decoded.faults]
            if len(decoded.rows):
                every = engine.probabilities(decoded.pixels)
                for row, probabilities in zip(decoded.rows.tolist(), every, strict=True):
                    best = task.answers(probabilities, top)
                    answers = tuple(labels[i] for i in best), tuple(float(probabilities[i]) for i in best)
                    predictions.append(Prediction(str(paths[row]), *answers))
            bar(int(rows[-1]) + 1, len(paths))
        if not predictions:
            raise DataError(f"{skipped[0]} ({len(skipped)} of {len(paths)} pictures could not be read)")
        bar.say_skipped(skipped, len(predictions))
    return predictions, skipped


def _content(predictions: list[Prediction], kind: str, precision: str) -> bytes | str:
    """The content of a file: a row for each picture in .jsonl, otherwise a row for each picture and rank."""
    computed = {} if precision == "fp32" else {PRECISION: precision}
    if kind == "jsonl":
        rows = [{**prediction.__dict__, **computed} for prediction in predictions]
        return "".join(files.json_text(row) + "\n" for row in rows)
    rows = [
        {"picture": each.picture, "rank": rank, "label": label, "probability": probability, **computed}
        for each in predictions
        for rank, (label, probability) in enumerate(zip(each.labels, each.probabilities, strict=True), 1)
    ]
    columns = {**COLUMNS, **dict.fromkeys(computed, "string")}
    return _parquet(rows, columns) if kind == "parquet" else _csv(rows, columns)


def _csv(rows: list[dict[str, object]], columns: dict[str, str]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows([{key: _inert(value) for key, value in row.items()} for row in rows])
    return text.getvalue()


def _inert(value: object) -> object:
    """The value; text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP: CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _parquet(rows: list[dict[str, object]], columns: dict[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    fields = [(name, pa.type_for_alias(kind)) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={"writer": MARK})
    valid = [{name: _valid(value) for name, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(valid, schema), buffer)
    return buffer.getvalue()


def _valid(value: object) -> object:
    """The value; a text that is not UTF-8, which parquet does not allow, in its printable form."""
    return printable(value) if isinstance(value, str) and not files.is_utf8(value) else value
