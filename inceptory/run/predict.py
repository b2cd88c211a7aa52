"""Pictures in, ranked labels out; or sets of labels that hold the truth as often as was asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from inceptory.engines.opening import Wish, open_engine
from inceptory.errors import DataError, UsageError, printable
from inceptory.measure.tasks import task_of
from inceptory.nets.arithmetic import steps
from inceptory.run.evaluate import calibration_of, classifier
from inceptory.run.pictures import Reading, pictures_meant, require_outside
from inceptory.run.predictions import KINDS, Prediction, Predictions, format_of
from inceptory.run.sort import sort_pictures
from inceptory.system import files
from inceptory.system.outputs import claimed

if TYPE_CHECKING:
    from inceptory.engines.answers import Engine
    from inceptory.engines.exported import Opened
    from inceptory.measure.calibration import Calibration
    from inceptory.measure.novelty import Novelty

BATCH = 32
"""Largest number of pictures that are decoded and answered at once."""


def predict(
    model: Path | str,
    /,
    *images: Path | str,
    top: int = 3,
    coverage: float | None = None,
    out: Path | str | None = None,
    format: Literal["csv", "jsonl", "parquet"] | None = None,  # noqa: A002, the flag is --format
    force: bool = False,
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "bf16", "fp16", "fp32", "int8"] = "auto",
    weights: Path | None = None,
    raw: bool = False,
    sort_into: Path | str | None = None,
    unsure: float = 0.5,
) -> Predictions:
    """Name what is in pictures.

    Checkpoints of `train --from` also mark pictures that are unlike those of their training: whose vector is farther
    from theirs than 99 of 100 held-out pictures' (farther than all, where fewer than 99 were held out).

    For example:

        inceptory predict runs/photos/model.safetensors cat.jpg holiday/

        inceptory predict runs/photos holiday/ --top 1 --out holiday.csv

        inceptory predict inception_v3.tf_in1k elephant.jpg

        inceptory predict runs/photos holiday/ --out /dev/stdout --format jsonl | head

        inceptory predict runs/photos holiday/ --sort-into sorted

        inceptory predict runs/photos holiday/ --coverage 0.95

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`).
    images
        Pictures, or folders that are searched for them. Unreadable ones are named, counted, skipped.
    top
        Number of classes for each picture; a multi-label checkpoint answers those above 50 %, at most so many.
    coverage
        In place of the best classes, all that are needed for the truth to be among them with at least this
        probability, such as 0.95, on pictures like those of the training, which the network below the head must not
        have been trained on before. Probabilities are then calibrated. No class at all means a picture that is unlike
        them. For checkpoints that keep a calibration: `train` keeps one where there are 100 validation pictures.
    out
        Also write the answers to this .csv, .jsonl or .parquet file; that this is possible is checked before
        the work begins. In .csv a name that begins like a formula gets an apostrophe in front; .jsonl and
        .parquet hold every name unchanged. A file name that is not UTF-8 keeps its bytes in .csv, is escaped
        in .jsonl, and is in a printable form in .parquet, whose texts must be UTF-8. A picture without any
        class has an empty list in .jsonl and no row in the others. If `precision` is not fp32, each row
        contains it. Where a checkpoint marks pictures, each row contains `p_value`, the share of pictures like
        those of the training that are as far from them, and `unlike`, the mark.
    format
        Format of the file, if the name of `out` does not show it.
    force
        Replace `out` if it is a file that this command did not write. Files that it reads are never replaced.
    engine
        What computes. auto measures the installed ones for a few seconds, once for a model on a machine and for 256
        pictures or more, and says which it takes; --engine torch --precision fp32 is the exact reference.
    device
        Where to compute; auto takes cuda, mps, cpu.
    precision
        Arithmetic of the convolutions. auto is fp32, or what is faster where its first label was that of fp32 on
        99.5 % of 256 of the pictures; they are compared once, if there are 1,024 or more. Results say which it was.
    weights
        Your own copy of the published file that `model` names, which is then not downloaded.
    raw
        If a weight file holds averaged weights as well, take the weights without averaging.
    sort_into
        Also copy each picture, never move it, into the folder of its class in this folder; of a multi-label
        checkpoint into those of all classes that it is answered with. Nothing is replaced: pictures of one
        name get a number, and what lies there already is not copied again. Letters of a class that no
        folder may have become _. The folder may not lie in one that is searched.
    unsure
        Pictures without a class of at least this probability are copied into the folder "unsure", and so are those
        unlike the training pictures, however probable their class.
    """
    if top < 1:
        raise UsageError(f"--top {top}: out of range (at least 1)")
    if not 0 <= unsure <= 1:
        raise UsageError(f"--unsure {unsure:g}: out of range (0 to 1)")
    if coverage is not None and not 0 < coverage < 1:
        raise UsageError(f"--coverage {coverage:g}: out of range (a share above 0 and below 1, such as 0.9)")
    kind = "" if out is None else format_of(out, format)
    paths = pictures_meant(images, "predict")
    if sort_into is not None:
        require_outside(Path(sort_into), images, "--sort-into")
    with ExitStack() as stack:
        opened = classifier(model, weights, raw)
        stack.callback(opened.close)
        read = [opened.path, *images]
        place = None if out is None else stack.enter_context(claimed(out, KINDS[kind], inputs=read, force=force))
        if sort_into is not None:
            stack.enter_context(files.new_folder(sort_into, files.TEMPORARY))  # which marks nothing: any folder will do
        sure = None if coverage is None else calibration_of(opened)
        if sure is not None and coverage is not None:
            sure.threshold(coverage)  # told before the work, where so few pictures cannot promise it
        novelty = _novelty_of(opened)
        reading = Reading(paths, opened.require_preprocess())
        wish = Wish(engine, precision, device)
        computes, why = open_engine(opened, wish, pictures=len(paths), sample=reading.sample)
        print(printable(why), end="\n" * bool(why), file=sys.stderr)
        answers = _answers(reading, computes, opened.card.labels, top, sure, coverage, novelty)
        predictions = Predictions(tuple(answers), tuple(reading.skipped), computes.precision, coverage)
        if place is not None:
            place.write(predictions.content(kind))
        if sort_into is not None:
            most = None if computes.multi_label else 1
            sorted_by = [
                (one.picture, *(((), ()) if one.unlike else (one.labels[:most], one.probabilities[:most])))
                for one in predictions
            ]
            print(sort_pictures(sorted_by, opened.card.labels, Path(sort_into), unsure), file=sys.stderr)
    return predictions


def _answers(
    reading: Reading,
    engine: Engine,
    labels: tuple[str, ...],
    top: int,
    sure: Calibration | None,
    coverage: float | None,
    novelty: Novelty | None,
) -> Iterator[Prediction]:
    """Predictions for the pictures that can be read: the best classes, or all of a set."""
    import numpy as np

    task = task_of(engine.multi_label)
    for decoded in reading.batches("predicting", BATCH):
        vectors, logits, every = engine.answers(decoded.pixels)
        if sure is None or coverage is None:
            chosen = [task.answers(probabilities, top) for probabilities in every]
        else:
            every, sets = sure.probabilities(logits).astype(np.float32), sure.sets(logits, coverage)
            ranked = (-every).argsort(axis=1, kind="stable").tolist()
            chosen = [[i for i in row if inside[i]] for row, inside in zip(ranked, sets, strict=True)]
        likeness: list[tuple[float | None, bool]] = [(None, False)] * len(every)
        if novelty is not None:
            p_values = novelty.p_values(vectors)
            likeness = list(zip(p_values.tolist(), novelty.unlike(p_values).tolist(), strict=True))
        for row, probabilities, numbers, alike in zip(decoded.rows.tolist(), every, chosen, likeness, strict=True):
            names, values = tuple(labels[i] for i in numbers), tuple(float(probabilities[i]) for i in numbers)
            yield Prediction(str(reading.paths[row]), names, values, *alike)


def _novelty_of(model: Opened) -> Novelty | None:
    """How far pictures may be from those of a checkpoint's training; None where it does not know.

    Raises DataError for a damaged record, or one of vectors that are not this network's.
    """
    from inceptory.measure.novelty import Novelty

    if not model.card.novelty:
        return None
    tree, plan = model.plan.tree, model.plan
    bare = replace(tree, head=replace(tree.head, classifier=None))
    length = steps(bare, plan.in_channels, plan.image, plan.image)[-1][1][0]
    try:
        novelty = Novelty.from_json(model.card.novelty)
        if len(novelty.mean) != length:
            raise ValueError(f"of vectors of {len(novelty.mean):,} numbers and not of {length:,}")
    except ValueError as fault:
        raise DataError(f"{model.path}: its novelty is damaged, {fault} (train again)") from None
    return novelty
