"""Every picture of a data set looked at once, and what follows: damage, copies, sizes, odd kinds."""

from __future__ import annotations

import base64
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inceptory.data.check import duplicates
from inceptory.data.check.findings import Finding
from inceptory.data.check.isolation import look_all
from inceptory.data.check.look import SIDE, Look
from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.labels import Labels, combinations, per_class, showing, shown
from inceptory.data.sources.source import Source

CORRUPT = 0.1
"""Share of a class that may be unreadable: beyond it something else is wrong than single files."""

TREATMENTS = {
    "grey": "are grey (a colour network sees them as three equal channels)",
    "cmyk": "are CMYK (converted without their colour profile)",
    "16-bit": "have 16 bits a channel (the upper eight are used)",
    "32-bit": "have 32 bits a channel (0 to 255 as they are, up to 65535 the upper eight of 16 bits)",
    "float": "hold fractions (0 to 1 becomes 0 to 255; from 2 on, 0 to 255 as they are)",
    "animated": "hold several pictures (the first is used)",
    "rotated": "are turned upright by their EXIF",
    "alpha": "have transparency (it is dropped; what lies behind it shows)",
}
"""What is done with each kind of picture."""


@dataclass(frozen=True)
class Wanted:
    """Sizes in pixels that a network asks for."""

    by: str
    minimum: int
    native: int


