"""What a check found, as a text for people and a record for programs."""

from __future__ import annotations

import json as json_text
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inceptory.errors import DataError, printable

Grade = Literal["fault", "warning", "note"]
GRADES: tuple[Grade, ...] = ("fault", "warning", "note")
"""A fault: no training with this. A warning: the result may suffer. A note: good to know."""

KINDS: dict[str, tuple[Grade, str]] = {
    "unusable": ("fault", "cannot be opened as a data set"),
    "empty-class": ("fault", "class folders without a picture"),
    "no-training": ("fault", "no training pictures"),
    "one-class": ("fault", "fewer than two classes"),
    "class-names-alike": ("fault", "class names that differ only in case or Unicode form"),
    "link-outside": ("fault", "links that leave the data set"),
    "corrupt-class": ("fault", "classes with too many unreadable pictures"),
    "unreadable": ("warning", "unreadable pictures"),
    "two-labels": ("warning", "the same picture under two labels"),
    "same-file-across-splits": ("warning", "the same file in two splits"),
    "same-pixels-across-splits": ("warning", "the same pixels in two splits"),
    "near-duplicate-across-splits": ("warning", "near duplicates in two splits"),
    "same-file": ("warning", "the same file twice"),
    "same-pixels": ("warning", "the same pixels in two files"),
    "near-duplicate": ("warning", "near duplicates"),
    "label-suspect": ("warning", "pictures probably under the wrong label"),
    "near-duplicate-by-features": ("warning", "near duplicates in two splits, to a network's eyes"),
    "unlike-the-rest": ("warning", "pictures unlike the rest"),
    "missing-class": ("warning", "classes missing from a split"),
    "one-picture-class": ("warning", "classes of one training picture"),
    "class-labels-alike": ("warning", "labels that differ only in case or Unicode form"),
    "names-alike": ("warning", "file names that differ only in case or Unicode form"),
    "broken-link": ("warning", "links to nothing"),
    "below-minimum": ("warning", "pictures smaller than the network takes"),
    "below-native": ("note", "pictures smaller than the network's own size"),
    "reading": ("note", "how it was read"),
    "multi-label": ("note", "several classes a picture"),
    "wrong-extension": ("note", "names that promise another format"),
    "grey": ("note", "grey pictures"),
    "cmyk": ("note", "CMYK pictures"),
    "16-bit": ("note", "pictures of 16 bits"),
    "32-bit": ("note", "pictures of 32 bits"),
    "float": ("note", "pictures of fractions"),
    "animated": ("note", "files of several pictures"),
    "rotated": ("note", "pictures turned by EXIF"),
    "alpha": ("note", "pictures with transparency"),
    "hidden": ("note", "hidden files and folders"),
    "leftover": ("note", "files that systems leave behind"),
}
"""Every kind of finding: its grade and what it is called. The order is that of the report."""

