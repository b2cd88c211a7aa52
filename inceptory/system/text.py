"""Values in the words that help texts, pages and messages share."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def shown(value: object) -> str:
    """The value of an option in words, as the help has it: none, yes, 0.5."""
    if isinstance(value, tuple | list):
        return " ".join(f"{each:.3g}" if isinstance(each, float) else str(each) for each in value) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # No digit is lost: two values that differ must not look alike.
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def differences(one: T, other: T) -> list[str]:
    """What two records of options do not share, as "--batch 64, not 32"."""
    pairs = [(each.name, getattr(one, each.name), getattr(other, each.name)) for each in fields(one)]
    return [f"--{name.replace('_', '-')} {shown(a)}, not {shown(b)}" for name, a, b in pairs if a != b]


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV, a line each under the names of the first."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(records)
    return text.getvalue()
