"""`check --from`: pictures that want a person's look, by what a trained network sees in them. Nothing is changed."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inceptory.data.check.findings import Finding, Report
from inceptory.data.feed.windows import held
from inceptory.data.picture.decode import open_picture
from inceptory.data.sources.labels import Labels, per_class, shown, stratified
from inceptory.data.sources.source import Source
from inceptory.features.extract import Extractor
from inceptory.learn.transfer.choice import chosen, require_varied
from inceptory.learn.transfer.head import cross_validated
from inceptory.learn.transfer.parts import CALIBRATION, FEW, FOLDS, Parts
from inceptory.learn.transfer.seen import Seen
from inceptory.measure.suspects import LabelSuspects, label_suspects, near_duplicates, strangeness, unlike_the_rest
from inceptory.report.page import thumbnail
from inceptory.report.suspects import Card, Shown, suspects_page
from inceptory.system.outputs import Output

SEED = 0
"""Of the parts that take turns: the same set gives the same list."""
LEAST = 50
"""Pictures below which none is called unlike the rest: too few to tell how far such pictures are from one another."""
ON_PAGE = 200
"""Of each kind, so that the page of any set stays below some megabytes."""
COPIES = ("same-file", "same-pixels", "near-duplicate")
"""How the kinds of findings begin that name copies already."""


@dataclass(frozen=True)
class Suspect:
    """One picture, or a pair, that a person should look at."""

    rows: tuple[int, ...]
    """Of those seen."""
    score: float
    about: str
    """Why, in words that follow the file's name."""
    classes: tuple[str, ...]
    """Of its label or labels; for a label suspect then the one that it seems to be."""


def with_suspects(report: Report, source: Source, extractor: Extractor, page: Output | None) -> Report:
    """What `check` found in a source and what the extractor's network sees in it; its pictures in a page where wanted.

    All readable pictures of all splits are compared. Raises DataError where the network gives all the same vector.
    """
    splits = [name for name, split in source.splits.items() if len(split)]
    seen = Seen.of(extractor, source, splits, 1, lambda: None)
    require_varied(seen.vectors, extractor.model.path)
    print(f"fitting heads that have not seen the pictures which they answer, {len(seen):,} in all", file=sys.stderr)
    wrong, expected = mislabelled(seen)
    suspects = {
        "label-suspect": wrong,
        "near-duplicate-by-features": copied(seen, report.findings),
        "unlike-the-rest": strange(seen),
    }
    model = extractor.model.path
    line = f"{expected:,} wrong labels are expected among {len(seen):,} pictures, by what {model} sees in them"
    findings = [_finding(seen, kind, each) for kind, several in suspects.items() for each in several]
    if page is not None:
        counts = {kind: len(several) for kind, several in suspects.items()}
        cards = _cards(seen, {kind: several[:ON_PAGE] for kind, several in suspects.items()})
        page.write(suspects_page(source.name, str(model), len(seen), expected, cards, counts))
    findings = [*report.findings, Finding("reading", (), line), *findings]
    return replace(report, findings=tuple(findings), page="" if page is None else str(page.path))


def _finding(seen: Seen, kind: str, suspect: Suspect) -> Finding:
    files = tuple(_name(seen, row) for row in suspect.rows)
    message = f"{files[0]}: {suspect.about}" if len(files) == 1 else suspect.about
    return Finding(kind, files, message, suspect.classes, round(suspect.score, 6))


def _cards(seen: Seen, suspects: dict[str, list[Suspect]]) -> dict[str, list[Card]]:
    """What the page shows of them, by kind."""
    pictures = {name: held(split.pictures) or split.pictures for name, split in seen.source.splits.items()}
    shown = dict[int, Shown]()
    # In order, for of what lies in blocks a block is read once then.
    for row in sorted({row for several in suspects.values() for each in several for row in each.rows}):
        (split, place), name = seen.places[row], _name(seen, row)
        pixels = np.asarray(open_picture(pictures[split][place], name))
        shown[row] = Shown(thumbnail(pixels if pixels.ndim == 3 else pixels[..., None]), name, split)
    return {
        kind: [Card(tuple(shown[row] for row in each.rows), each.about) for each in several]
        for kind, several in suspects.items()
    }


def _name(seen: Seen, row: int) -> str:
    split, place = seen.places[row]
    return seen.source.splits[split].names[place]


# Labels


def mislabelled(seen: Seen) -> tuple[list[Suspect], int]:
    """(pictures probably under the wrong label, how many wrong labels are expected)."""
    logits = held_out_logits(seen.vectors, seen.labels)
    rows = np.flatnonzero(~np.isnan(logits).any(1))
    return (_of_several if seen.labels.ndim == 2 else _of_one)(seen, logits[rows], rows)


