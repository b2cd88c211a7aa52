"""Labels as arrays: (N,) int64, the one class of each picture, or (N, K) uint8, a 1 for every class that it shows.

The second form is multi-label: a picture may show several classes, or none. `cell_of` and `hides` are how
the labels of single rows are read, whatever they came in. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64] | NDArray[np.uint8]
IN_LISTS = "labels are lists, so that a picture may show several classes"
"""What a reader notes where that is why data is multi-label."""
Cell = int | str | tuple[int | str, ...]
"""What a row says: a class by number or word, or a list of them."""

HIDDEN = -1
"""A label that is kept from us; on the Hub, those of a competition's test split."""
KINDS = "labels are whole numbers or words"
ONCE = "give the numbers of its classes, each once, not 0 or 1 for every class"


def cell_of(value: Any) -> Cell | None:
    """What the label of a row says; None where it has none.

    Numbers of numpy and tensors mean what they hold. Whole fractions are whole numbers, and NaN is no
    label: so numbers are written where some are missing. True is 1 and False is 0. Raises ValueError,
    in words that follow those for the row, for anything else, and for a list in which a number stands
    twice, as in a row with 0 or 1 for every class.
    """
    if type(value) in (int, str):
        cell: int | str = value
        return cell
    plain = _plain(value)
    if not isinstance(plain, list | tuple):
        return _one(plain, plain)
    plain = [_plain(one) for one in plain]
    labels = tuple(one for one in (_one(one, plain) for one in plain) if one is not None)
    if len(labels) < len(plain):
        raise ValueError(f"has the label {plain!r} ({KINDS})")
    numbers = [one for one in labels if isinstance(one, int)]
    # Truths in a list can only say of every class whether it is there.
    if len(set(numbers)) < len(numbers) or any(isinstance(one, bool) for one in plain):
        raise ValueError(f"has the label {plain!r} ({ONCE})")
    return labels


def _plain(value: Any) -> Any:
    """Python's own numbers and lists for those of numpy and tensors."""
    return value.tolist() if hasattr(value, "tolist") else value


def _one(value: object, whole: object) -> int | str | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, int | str) or (isinstance(value, float) and value.is_integer()):
        return value if isinstance(value, str) else int(value)
    raise ValueError(f"has the label {whole!r} ({KINDS})")


def hides(splits: Iterable[AbstractSet[int | str]], *, named: bool) -> bool:
    """Whether -1 stands for labels that are hidden, by those that each split has.

    So it is where it cannot be a class: the data names its classes, or counts them from 0, or a split has
    no other label.
    """
    return named or any(0 in labels or labels == {HIDDEN} for labels in splits)


def per_class(labels: Labels, classes: int = 0) -> NDArray[np.int64]:
    """Pictures of each class; with one class a picture at least `classes` numbers."""
    counts: NDArray[np.int64] = (
        labels.sum(0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    )
    return counts


def showing(labels: Labels, label: int) -> NDArray[np.bool_]:
    """(N,) which pictures show a class."""
    shows: NDArray[np.bool_] = labels[:, label] > 0 if labels.ndim == 2 else labels == label
    return shows


def shown(labels: Labels, row: int) -> list[int]:
    """The classes of one picture."""
    return np.flatnonzero(labels[row]).tolist() if labels.ndim == 2 else [int(labels[row])]


def combinations(labels: Labels) -> NDArray[np.int64]:
    """(N,) numbers that are equal where pictures show the same classes."""
    if labels.ndim == 1:
        return labels.astype(np.int64, copy=False)
    return np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)


def several_hot(names: Sequence[Sequence[int]], classes: int) -> NDArray[np.uint8]:
    """(N, classes) with a 1 for each of the classes that a row names."""
    hot = np.zeros((len(names), classes), dtype=np.uint8)
    for row, labels in enumerate(names):
        hot[row, list(labels)] = 1
    return hot


def stratified(labels: Labels, fraction: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which pictures to hold out: `fraction` of each class, at least one where it has two.

    With several labels a picture the rarest class chooses first and pictures of none come last: the
    idea of Sechidis, Tsoumakas and Vlahavas 2011. A later class counts what is held already, and
    may find too few pictures that are still open.
    """
    random = np.random.default_rng(seed)
    held, decided = np.zeros((2, len(labels)), dtype=bool)
    for rows in _groups(labels):
        target = min(max(round(len(rows) * fraction), 1), len(rows) - 1) if fraction and len(rows) else 0
        open_rows = rows[~decided[rows]]
        held[random.permutation(open_rows)[: max(target - int(held[rows].sum()), 0)]] = True
        decided[rows] = True
    return held


def _groups(labels: Labels) -> list[NDArray[np.int64]]:
    """Rows of each class: by number, or with several labels a picture the rarest first and those of none last."""
    if labels.ndim == 1:
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]
    order = np.argsort(per_class(labels), kind="stable")
    return [*(np.flatnonzero(labels[:, label]) for label in order), np.flatnonzero(~labels.any(1))]
