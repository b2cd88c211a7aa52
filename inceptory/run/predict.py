"""Pictures in, ranked labels out; or sets of labels that hold the truth as often as was asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Views
from inceptory.data.sources.layout import AUTO, Given, LaidOut
from inceptory.engines.answers import ENGINES, PRECISIONS
from inceptory.engines.opening import Wish, open_engine
from inceptory.engines.views import answers_of_views, seen_in
from inceptory.errors import DataError, UsageError, printable
from inceptory.measure.tasks import task_of
from inceptory.nets.arithmetic import steps
from inceptory.run.evaluate import calibration_of, classifier
from inceptory.run.pictures import Reading, pictures_meant, require_outside
from inceptory.run.prediction.journal import Journal, asked_before, beside, nameless, parts
from inceptory.run.prediction.samples import sample_of
from inceptory.run.predictions import KINDS, Prediction, Predictions, format_of
from inceptory.run.sort import sort_pictures
from inceptory.system import files
from inceptory.system.outputs import claimed

if TYPE_CHECKING:
    from inceptory.engines.answers import Engine
    from inceptory.engines.choice import Sample
    from inceptory.engines.exported import Opened
    from inceptory.measure.calibration import Calibration
    from inceptory.measure.novelty import Novelty

BATCH = 32
"""Largest number of views of pictures that are decoded and answered at once."""


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
    data: Given | None = None,
    layout: LaidOut = AUTO,
    weights: Path | None = None,
    raw: bool = False,
    sort_into: Path | str | None = None,
    unsure: float = 0.5,
    views: Views = "1",
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
        A checkpoint, a run folder, anybody's weight file, a published name (`inceptory weights`), or a folder that
        `export` wrote for ONNX Runtime or OpenVINO.
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
        Also write the answers to this .csv, .jsonl or .parquet file; that this is possible is checked before the
        work begins. The file appears when it is complete. Until then the answers lie in the folder of its name and
        ".parts": the same call, ended at any moment and given again, goes on there and ends with the same rows;
        with another model, other options or pictures it is refused, or with `force` starts over. In .csv a name
        that begins like a formula gets an apostrophe in front; .jsonl and .parquet hold every name unchanged. A
        file name that is not UTF-8 keeps its bytes in .csv, is escaped in .jsonl, and is in a printable form in
        .parquet, whose texts must be UTF-8. A picture without any class has an empty list in .jsonl and no row in
        the others. If `precision` is not fp32, each row contains it. Where a checkpoint marks pictures, each row
        contains `p_value`, the share of pictures like those of the training that are as far from them, and
        `unlike`, the mark.
    format
        Format of the file, if the name of `out` does not show it.
    force
        Replace `out` if it is a file that this command did not write, and start over where an earlier call was
        ended. Files that it reads are never replaced.
    engine
        What computes. auto measures the installed ones for a few seconds, once for a model on a machine and for 256
        pictures or more, and says which it takes; --engine torch --precision fp32 is the exact reference.
    device
        Where to compute; auto takes cuda, mps, cpu.
    precision
        Arithmetic of the convolutions. auto is fp32, or what is faster where its first label was that of fp32 on
        99.5 % of 256 pictures: of `data`, else of the validation pictures of the model's run where they are as they
        were, else of the pictures themselves. They are compared once for a model on a machine: at once with `data`,
        else where that takes less time than it saves in two such calls. Fewer than 200 prove nothing. Results say
        which it was.
    data
        Pictures by which auto compares precisions, with labels or without: anything that `train` takes, or a folder of
        pictures. None of them is kept.
    layout
        How they are laid out, if the files do not show it.
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
    views
        Parts of each picture whose probabilities are averaged, as the papers do: 1, the picture as it is; flip, that
        and its mirror image; ten, the middle and the four corners of the resized picture, and their mirror images
        (where the whole picture is squashed to the network's size: it, and the corners of one squashed to 256/224
        of that). Takes as many times as long. The mark of unlike pictures is decided on the picture as it is; a
        calibration is too, so that `coverage` takes no views.
    """
    _check(top, unsure, coverage, views)
    if data is not None and precision != "auto":
        raise UsageError(f"--data, --precision {precision}: give one of them (what is asked for is not compared)")
    kind = "" if out is None else format_of(out, format)
    pictures = pictures_meant(images, "predict", () if out is None else (Path(out), parts(Path(out))))
    if sort_into is not None:
        require_outside(Path(sort_into), images, "--sort-into")
    with ExitStack() as stack:
        opened = classifier(model, weights, raw)
        stack.callback(opened.close)
        preprocess, read = seen_in(views, opened.require_preprocess()), [opened.path, *images]
        read += [data] if isinstance(data, str | Path) else []
        place = None if out is None else stack.enter_context(claimed(out, KINDS[kind], inputs=read, force=force))
        if sort_into is not None:
            stack.enter_context(files.new_folder(sort_into, files.TEMPORARY))  # which marks nothing: any folder will do
        asked: dict[str, object] = {"top": top, "coverage": coverage, "views": views}
        streams = place is not None and not place.through
        wish = Wish(engine, precision, device)
        if place is not None and streams and not force:
            wish = _begun(wish, place.path)
        sample = sample_of(opened, Reading(pictures, opened.require_preprocess()), data, layout)
        answering = _answering(opened, top, coverage, wish, len(pictures), sample)
        asked |= {"engine": answering.engine.name, "precision": answering.engine.precision}
        batch, journal = preprocess.at_a_time(BATCH), nameless()
        if place is not None and streams:
            asked = {"model": opened.digest(), "reading": opened.remarks, **asked}
            asked["preprocessing"] = preprocess.to_json()
            journal = stack.enter_context(beside(place.path, asked, batch, pictures, force))
        _answer_all(Reading(pictures, preprocess, [*journal.faults]), answering, journal)
        predictions = Predictions(journal, tuple(journal.faults), str(asked["precision"]), coverage, views, out)
        if place is not None:
            with place.opened() as file:
                predictions.write(kind, file)
        if sort_into is not None:
            sorted_by = _classes_of(predictions, None if answering.engine.multi_label else 1)
            told = sort_pictures(sorted_by, len(predictions), opened.card.labels, Path(sort_into), unsure)
            print(told, file=sys.stderr)
    return predictions