def _of_one(seen: Seen, logits: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[list[Suspect], int]:
    """Of pictures of one class each."""
    present, own = np.unique(seen.labels, return_inverse=True)  # a class without a picture has no logit
    own, classes = own[rows], [seen.source.classes[label] for label in present]
    listed, found = label_suspects(logits, own), []
    for row, score in _each(listed):
        label, other = classes[own[row]], classes[logits[row].argmax()]
        about = f"labelled {label!r}, seems to be {other!r} ({score:.3f})"
        found.append(Suspect((int(rows[row]),), score, about, (label, other)))
    return found, listed.expected


def _of_several(seen: Seen, logits: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[list[Suspect], int]:
    """Of pictures of several classes each class is a question of its own, yes or no, each wrong answer a suspect."""
    labels, found, expected = seen.labels[rows], [], 0
    for label, name in enumerate(seen.source.classes):
        two = np.stack([np.zeros(len(rows)), logits[:, label]], 1)
        listed = label_suspects(two, labels[:, label].astype(np.int64))
        expected += listed.expected
        for row, score in _each(listed):
            has = "labelled {!r}, seems not to show it" if labels[row, label] else "not labelled {!r}, seems to show it"
            found.append(Suspect((int(rows[row]),), score, f"{has.format(name)} ({score:.3f})", (name,)))
    return sorted(found, key=lambda one: -one.score), expected


def _each(listed: LabelSuspects) -> Iterator[tuple[int, float]]:
    """Row and score of each."""
    return zip(listed.rows.tolist(), listed.scores.tolist(), strict=True)


def held_out_logits(vectors: NDArray[np.float32], labels: Labels) -> NDArray[np.float64]:
    """(n, classes that have a picture) logits of each picture by a head that was fitted without it, of vectors
    (n, 1, length); NaN of the only picture of its class.

    Parts take turns. Of many pictures the strength of all heads is chosen once, by a tenth that is held back.
    """
    if labels.ndim == 1:
        labels = np.unique(labels, return_inverse=True)[1].reshape(-1)
    most = int(per_class(labels).max()) if labels.ndim == 1 else len(labels)
    if most < 2:
        return np.full((len(labels), 1), np.nan)
    turns = max(min(FOLDS, most), 2)
    if len(labels) < FEW:
        return cross_validated(vectors, labels, turns, SEED).logits
    held = stratified(labels, CALIBRATION, SEED)
    rest, none = np.flatnonzero(~held), np.empty(0, dtype=np.int64)
    choice = chosen(vectors, labels, Parts(rest, np.flatnonzero(held), none, 0), SEED)
    return cross_validated(vectors, labels, turns, SEED, strengths=(choice.strength,)).logits


# Copies, and what does not belong


def copied(seen: Seen, findings: Sequence[Finding]) -> list[Suspect]:
    """Pairs in two splits that are nearly the same to the network, without those that findings name already."""
    groups = defaultdict[str, set[int]](set)
    for number, finding in enumerate(findings):
        for file in finding.files if finding.kind.startswith(COPIES) else ():
            groups[file].add(number)
    splits = np.asarray([split for split, _ in seen.places])
    listed = near_duplicates(seen.vectors[:, 0], splits)
    found = []
    for (first, second), score in zip(listed.pairs.tolist(), listed.scores.tolist(), strict=True):
        if groups[_name(seen, first)] & groups[_name(seen, second)]:
            continue
        labels = _classes(seen, first, second)
        under = f"labelled {' and '.join(map(repr, labels))}, " if labels else ""
        about = f"nearly equal to the network ({score:.4f}), {under}in {splits[first]} and {splits[second]}"
        found.append(Suspect((first, second), score, about, labels))
    return found


def strange(seen: Seen) -> list[Suspect]:
    """Pictures unlike the rest, by the distance from pictures of the parts that they are not in."""
    if len(seen) < LEAST:
        return []
    from scipy.special import ndtr

    part = np.random.default_rng(SEED).permutation(len(seen)) % FOLDS
    away = strangeness(seen.vectors[:, 0], part)
    found = []
    for row in unlike_the_rest(ndtr(-away)).tolist():
        classes, score = _classes(seen, row), float(away[row])
        under = f", labelled {' and '.join(map(repr, classes))}" if classes else ""
        about = f"unlike the rest{under} ({score:.1f} deviations)"
        found.append(Suspect((row,), score, about, classes))
    return found


def _classes(seen: Seen, *rows: int) -> tuple[str, ...]:
    """Of the labels of some pictures, each once."""
    return tuple(dict.fromkeys(seen.source.classes[label] for row in rows for label in shown(seen.labels, row)))
