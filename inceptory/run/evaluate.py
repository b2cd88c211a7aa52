"""`evaluate`: which pictures are measured, and in which classes; all without torch but the measuring itself."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from inceptory.data.feed.decoding import sample
from inceptory.data.picture.preprocess import Views
from inceptory.data.sources.layout import AUTO, VALIDATION, Given, LaidOut, words
from inceptory.engines.choice import Sample
from inceptory.engines.exported import is_exported, open_exported
from inceptory.engines.opening import Wish, open_engine
from inceptory.errors import ConfigError, DataError, UsageError, printable
from inceptory.measure.classes import Matching, matched
from inceptory.measure.results import Metrics
from inceptory.measure.tasks import task_of
from inceptory.system.outputs import claimed, keyed

if TYPE_CHECKING:
    from inceptory.data.sources.labels import Labels
    from inceptory.data.sources.source import Source
    from inceptory.engines.exported import Opened
    from inceptory.measure.calibration import Calibration, Coverage
    from inceptory.measure.evaluate import Scored
    from inceptory.weights.card import Card
    from inceptory.weights.model import Model

METRICS = keyed("metrics", "n", "split", "model", "data", "network")
"""How a file of `evaluate` is recognised; a run's own metrics.json has neither model nor data."""
EVERY = "all"
"""Name of the split where all pictures were measured."""
FITTED = "; its head was fitted on all of them (the run's own metrics.json has honest figures)"
"""What to say of pictures on which a head was fitted after parts of them had taken turns to choose it."""
PARTED = "; those that calibrate it had no part in the run's own figures"
"""What to say of validation pictures of which half chose the best epoch."""
COVERAGES = (0.8, 0.9, 0.95)
"""Coverages that are looked at where a checkpoint keeps a calibration."""


def evaluate(
    model: Path | str,
    data: Given,
    /,
    *,
    split: Literal["train", "validation", "test"] | None = None,
    out: Path | str | None = None,
    force: bool = False,
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "bf16", "fp16", "fp32", "int8"] = "auto",
    weights: Path | None = None,
    raw: bool = False,
    layout: LaidOut = AUTO,
    views: Views = "1",
) -> Metrics:
    """Measure a checkpoint on labelled pictures.

    For example:

        inceptory evaluate runs/digits/model.safetensors digits

        inceptory evaluate runs/photos/model.safetensors photos/ --split validation --out result.json

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, a published name (`inceptory weights`), or a folder that
        `export` wrote for ONNX Runtime or OpenVINO.
    data
        Labelled pictures, as for `train`. Their classes are matched with the checkpoint's by name, by WordNet
        synset (n01440764) or by aliases of the checkpoint. The checkpoint may have more classes; an answer
        with one of those is wrong.
    split
        Part of the data. By default test, or validation where the data has no test split. Data with
        neither is measured completely, unless the checkpoint was trained on it: then the pictures that
        were held out of the training are measured.
    out
        File for the metrics as JSON, as in a run's metrics.json: top1, top5, log_loss, n, interval, each
        class's precision, recall and F1, confusion matrix, calibration; fractions from 0 to 1. Of a
        multi-label checkpoint: mean_ap, micro_f1, macro_f1, exact (with its interval) and each class's.
    force
        Replace `out` if it is a file that this command did not write. Files that it reads are never replaced.
    engine
        What computes. auto measures the installed ones for a few seconds, once for a model on a machine and for 256
        pictures or more, and says which it takes; --engine torch --precision fp32 is the exact reference.
    device
        Where to compute; auto takes cuda, mps, cpu.
    precision
        Arithmetic of the convolutions. auto is fp32, or what is faster where its first label was that of fp32 on
        99.5 % of 256 of the pictures (fewer than 200 prove nothing); they are compared once for a model on a machine,
        where that takes less time than it saves in two such calls. Results say which it was.
    weights
        Your own copy of the published file that `model` names, which is then not downloaded.
    raw
        If a weight file holds averaged weights as well, take the weights without averaging.
    layout
        How the pictures are laid out, if the files do not show it.
    views
        Parts of each picture whose probabilities are averaged, as for `predict`. The metrics are those of the
        averages; what sets of classes hold is measured on the pictures as they are, on which they were fitted.
    """
    from inceptory.data.sources.given import source_of

    with ExitStack() as stack:
        opened = classifier(model, weights, raw)
        stack.callback(opened.close)
        card, read = opened.card, [opened.path, *([data] if isinstance(data, str | Path) else [])]
        output = None if out is None else stack.enter_context(claimed(out, METRICS, inputs=read, force=force))
        source, chosen, line = measured(source_of(data, layout=layout), card, split)
        print(*source.notes, sep="\n", end="\n" * bool(source.notes), file=sys.stderr)
        matching = matched(source.name, source.classes, card)
        part = replace(source.split(chosen), labels=relabelled(source, card, chosen, matching))

        from inceptory.measure.evaluate import score

        preprocess, whose = opened.require_preprocess(), f"pictures of {source.name}"
        some = Sample(lambda most: (sample(part.pictures, part.names, preprocess, most), whose))
        computes, why = open_engine(opened, Wish(engine, precision, device), pictures=len(part), sample=some)
        print(printable(why), end="\n" * bool(why), file=sys.stderr)
        scored = score(computes, card.labels, part, source.name, views)
        print(printable(matching), printable(line), sep="\n", file=sys.stderr)
        metrics = scored.metrics()
        coverage = _coverages(opened, source, chosen, scored)
        for asked, achieved in coverage.items():
            print(f"sets asked to hold the truth of {100 * float(asked):g} %: {achieved}", file=sys.stderr)
        if output is not None:
            from inceptory.report.folder import json_page, record

            origin: dict[str, object] = {
                "split": EVERY if chosen == "train" and split is None else chosen,
                "model": str(opened.path),
                "data": source.name,
            }
            origin |= {} if views == "1" else {"views": views}
            origin |= {"coverage": {asked: vars(each) for asked, each in coverage.items()}} if coverage else {}
            output.write(
                json_page(record(metrics, scored.details(card.labels), opened.plan, opened.file_bytes, **origin))
            )
    return metrics


