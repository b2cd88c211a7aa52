"""Pictures in, ranked labels out."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inceptory.errors import DataError, MissingError, UsageError, printable
from inceptory.run.evaluate import classifier
from inceptory.run.pictures import require_outside
from inceptory.run.sort import sort_pictures
from inceptory.system import files
from inceptory.system.outputs import MARK, Kind, claimed, headed, marked

if TYPE_CHECKING:
    from inceptory.engines.torch import Engine

BATCH = 32
"""Pictures decoded and answered at a time."""
FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = {"picture": "string", "rank": "int64", "label": "string", "probability": "double"}
"""Of .csv and .parquet, with their types."""
THRESHOLD = 0.5
"""A multi-label class is answered above this probability."""
PRECISION = "precision"
"""The further column where it is not fp32."""
KINDS = {
    "csv": headed("predictions", ",".join(COLUMNS), ",".join((*COLUMNS, PRECISION))),
    "jsonl": Kind("predictions", lambda ends: ends.startswith(b'{"picture": ') and b'"probabilities": [' in ends),
    "parquet": marked("predictions"),
}
"""How files of earlier calls are known."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Prediction:
    """One picture's best classes; multi-label, those above probability 0.5, of which there may be none."""

    picture: str
    labels: tuple[str, ...]
    """Best first."""
    probabilities: tuple[float, ...]
    """From 0 to 1, in the order of `labels`."""

    def __str__(self) -> str:
        ranked = zip(self.labels, self.probabilities, strict=True)
        told = ", ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in ranked)
        return f"{printable(self.picture)}: {told or 'none of the classes'}"


@dataclass(frozen=True)
class Predictions:
    """What `predict` found; iterates over the pictures that could be read."""

    found: tuple[Prediction, ...]
    skipped: tuple[str, ...]
    """One line for each picture that could not be read."""
    precision: str = "fp32"
    """Arithmetic of the convolutions; told where it is another."""

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        told = [] if self.precision == "fp32" else [f"computed in {self.precision}"]
        return "\n".join([*map(str, self.found), *told])


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
    sort_into: Path | str | None = None,
    unsure: float = 0.5,
) -> Predictions:
    """Name what is in pictures.

    For example:

        inceptory predict runs/photos/model.safetensors cat.jpg holiday/

        inceptory predict runs/photos holiday/ --top 1 --out holiday.csv

        inceptory predict inception_v3.tf_in1k elephant.jpg

        inceptory predict runs/photos holiday/ --out /dev/stdout --format jsonl | head

        inceptory predict runs/photos holiday/ --sort-into sorted

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`).
    images
        Pictures, or folders that are searched for them. Unreadable ones are named, counted, skipped.
    top
        Classes to report for each picture; of a multi-label checkpoint those above 50 %, at most so many.
    out
        Also write the answers to this .csv, .jsonl or .parquet file, which is claimed before the work
        begins. In .csv a name that begins like a formula gets an apostrophe before it; the others hold
        every name as it is. A file's name that is not UTF-8 keeps its bytes in .csv and is escaped in
        .jsonl, as JSON can; .parquet, whose texts must be UTF-8, has it in a printable form. A picture of
        no class has an empty list in .jsonl and no row in the others. Where `precision` is not fp32, each
        row says which it was.
    format
        Kind of file, where the name of `out` does not tell it.
    force
        Replace a file of another kind, which is kept otherwise. What the command reads is never replaced.
    device
        Where to compute; auto takes cuda, mps, cpu.
    precision
        Arithmetic of the convolutions; auto takes the fastest that the hardware has, and results say it.
    weights
        A copy of the published file that `model` names, fetched by hand.
    raw
        Take a trainer's weights as they are where their average lies beside them.
    sort_into
        Also copy each picture, never move it, into the folder of its class in this folder; of a multi-label
        checkpoint into those of all classes that it is answered with. Nothing is replaced: pictures of one
        name get a number, and what lies there already is not copied again. Letters of a class that no
        folder may have become _. The folder may not lie in one that is searched.
    unsure
        Pictures without a class of at least this probability are copied into the folder "unsure".
    """
    if top < 1:
        raise UsageError(f"--top {top}: out of range (at least 1)")
    if not 0 <= unsure <= 1:
        raise UsageError(f"--unsure {unsure:g}: out of range (0 to 1)")
    if not images:
        raise UsageError("predict needs pictures (give one or more files or folders after the model)")
    kind = "" if out is None else _format(out, format)
    paths = _find(images)
    if sort_into is not None:
        require_outside(Path(sort_into), images, "--sort-into")
    with ExitStack() as stack:
        opened = stack.enter_context(classifier(model, weights, raw))
        read = [opened.path, *images]
        place = None if out is None else stack.enter_context(claimed(out, KINDS[kind], inputs=read, force=force))
        if sort_into is not None:
            stack.enter_context(files.new_folder(sort_into, files.TEMPORARY))  # which marks nothing: any folder will do
        from inceptory.engines.torch import open_engine

        engine = open_engine(opened, device, precision)
        found, skipped = _answer(paths, engine, opened.card.labels, top)
        if place is not None:
            place.write(_written(found, kind, engine.device.precision))
        if sort_into is not None:
            most = None if engine.multi_label else 1
            answers = [(one.picture, one.labels[:most], one.probabilities[:most]) for one in found]
            print(sort_pictures(answers, opened.card.labels, Path(sort_into), unsure), file=sys.stderr)
    return Predictions(tuple(found), tuple(skipped), engine.device.precision)


