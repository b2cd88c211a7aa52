"""What `predict` gives, and how it is written into files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from inceptory.errors import UsageError, printable
from inceptory.system import files
from inceptory.system.outputs import MARK, Kind, headed, marked

FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = {"picture": "string", "rank": "int64", "label": "string", "probability": "double"}
"""Columns of .csv and .parquet, with their types."""
MORE = {"precision": "string", "coverage": "double", "p_value": "double", "unlike": "bool"}
"""Columns that are written where the precision is not fp32, where a coverage was asked for, and where the checkpoint
knows how far pictures may be from those of its training."""
KINDS = {
    "csv": headed(
        "predictions",
        *(",".join((*COLUMNS, *some)) for count in range(len(MORE) + 1) for some in combinations(MORE, count)),
    ),
    "jsonl": Kind("predictions", lambda ends: ends.startswith(b'{"picture": ') and b'"probabilities": [' in ends),
    "parquet": marked("predictions"),
}
"""How files of earlier calls are recognised, which may be replaced."""
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
    """The result of `predict`; iterates over the pictures that could be read."""

    found: tuple[Prediction, ...]
    skipped: tuple[str, ...]
    """One line for each picture that could not be read."""
    precision: str = "fp32"
    """Arithmetic of the convolutions; printed if it is not fp32."""
    coverage: float | None = None
    """How often the truth is among the classes of a picture, at least; None where the best classes are given."""

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        lines = [] if self.precision == "fp32" else [f"computed in {self.precision}"]
        if self.coverage is not None:
            share = f"at least {100 * self.coverage:g} % of pictures like those of the training"
            lines.append(f"the truth is among the classes of {share}")
        return "\n".join([*map(str, self.found), *lines])

    def content(self, kind: str) -> bytes | str:
        """The content of a file: a row for each picture in .jsonl, otherwise a row for each picture and rank."""
        more: dict[str, Any] = {} if self.precision == "fp32" else {"precision": self.precision}
        more |= {} if self.coverage is None else {"coverage": self.coverage}
        if kind == "jsonl":
            lines = [
                {
                    "picture": one.picture,
                    "labels": one.labels,
                    "probabilities": one.probabilities,
                    **one.novelty(),
                    **more,
                }
                for one in self.found
            ]
            return "".join(files.json_text(line) + "\n" for line in lines)
        rows = [
            {
                "picture": each.picture,
                "rank": rank,
                "label": label,
                "probability": probability,
                **more,
                **each.novelty(),
            }
            for each in self.found
            for rank, (label, probability) in enumerate(zip(each.labels, each.probabilities, strict=True), 1)
        ]
        known = next((each.novelty() for each in self.found), {})
        columns = {**COLUMNS, **{name: MORE[name] for name in (*more, *known)}}
        return _parquet(rows, columns) if kind == "parquet" else _csv(rows, columns)


def format_of(out: Path | str, chosen: str | None) -> str:
    """The kind of a file, by its name or as chosen; raises UsageError."""
    kind = chosen or Path(out).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"--out {out}: unknown kind of file (end it in .{', .'.join(FORMATS)}, or give --format)")
    return kind


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
