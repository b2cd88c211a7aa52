"""How labelled pictures are laid out: the words that mean a split, and what a person says where files cannot tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from inceptory.errors import ConfigError, DataError, printable

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "holdout"), "test"),
}
"""Words that mean a split: those of the data sets library of Hugging Face, and holdout."""
ORDER = ("train", "validation", "test")
VALIDATION = 0.1
"""Share of each class that is held out for validation where nobody says how much."""


@dataclass(frozen=True)
class Layout:
    """How labelled pictures are laid out, where that cannot be told from the files."""

    split_folders: Literal["auto", "on", "off"] = "auto"
    """Folders named train, val, test and the like are splits (on) or classes (off); auto looks at what they hold."""
    path_column: str | None = None
    """Column of a table with the paths of the pictures; of a parquet file or data set, with the pictures."""
    label_column: Sequence[str] | None = None
    """Column with the labels; in a table also several of 0 and 1 that are classes, the flag given for each."""

    def __post_init__(self) -> None:
        """One name or any sequence of them becomes a tuple, which is compared and hashed."""
        if self.label_column is not None:
            names = (self.label_column,) if isinstance(self.label_column, str) else tuple(self.label_column)
            object.__setattr__(self, "label_column", names or None)

    def only(self, data: object, *fit: str) -> None:
        """Raise ConfigError where something is said that does not fit this kind of data."""
        for field in fields(self):
            if field.name not in fit and getattr(self, field.name) != field.default:
                kind = "class folders" if field.name == "split_folders" else "tables, parquet files and data sets"
                flag = field.name.replace("_", "-")
                raise ConfigError(f"{printable(data)}: --{flag} goes with {kind} (leave it out)")


AUTO = Layout()
"""Nothing is said: the files decide."""
Given = Annotated[Any, Parameter(n_tokens=1, converter=lambda _, tokens: tokens[0].value, accepts_keys=False)]
"""Labelled pictures: on the command line a name or path, in Python also what `given.source_of` takes."""
LaidOut = Annotated[Layout, Parameter(name="*", negative="")]
"""How pictures are laid out, by flags of the command."""


def words(name: str) -> dict[str, str]:
    """The splits that a name means, each with its word: whole words between anything but letters, in any case.

    >>> words("imagenet1k-Validation-00.tar"), words("latest-00.tar")
    ({'validation': 'validation'}, {})
    """
    splits: dict[str, str] = {}
    for word in re.split(r"[\W\d_]+", name.lower()):
        if word in SPLITS:
            splits.setdefault(SPLITS[word], word)
    return splits


class Spelling:
    """The one word for each split of a data set."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}

    def split(self, where: Path | str, name: str) -> str | None:
        """The split that a name means, or None; raises DataError for two splits, or two words for one of them."""
        splits = words(name)
        if len(splits) > 1:
            both = " and ".join(repr(word) for word in splits.values())
            raise DataError(f"{where}: {name!r} names two splits, {both} (rename it so that one is left)")
        for split, word in splits.items():
            first_word, first_name = self._first.setdefault(split, (word, name))
            if first_word != word:
                raise DataError(
                    f"{where}: {first_name!r} and {name!r} both mean the {split} split (keep one word for it)"
                )
        return next(iter(splits), None)
