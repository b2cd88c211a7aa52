"""What `check` finds in a data set without a trained network. It reads and never writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from inceptory.data.check import walk
from inceptory.data.check.findings import Finding, Report
from inceptory.data.check.survey import Wanted, conclusions, survey
from inceptory.data.sources.folders.source import EmptyClassError
from inceptory.data.sources.labels import per_class, showing
from inceptory.data.sources.layout import AUTO, LaidOut
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.source import Source
from inceptory.errors import DataError, UsageError, printable


def check(
    data: str,
    /,
    *,
    model: str | None = None,
    image: int | None = None,
    strict: bool = False,
    json: bool = False,
    layout: LaidOut = AUTO,
) -> Report:
    """Look a data set over without a trained network; the parameters are those of the command (`run.check`).

    Every picture is decoded once, in processes of its own; no file is changed. `image` is the side in pixels that the
    network `model` is to be trained at. Raises UsageError for values out of their range.
    """
    sides = _sides(model, image)
    try:
        source = open_source(data, layout=layout)
    except DataError as fault:
        return Report(printable(data), {}, (_unusable(data, fault),), strict, json)
    tree = walk.walk(source.listing) if source.listing else None
    notes = (Finding("reading", (), f"{source.name}: {note}") for note in source.notes)
    findings = [*_names(source, tree), *notes, *_oddities(tree), *conclusions(survey(source), sides)]
    sizes = source.sizes
    return Report(source.name, counts(source), tuple(findings), strict, json, sizes)


def cheap(source: Source) -> list[str]:
    """What `check` says without decoding a picture: a line for each warning, after one of counts.

    Takes a source as it was opened: a validation split that we cut ourselves is not its fault.
    Raises DataError for what cannot be trained on. Of folders no name is read again.
    """
    findings = list(_names(source, walk.walk(source.listing) if source.listing else None))
    for finding in findings:
        if finding.grade == "fault":
            raise DataError(finding.message)
    numbers = per_class(source.split("train").labels, len(source.classes))
    least, most = numbers.min(), numbers.max()
    each = f"{least:,} training pictures each" if least == most else f"{least:,} to {most:,} training pictures"
    return [
        f"{len(source.classes):,} classes of {each}",
        *source.notes,
        *(printable(finding.message) for finding in findings),
    ]


def counts(source: Source) -> dict[str, dict[str, int]]:
    """Pictures of each class in each split."""
    every = {name: per_class(part.labels, len(source.classes)) for name, part in source.splits.items()}
    return {
        name: {split: int(numbers[label]) for split, numbers in every.items()}
        for label, name in enumerate(source.classes)
    }


def _sides(model: str | None, image: int | None) -> Wanted | None:
    if image is not None and image < 1:
        raise UsageError(f"--image {image}: out of range (at least 1 pixel)")
    if model is None:
        return None if image is None else Wanted(f"--image {image}", 1, image)
    from inceptory.nets.arithmetic import minimum_image
    from inceptory.nets.catalogue import decide
    from inceptory.nets.variant import PUBLISHED

    plan = decide(model, 2, replace(PUBLISHED, image=image))
    return Wanted(model, minimum_image(plan.tree, plan.in_channels), plan.image)


def _unusable(data: str, fault: DataError) -> Finding:
    """Why it could not be opened; where empty class folders are to blame, all of them."""
    if not isinstance(fault, EmptyClassError):
        return Finding("unusable", (data,), str(fault))
    count = f"{len(fault.folders):,} class folders are empty, the first is {fault.folders[0]}"
    classes = tuple(Path(folder).name for folder in fault.folders)
    return Finding("empty-class", fault.folders, f"{count} (add pictures or remove them)", classes)


# What names and numbers tell


def _names(source: Source, tree: walk.Tree | None) -> Iterator[Finding]:
    """Findings about classes and names; no picture is opened."""
    if source.multi_label:
        yield _several(source)
    for group in walk.alike(source.classes):
        message = f"{source.name}: classes {' and '.join(map(repr, group))} differ only in case or Unicode form"
        # Folders of such names become one on another system; labels in a table stay two.
        kind = "class-labels-alike" if tree is None else "class-names-alike"
        yield Finding(kind, (), f"{message} (give them names of their own)", tuple(group))
    yield from _too_few(source)
    yield from _entries(tree) if tree else ()


def _several(source: Source) -> Finding:
    """That the data was taken for multi-label, and what it is like."""
    sizes = np.concatenate([split.labels.sum(1) for split in source.splits.values()])
    message = f"{sizes.mean():.1f} classes a picture, none in {(sizes == 0).sum():,}"
    return Finding("multi-label", (), f"multi-label: {message}")


def _entries(tree: walk.Tree) -> Iterator[Finding]:
    if tree.outside:
        message = f"{tree.outside[0]}: a link out of the data set, one of {len(tree.outside):,}"
        yield Finding("link-outside", tuple(tree.outside), f"{message} (replace it by what it points to)")
    if tree.broken:
        message = f"{tree.broken[0]}: a link to nothing, one of {len(tree.broken):,} (it is left out)"
        yield Finding("broken-link", tuple(tree.broken), message)
    for names in tree.alike:
        message = f"{names[0]}: a name that differs from {Path(names[1]).name!r} only in case or Unicode form"
        yield Finding("names-alike", tuple(names), f"{message} (other systems keep one of them)")


def _too_few(source: Source) -> Iterator[Finding]:
    present = {name: per_class(part.labels, len(source.classes)) for name, part in source.splits.items()}
    if "train" not in present:
        message = f"{source.name}: has no training pictures, only {' and '.join(present)}"
        yield Finding("no-training", (), f"{message} (name a part of it train; `evaluate` takes it as it is)")
    for split, numbers in present.items():
        missing = tuple(source.classes[label] for label in np.flatnonzero(numbers == 0))
        if split == "train" and len(source.classes) - len(missing) < 2:
            one = f"holds one class only, {source.classes[0]!r}"
            message = one if len(source.classes) == 1 else "fewer than two classes have training pictures"
            yield Finding("one-class", (), f"{source.name}: {message} (a classifier needs two or more)", missing)
        elif missing:
            message = f"{source.name}: {split} has no picture of {_listed(missing)}"
            lost = "they cannot be learnt" if split == "train" else "nothing is measured for them"
            yield Finding("missing-class", (), f"{message} ({lost})", missing)
    if "train" in present:
        lonely = np.flatnonzero(present["train"] == 1)
        if len(lonely):
            yield _lonely(source, lonely.tolist())


def _lonely(source: Source, labels: list[int]) -> Finding:
    train = source.splits["train"]
    rows = sorted({int(showing(train.labels, label).argmax()) for label in labels})
    classes = tuple(source.classes[label] for label in labels)
    message = f"{source.name}: one training picture only of {_listed(classes)} (it is kept out of validation)"
    return Finding("one-picture-class", tuple(train.names[row] for row in rows), message, classes)


def _listed(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - 5:,} more" if len(classes) > 5 else ""
    return (
        f"{len(classes):,} classes, {', '.join(map(repr, classes[:5]))}{more}" if len(classes) > 1 else repr(*classes)
    )


def _oddities(tree: walk.Tree | None) -> Iterator[Finding]:
    """What the folders hold beside pictures."""
    for kind, files in (("hidden", tree.hidden), ("leftover", tree.leftovers)) if tree else ():
        if files:
            yield Finding(kind, tuple(files), f"{len(files):,} are left out")