SHOWN = 3
"""Findings, and files of one finding, that the text names; the record names all."""
ROWS = 40
"""Classes up to which the text shows each."""


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a data set."""

    kind: str
    files: tuple[str, ...]
    """Every file that it is about."""
    message: str
    classes: tuple[str, ...] = ()
    score: float | None = None
    """How sure a guess is: the larger, the surer. Findings of one kind stand in its order."""

    @property
    def grade(self) -> Grade:
        """How bad it is."""
        return KINDS[self.kind][0]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        record: dict[str, Any] = {"kind": self.kind, "grade": self.grade, "message": self.message}
        record |= {} if self.score is None else {"score": self.score}
        return {**record, "files": list(self.files), "classes": list(self.classes)}


@dataclass(frozen=True)
class Report:
    """What `check` found. Its text is for people, or the JSON record where that was asked for."""

    data: str
    classes: dict[str, dict[str, int]]
    """Pictures of each class in each split."""
    findings: tuple[Finding, ...]
    strict: bool = False
    json: bool = False
    sizes: dict[str, int] | None = None
    """Pictures of each split, where a picture of several classes, or of none, keeps `classes` from telling."""
    page: str = ""
    """Where the pictures of guesses can be seen."""

    @property
    def pictures(self) -> dict[str, int]:
        """Pictures of each split."""
        splits = next(iter(self.classes.values()), {})
        return self.sizes or {split: sum(counts[split] for counts in self.classes.values()) for split in splits}

    def of(self, grade: Grade) -> list[Finding]:
        """The findings of one grade."""
        return [finding for finding in self.findings if finding.grade == grade]

    @property
    def verdict(self) -> Literal["clean", "warnings", "unusable"]:
        """Whether the data can be trained on."""
        if self.of("fault"):
            return "unusable"
        return "warnings" if self.of("warning") else "clean"

    @property
    def fault(self) -> DataError | None:
        """What the command ends with: an error for data that cannot be trained on, or are not clean enough."""
        faults, warnings = self.of("fault"), self.of("warning")
        if faults:
            first = ", the first: " if len(faults) > 1 else ": "
            return DataError(f"{self.data}: {_counted(len(faults), 'fault')}{first}{faults[0].message}")
        if warnings and self.strict:
            return DataError(f"{self.data}: {_counted(len(warnings), 'warning')} (fix them, or leave --strict out)")
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain values; every finding lists all its files."""
        findings = [finding.to_json() for finding in self.findings]
        return {"findings": findings, "classes": self.classes, "verdict": self.verdict}

    def __str__(self) -> str:
        if self.json:
            # Escaped beyond ASCII: a file name need not be valid Unicode, and this line must be.
            return json_text.dumps(self.to_json(), indent=2)
        parts = [[_title(self)], _table(self.classes, self.pictures)]
        parts += [list(_section(grade, self.of(grade))) for grade in GRADES if self.of(grade)]
        parts.append([f"see {self.page}"] * bool(self.page))
        parts.append([f"verdict: {self._verdict_text()}"])
        return "\n\n".join("\n".join(map(printable, lines)) for lines in parts if lines)

    def _verdict_text(self) -> str:
        match self.verdict:
            case "unusable":
                return f"cannot be trained on ({_counted(len(self.of('fault')), 'fault')})"
            case "warnings":
                refused = "refused by --strict" if self.strict else "--strict would refuse them"
                return f"can be trained on, with {_counted(len(self.of('warning')), 'warning')} ({refused})"
            case _:
                return "clean"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _title(report: Report) -> str:
    total = sum(report.pictures.values())
    classes = f"{len(report.classes):,} class{'' if len(report.classes) == 1 else 'es'}"
    return f"{report.data}: {classes}, {_counted(total, 'picture')}"


def _table(classes: dict[str, dict[str, int]], sums: dict[str, int]) -> list[str]:
    """Counts by class and split; of very many classes the smallest and the largest."""
    splits = list(next(iter(classes.values()), {}))
    rows = list(classes)
    lines = []
    if len(rows) > ROWS:
        ranked = sorted(rows, key=lambda name: sum(classes[name].values()))
        rows = ranked[: ROWS // 4] + ranked[-ROWS // 4 :]
        lines.append(f"  the {ROWS // 4} smallest and the {ROWS // 4} largest classes:")
    names = {name: printable(name)[:40] for name in rows}
    wide = max([len("class"), *map(len, names.values())]) + 2
    lines.append(_row("class", wide, splits))
    lines += [_row(names[name], wide, (f"{classes[name][split]:,}" for split in splits)) for name in rows]
    lines.append(_row("all", wide, (f"{sums[split]:,}" for split in splits)))
    return lines if splits else []


def _row(name: str, wide: int, cells: Iterable[str]) -> str:
    return f"  {name:<{wide}}" + "".join(f"{cell:>12}" for cell in cells)


def _section(grade: Grade, findings: Sequence[Finding]) -> Iterator[str]:
    yield f"{grade}s"
    by_kind = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append(finding)
    for kind in KINDS:
        if kind in by_kind:
            yield from _kind(kind, by_kind[kind])


def _kind(kind: str, findings: Sequence[Finding]) -> Iterator[str]:
    files = len({file for finding in findings for file in finding.files})
    groups = f" in {len(findings):,} groups" if 1 < len(findings) < files else ""
    yield f"  {KINDS[kind][1]}" + (f": {_counted(files, 'file')}{groups}" if files else "")
    for finding in findings[:SHOWN]:
        yield f"    {finding.message}"
        # A message about one file names it.
        yield from (f"      {file}" for file in finding.files[:SHOWN] if len(finding.files) > 1)
        if len(finding.files) > SHOWN:
            yield f"      ... and {len(finding.files) - SHOWN:,} more"
    if len(findings) > SHOWN:
        yield f"    ... and {len(findings) - SHOWN:,} more (--json lists them all)"