@dataclass
class Survey:
    """What was seen in each picture, row by row over all splits."""

    classes: tuple[str, ...]
    names: list[str]
    labels: Labels
    splits: list[str]
    """The split of each row."""
    grey: NDArray[np.uint8]
    """(N, SIDE, SIDE) thumbnails."""
    faults: dict[int, str] = field(default_factory=dict)
    content: list[str] = field(default_factory=list)
    pixels: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    traits: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    misnamed: dict[int, str] = field(default_factory=dict)
    """The format of each row whose name promises another."""

    def add(self, row: int, look: Look) -> None:
        """Record one picture."""
        self.content.append(look.content)
        self.pixels.append(look.pixels)
        self.sizes.append((look.width, look.height))
        if look.fault:
            self.faults[row] = look.fault
            return
        self.grey[row] = np.frombuffer(base64.b64decode(look.thumbnail), np.uint8).reshape(SIDE, SIDE)
        for trait in look.traits:
            self.traits[trait].append(row)
        ending = os.path.splitext(self.names[row])[1].lower()
        if ENDINGS.get(ending, look.format) != look.format:
            self.misnamed[row] = look.format

    def files(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Names of the pictures in these rows."""
        return tuple(self.names[row] for row in rows)


def survey(source: Source) -> Survey:
    """Decode every picture of every split, in child processes, and keep what matters of each."""
    total = sum(len(split) for split in source.splits.values())
    overview = Survey(
        classes=source.classes,
        names=[name for split in source.splits.values() for name in split.names],
        labels=np.concatenate([split.labels for split in source.splits.values()]),
        splits=[name for name, split in source.splits.items() for _ in range(len(split))],
        grey=np.zeros((total, SIDE, SIDE), dtype=np.uint8),
    )
    looks = (look for split in source.splits.values() for look in look_all(split))
    for row, look in enumerate(_with_bar(looks, total)):
        overview.add(row, look)
    return overview


def _with_bar(looks: Iterator[Look], total: int) -> Iterator[Look]:
    """The same, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    quiet = not sys.stderr.isatty()
    yield from track(looks, "looking", total, console=Console(stderr=True), transient=True, disable=quiet)


def conclusions(overview: Survey, sides: Wanted | None) -> Iterator[Finding]:
    """What the survey means, as findings."""
    yield from _damage(overview)
    yield from _copies(overview)
    yield from _sizes(overview, sides)
    for trait, rows in sorted(overview.traits.items()):
        yield Finding(trait, overview.files(rows), f"{len(rows):,} {TREATMENTS[trait]}")
    if overview.misnamed:
        row, kind = next(iter(overview.misnamed.items()))
        message = (
            f"{len(overview.misnamed):,} are named for another format, the first is a {kind}: {overview.names[row]}"
        )
        yield Finding("wrong-extension", overview.files(list(overview.misnamed)), f"{message} (read by their content)")


def corrupt_classes(labels: Labels, damaged: NDArray[np.bool_]) -> list[int]:
    """Labels of which more than a tenth of the pictures is damaged."""
    every = per_class(labels)
    share = per_class(labels[damaged], len(every)) / np.maximum(every, 1)
    return np.flatnonzero(share > CORRUPT).tolist()


def _damage(overview: Survey) -> Iterator[Finding]:
    for row, fault in overview.faults.items():
        yield Finding("unreadable", (overview.names[row],), fault)
    damaged = np.zeros(len(overview.names), dtype=bool)
    damaged[list(overview.faults)] = True
    splits, corrupt = np.asarray(overview.splits), corrupt_classes(overview.labels, damaged)
    for label in corrupt:
        yield _corrupt(overview, damaged, showing(overview.labels, label), label, "")
    for split in dict.fromkeys(overview.splits):
        inside = splits == split
        for label in range(len(overview.classes)):
            part = inside & showing(overview.labels, label)
            if label not in corrupt and part.any() and damaged[part].all():
                yield _corrupt(overview, damaged, part, label, f" in {split}")


def _corrupt(
    overview: Survey, damaged: NDArray[np.bool_], inside: NDArray[np.bool_], label: int, where: str
) -> Finding:
    rows, name = np.flatnonzero(inside & damaged).tolist(), overview.classes[label]
    message = f"class {name!r}: {len(rows):,} of {inside.sum():,} pictures{where} cannot be read"
    return Finding("corrupt-class", overview.files(rows), f"{message}, the first: {overview.faults[rows[0]]}", (name,))


def _copies(overview: Survey) -> Iterator[Finding]:
    exact, sets = duplicates.same(overview.pixels), combinations(overview.labels)
    for rows in exact:
        kind = "same-file" if len({overview.content[row] for row in rows}) == 1 else "same-pixels"
        yield _group(overview, kind, rows)
        if len({int(sets[row]) for row in rows}) > 1:
            yield _group(overview, "two-labels", rows)
    copies = {rows[0]: rows for rows in exact}
    repeats = {row for rows in exact for row in rows[1:]}
    left = [row for row in range(len(overview.names)) if row not in repeats and row not in overview.faults]
    for group in duplicates.near(overview.grey[left], sets[left]):
        members = [row for one in group for row in copies.get(left[one], [left[one]])]
        yield _group(overview, "near-duplicate", sorted(members))


COPIES = {
    "same-file": "{n} copies of one file (keep one)",
    "same-pixels": "{n} files of the same pixels (keep one)",
    "near-duplicate": "{n} nearly equal pictures (keep one, or all in one split)",
    "two-labels": "one picture in {n} places (keep it where it belongs)",
}


def _group(overview: Survey, kind: str, rows: Sequence[int]) -> Finding:
    splits = list(dict.fromkeys(overview.splits[row] for row in rows))
    labels = tuple(dict.fromkeys(overview.classes[label] for row in rows for label in shown(overview.labels, row)))
    across = len(splits) > 1 and kind != "two-labels"
    under = (
        f", labelled {' and '.join(map(repr, labels))}"
        if len(labels) > 1
        else "".join(f" of {label!r}" for label in labels)
    )
    message = COPIES[kind].format(n=len(rows)).replace(" (", f"{under}, in {' and '.join(splits)} (")
    return Finding(f"{kind}-across-splits" if across else kind, overview.files(rows), message, labels)


def _sizes(overview: Survey, sides: Wanted | None) -> Iterator[Finding]:
    if sides is None:
        return
    shorter = {row: min(size) for row, size in enumerate(overview.sizes) if row not in overview.faults}
    below = [row for row, side in shorter.items() if side < sides.minimum]
    small = [row for row, side in shorter.items() if sides.minimum <= side < sides.native]
    for kind, rows, least in (("below-minimum", below, sides.minimum), ("below-native", small, sides.native)):
        if rows:
            message = f"{len(rows):,} have a side below the {least} pixels of {sides.by}, the smallest has"
            yield Finding(
                kind, overview.files(rows), f"{message} {min(shorter[row] for row in rows)} (they are enlarged)"
            )