def classifier(model: Path | str, weights: Path | str | None, raw: bool) -> Opened:
    """A classifier: a model as `checkpoint` opens it, or an exported folder."""
    if not is_exported(model):
        return checkpoint(model, weights, raw, depth=4)
    if weights is not None or raw:
        flag = "--raw" if weights is None else f"--weights {weights}"
        raise UsageError(f"{flag}: {model} is an exported folder, which holds its own weights (leave it out)")
    exported = open_exported(model)
    exported.require_classifier()
    return exported


def checkpoint(model: Path | str, weights: Path | str | None, raw: bool, *, depth: int = 3) -> Model:
    """The opened model, with its warnings shown; raises ConfigError for a model that is no classifier.

    Only for functions that users call themselves: the warnings point `depth` callers up, to the line that called them.
    """
    from inceptory.weights.model import open_model

    opened = open_model(model, weights=weights, raw=raw)
    try:
        opened.require_classifier()
    except BaseException:
        opened.close()
        raise
    if opened.remarks:
        print(printable(f"{opened.path}: {'; '.join(opened.remarks)}"), file=sys.stderr)
    return opened.warn(depth)


def _coverages(model: Opened, source: Source, split: str, scored: Scored) -> dict[str, Coverage]:
    """What sets of classes achieve at each coverage that the calibration can promise.

    Nothing of a model without one, and nothing on pictures that may have been part of it, on which any set does well:
    the training data of the model but for its test split.
    """
    if not model.card.calibration or (split != "test" and _trained_on(model.card, source)):
        return {}
    from inceptory.measure.calibration import coverage_of

    calibration, logits = calibration_of(model), scored.logits if scored.plain is None else scored.plain
    return {
        f"{asked:g}": coverage_of(calibration.sets(logits, asked), scored.labels)
        for asked in COVERAGES
        if calibration.reaches(asked)
    }


