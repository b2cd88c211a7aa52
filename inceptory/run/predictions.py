"""What `predict` gives, and how it is written into files."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import IO, Any

from inceptory.data.picture.preprocess import Views
from inceptory.errors import UsageError, printable
from inceptory.system import files
from inceptory.system.outputs import MARK, Kind, headed, marked

FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = {"picture": "string", "rank": "int64", "label": "string", "probability": "double"}
"""Columns of .csv and .parquet, with their types."""
MORE = {"precision": "string", "coverage": "double", "views": "string", "p_value": "double", "unlike": "bool"}
"""Columns that are written where the precision is not fp32, where a coverage or several views were asked for, and where
the checkpoint knows how far pictures may be from those of its training."""
KINDS = {
    "csv": headed(
        "predictions",
        *(",".join((*COLUMNS, *some)) for count in range(len(MORE) + 1) for some in combinations(MORE, count)),
    ),
    "jsonl": Kind("predictions", lambda ends: ends.startswith(b'{"picture": ') and b'"probabilities": [' in ends),
    "parquet": marked("predictions"),
}
"""How files of earlier calls are recognised, which may be replaced."""
ROWS = 2**16
"""Rows that are written together."""
FEW = 50
"""Pictures up to which each has its line where all are in a file."""
SHOWN = 20
"""Classes that are counted one by one."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Prediction:
    """The best classes of a picture; of a multi-label model those above probability 0.5, maybe none.

    Where a coverage was asked for, all classes of the set that holds the truth so often, which may be empty.
    """

    picture: str
    labels: tuple[str, ...]
    """Best first."""
    probabilities: tuple[float, ...]
    """From 0 to 1, in the order of `labels`."""
    p_value: float | None = None
    """Share of pictures like those of the training that are as far from them as this one; None where the checkpoint
    does not know."""
    unlike: bool = False
    """Whether it is so small that the picture counts as unlike the training pictures (`measure.novelty`)."""

    def __str__(self) -> str:
        ranked = zip(self.labels, self.probabilities, strict=True)
        answers = ", ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in ranked)
        mark = f" (unlike the training pictures, p {self.p_value:.2g})" if self.unlike else ""
        return f"{printable(self.picture)}: {answers or 'none of the classes'}{mark}"

    def novelty(self) -> dict[str, Any]:
        """p-value and mark by their names, where the checkpoint knows them."""
        return {} if self.p_value is None else {"p_value": self.p_value, "unlike": self.unlike}


@dataclass(frozen=True)
class Predictions:
    """The result of `predict`; iterates over the pictures that could be read, whose answers lie in a file."""

    found: Sequence[Prediction]
    """Each is read when it is asked for: a million of them take no memory."""
    skipped: tuple[str, ...]
    """One line for each picture that could not be read."""
    precision: str = "fp32"
    """Arithmetic of the convolutions; printed if it is not fp32."""
    coverage: float | None = None
    """How often the truth is among the classes of a picture, at least; None where the best classes are given."""

    views: Views = "1"
    """What was seen of each picture."""
    out: Path | str | None = None
    """The file that the answers were written to."""

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        """A line a picture; of many that were written to a file their classes, counted."""
        lines = [*map(str, self)] if self.out is None or len(self) <= FEW else [self._summary()]
        if self.precision != "fp32":
            lines.append(f"computed in {self.precision}")
        if self.views != "1":
            lines.append(f"probabilities averaged over views: {self.views}")
        if self.coverage is not None:
            share = f"at least {100 * self.coverage:g} % of pictures like those of the training"
            lines.append(f"the truth is among the classes of {share}")
        return "\n".join(lines)

    def _summary(self) -> str:
        best, unlike = Counter[str](), 0
        for one in self:
            best[one.labels[0] if one.labels else "none of the classes"] += 1
            unlike += one.unlike
        several = ", ".join(f"{name} {count:,}" for name, count in best.most_common(SHOWN))
        more = f" and {len(best) - SHOWN:,} more" if len(best) > SHOWN else ""
        mark = f"; {unlike:,} unlike the training pictures" if unlike else ""
        return printable(f"{len(self):,} pictures, answers in {self.out}; by best class: {several}{more}{mark}")

    def write(self, kind: str, file: IO[bytes]) -> None:
        """A file of the kind, piece by piece: a row a picture in .jsonl, otherwise a row a picture and rank."""
        more: dict[str, Any] = {} if self.precision == "fp32" else {"precision": self.precision}
        more |= {} if self.coverage is None else {"coverage": self.coverage}
        more |= {} if self.views == "1" else {"views": self.views}
        if kind == "jsonl":
            for one in self:
                line = {"picture": one.picture, "labels": one.labels, "probabilities": one.probabilities}
                file.write(files.encoded(files.json_text({**line, **one.novelty(), **more}) + "\n"))
            return
        rows = (
            {"picture": one.picture, "rank": rank, "label": label, "probability": value, **more, **one.novelty()}
            for one in self
            for rank, (label, value) in enumerate(zip(one.labels, one.probabilities, strict=True), 1)
        )
        known = next((one.novelty() for one in self), {})
        columns = {**COLUMNS, **{name: MORE[name] for name in (*more, *known)}}
        (_write_parquet if kind == "parquet" else _write_csv)(rows, columns, file)


def format_of(out: Path | str, chosen: str | None) -> str:
    """The kind of a file, by its name or as chosen; raises UsageError."""
    kind = chosen or Path(out).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"--out {out}: unknown kind of file (end it in .{', .'.join(FORMATS)}, or give --format)")
    return kind


def _pieces(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    rows = iter(rows)
    return iter(lambda: [*islice(rows, ROWS)], [])


def _write_csv(rows: Iterable[dict[str, object]], columns: dict[str, str], file: IO[bytes]) -> None:
    file.write((",".join(columns) + "\n").encode())
    for piece in _pieces(rows):
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
        table.writerows([{key: _inert(value) for key, value in row.items()} for row in piece])
        file.write(files.encoded(text.getvalue()))


def _inert(value: object) -> object:
    """The value; text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP: CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _write_parquet(rows: Iterable[dict[str, object]], columns: dict[str, str], file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(name, pa.type_for_alias(kind)) for name, kind in columns.items()]
    schema = pa.schema(fields, metadata={"writer": MARK})
    with pq.ParquetWriter(file, schema) as writer:
        for piece in _pieces(rows):
            valid = [{name: _valid(value) for name, value in row.items()} for row in piece]
            writer.write_table(pa.Table.from_pylist(valid, schema))


def _valid(value: object) -> object:
    """The value; a text that is not UTF-8, which parquet does not allow, in its printable form."""
    return printable(value) if isinstance(value, str) and not files.is_utf8(value) else value