def _format(out: Path | str, asked: str | None) -> str:
    kind = asked or Path(out).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"--out {out}: unknown kind of file (end it in .{', .'.join(FORMATS)}, or give --format)")
    return kind


def _find(images: Sequence[Path | str]) -> list[Path]:
    """Every picture meant: files as they are, folders searched."""
    from inceptory.data.sources.source import visible_files

    for image in images:
        if not isinstance(image, str | os.PathLike):
            told = f"predict: a picture of the type {type(image).__name__} is not a path"
            raise UsageError(f"{told} (give files, or folders that hold them)")
    found: list[Path] = []
    for image in map(Path, images):
        if files.is_folder(image):
            inside = visible_files(image)
            if not inside:
                raise DataError(f"{image}: an empty folder (give one that holds pictures)")
            found += inside
        elif files.exists(image):
            found.append(image)
        else:
            raise MissingError(f"{image}: no such picture or folder (check the path)")
    return found


def _answer(paths: list[Path], engine: Engine, labels: Sequence[str], top: int) -> tuple[list[Prediction], list[str]]:
    """(answers to the pictures that could be read, a line for each that could not)."""
    import numpy as np

    from inceptory.data.feed.decoding import Decoder
    from inceptory.system.progress import meter

    found: list[Prediction] = []
    skipped: list[str] = []
    decoder, most = Decoder(paths, engine.preprocess), engine.preprocess.at_a_time(BATCH)
    with meter("predicting", len(paths)) as bar:
        for start in range(0, len(paths), most):
            rows = np.arange(start, min(start + most, len(paths)))
            decoded = decoder(rows, [str(paths[row]) for row in rows])
            skipped += [fault for _, fault in decoded.faults]
            if len(decoded.rows):
                scores = engine.probabilities(decoded.pixels)
                for row, one in zip(decoded.rows.tolist(), scores, strict=True):
                    ranked = one.argsort(kind="stable")[::-1][:top].tolist()
                    best = [i for i in ranked if not engine.multi_label or one[i] > THRESHOLD]
                    answers = tuple(labels[i] for i in best), tuple(float(one[i]) for i in best)
                    found.append(Prediction(str(paths[row]), *answers))
            bar(int(rows[-1]) + 1, len(paths))
        if not found:
            raise DataError(f"{skipped[0]} ({len(skipped)} of {len(paths)} pictures could not be read)")
        bar.say_skipped(skipped, len(found))
    return found, skipped


def _written(found: list[Prediction], kind: str, precision: str) -> bytes | str:
    """The answers as a file: one row a picture in .jsonl, one row a picture and rank otherwise."""
    computed = {} if precision == "fp32" else {PRECISION: precision}
    if kind == "jsonl":
        rows = [{**prediction.__dict__, **computed} for prediction in found]
        return "".join(files.json_text(row) + "\n" for row in rows)
    rows = [
        {"picture": one.picture, "rank": rank, "label": label, "probability": probability, **computed}
        for one in found
        for rank, (label, probability) in enumerate(zip(one.labels, one.probabilities, strict=True), 1)
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
    """A text that a spreadsheet would run as a formula, with an apostrophe before it (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _parquet(rows: list[dict[str, object]], columns: dict[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    fields = [(name, pa.type_for_alias(kind)) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={"writer": MARK})
    told = [{name: _valid(value) for name, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(told, schema), buffer)
    return buffer.getvalue()


def _valid(value: object) -> object:
    """A text in its printable form where it is not UTF-8, which parquet's texts must be."""
    return printable(value) if isinstance(value, str) and not files.is_utf8(value) else value