def _trained_on(card: Card, source: Source) -> bool:
    """Whether a model may have seen these pictures: its data, wherever they lie now, or a part of their folder."""
    from inceptory.data.sources.opening import is_place, place_of

    trained, place = str(card.data.get("name")), place_of(source.name)
    if trained == place or _held(source, card).fingerprint() == card.data.get("fingerprint"):
        return True
    inside = is_place(trained) and Path(trained) in Path(place).parents and "test" not in words(Path(place).name)
    return inside or Path(place) in Path(trained).parents


def calibration_of(model: Opened) -> Calibration:
    """What a checkpoint knows of how sure its answers may be; raises ConfigError for one that knows nothing."""
    from inceptory.measure.calibration import Calibration

    if not model.card.calibration:
        remedy = "train with 100 validation pictures or more, or with --from, or leave --coverage out"
        raise ConfigError(f"{model.path}: holds no calibration ({remedy})")
    try:
        return Calibration.from_json(model.card.calibration)
    except ValueError as fault:
        raise DataError(f"{model.path}: its calibration is damaged, {fault} (train again)") from None


def measured(source: Source, card: Card, split: str | None) -> tuple[Source, str, str]:
    """(source, split to measure, a line that says which pictures those are).

    Without `split`: test, or else validation. Data with neither is measured completely, unless the checkpoint
    was trained on exactly this data, which its fingerprint shows: then the pictures that were held out of the
    training are found again and measured.
    """
    held = _held(source, card)
    if split is not None or "test" in source.splits or "validation" in source.splits:
        chosen = split or ("test" if "test" in source.splits else "validation")
        line = f"measuring {len(held.split(chosen)):,} pictures of {source.name}, its {chosen} split"
        return held, chosen, line + _beside(card, held, chosen)
    count, fingerprint = len(source.split("train")), card.data.get("fingerprint")
    if fingerprint is not None and fingerprint == held.fingerprint():
        if card.recipe.get("folds"):
            return source, "train", f"measuring all {count:,} pictures of {source.name}{FITTED}"
        part = f"{len(held.split('validation')):,} of {count:,} pictures of {source.name}"
        line = f"measuring {part}: those held out when the checkpoint was trained on it"
        return held, "validation", line + _beside(card, held, "validation")
    line = f"measuring all {count:,} pictures of {source.name}, which has no validation or test split"
    if fingerprint is not None:
        line += _not_the_same(str(card.data.get("name")), source.name)
    return source, "train", line


def _beside(card: Card, source: Source, split: str) -> str:
    """What to say of pictures that the training has used, but not for the weights alone."""
    if card.recipe.get("folds"):
        return FITTED if split != "test" else ""
    parted = split == "validation" and card.calibration and "strength" not in card.recipe
    return PARTED if parted and _trained_on(card, source) else ""


def _held(source: Source, card: Card) -> Source:
    """The data with a validation split as the model's training has cut it, if it has none."""
    return source.with_validation(float(card.recipe.get("validation", VALIDATION)))


def _not_the_same(trained: str, name: str) -> str:
    """A warning for data that has the name of the checkpoint's training data, but other content."""
    from inceptory.data.sources.opening import is_place, place_of

    if is_place(trained) and trained == place_of(name):
        return "; it has changed since the checkpoint was trained on it, which may have seen some of them"
    if not is_place(trained) and trained == name:
        return "; the checkpoint was trained on others of this name, and may have seen some of these"
    return ""


def relabelled(source: Source, card: Card, split: str, matching: Matching) -> Labels:
    """Labels of a split in the checkpoint's order of classes; raises ConfigError for multi-label data if it is not.

    For a multi-label checkpoint a picture of one class becomes a row with a single 1.
    """
    task, labels = task_of(card.multi_label), source.split(split).labels
    if source.multi_label and not card.multi_label:
        raise ConfigError(f"{source.name}: shows several classes a picture, the checkpoint names one (train on it)")
    if card.multi_label and not source.multi_label:
        labels = np.eye(len(matching.order), dtype=np.uint8)[labels]
    return task.relabelled(labels, matching.order, len(card.labels))