def _check(top: int, unsure: float, coverage: float | None, views: Views) -> None:
    """Raise UsageError for numbers out of range and for options that exclude one another."""
    if top < 1:
        raise UsageError(f"--top {top}: out of range (at least 1)")
    if not 0 <= unsure <= 1:
        raise UsageError(f"--unsure {unsure:g}: out of range (0 to 1)")
    if coverage is not None and not 0 < coverage < 1:
        raise UsageError(f"--coverage {coverage:g}: out of range (a share above 0 and below 1, such as 0.9)")
    if coverage is not None and views != "1":
        raise UsageError(f"--views {views}, --coverage: give one of them (a calibration is of pictures as they are)")


@dataclass(frozen=True)
class _Answering:
    """A network with what is asked of it."""

    engine: Engine
    labels: tuple[str, ...]
    top: int
    coverage: float | None
    calibration: Calibration | None
    """Given with a coverage."""
    novelty: Novelty | None

    def of(self, pixels: NDArray[np.uint8], pictures: Sequence[str]) -> list[Prediction]:
        """Of each picture, from pixels (N, V * C, H, W): the best classes, or all of a set."""
        task = task_of(self.engine.multi_label)
        vectors, logits, every = answers_of_views(self.engine, pixels)
        if self.calibration is None or self.coverage is None:
            chosen = [task.answers(probabilities, self.top) for probabilities in every]
        else:
            sets = self.calibration.sets(logits, self.coverage)
            every = self.calibration.probabilities(logits).astype(np.float32)
            ranked = (-every).argsort(axis=1, kind="stable").tolist()
            chosen = [[i for i in row if inside[i]] for row, inside in zip(ranked, sets, strict=True)]
        likeness: list[tuple[float | None, bool]] = [(None, False)] * len(every)
        if self.novelty is not None:
            p_values = self.novelty.p_values(vectors)
            likeness = list(zip(p_values.tolist(), self.novelty.unlike(p_values).tolist(), strict=True))
        return [
            Prediction(
                picture,
                tuple(self.labels[i] for i in numbers),
                tuple(float(probabilities[i]) for i in numbers),
                *alike,
            )
            for picture, probabilities, numbers, alike in zip(pictures, every, chosen, likeness, strict=True)
        ]


def _begun(wish: Wish, out: Path) -> Wish:
    """A wish that leaves to measurement nothing in which an earlier call for this output has begun its answers."""
    began = asked_before(out)
    engine, precision = began.get("engine"), began.get("precision")
    if wish.engine == "auto" and engine in ENGINES:
        wish = replace(wish, engine=engine)
    return replace(wish, precision=precision) if wish.precision == "auto" and precision in PRECISIONS else wish


def _answering(
    model: Opened, top: int, coverage: float | None, wish: Wish, pictures: int, sample: Sample
) -> _Answering:
    """Raises ConfigError where the model cannot do what is asked, before the network is loaded."""
    calibration = None if coverage is None else calibration_of(model)
    if calibration is not None and coverage is not None:
        calibration.threshold(coverage)  # told before the work, where so few pictures cannot promise it
    novelty = _novelty_of(model)
    engine, why = open_engine(model, wish, pictures=pictures, sample=sample)
    print(printable(why), end="\n" * bool(why), file=sys.stderr)
    return _Answering(engine, model.card.labels, top, coverage, calibration, novelty)


def _answer_all(reading: Reading, answering: _Answering, journal: Journal) -> None:
    """Answer the pictures that the journal does not hold yet."""
    if journal.done:
        print(f"going on after {journal.done:,} of {len(reading.paths):,} pictures", file=sys.stderr)
    for decoded in reading.batches("predicting", BATCH, journal.done):
        pictures = [str(reading.paths[row]) for row in decoded.rows.tolist()]
        predictions = answering.of(decoded.pixels, pictures) if pictures else []
        journal.add(predictions, [fault for _, fault in decoded.faults])


def _classes_of(predictions: Predictions, most: int | None) -> Iterator[tuple[str, Sequence[str], Sequence[float]]]:
    """(picture, classes that it may be sorted into, their probabilities); of an unlike picture none."""
    for one in predictions:
        yield one.picture, *(((), ()) if one.unlike else (one.labels[:most], one.probabilities[:most]))


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
