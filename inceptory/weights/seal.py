"""The digest by which a checkpoint proves itself: of its card and its tensors, not of the file's layout.

So it stays right in a file that the safetensors library has saved again, in another order or with more
metadata. It is the last word of the card's text and not metadata of its own: the library writes several
entries in another order each time, and equal checkpoints would not be equal files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.errors import DataError

WORD = "sha256"
"""Name of the digest in the card."""
LAST = re.compile(rf', "{WORD}": "([0-9a-f]{{64}})"\}}$')
UNSEALED = "has no digest of its own, so damage may go unnoticed (save it again)"
"""The doubt about a checkpoint of an earlier version, or of another writer."""

Tensor = tuple[str, str, tuple[int, ...], NDArray[Any]]
"""Name, type as PyTorch calls it ("float32"), shape, and an array of these bytes in C order, little-endian."""


def seal(card: str, tensors: Iterable[Tensor]) -> str:
    """The card's text with the digest at its end."""
    return f'{card[:-1]}, "{WORD}": "{_digest(card, tensors)}"}}'


def is_sealed(card: str) -> bool:
    """Whether a card's text ends with a digest."""
    return LAST.search(card) is not None


def require_sealed(path: object, card: str, tensors: Iterable[Tensor]) -> None:
    """Raise DataError where the digest at the end of a card's text is not that of card and tensors."""
    match = LAST.search(card)
    if match is not None and match[1] != _digest(f"{card[: match.start()]}}}", tensors):
        problem = "its digest does not fit its card and tensors, so it is damaged or was changed"
        raise DataError(f"{path}: {problem} (restore it from a copy)")


def bits(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """An array of a file's very bytes: numpy has no bfloat16, whose numbers are read as float32."""
    return (array.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else array


def _digest(card: str, tensors: Iterable[Tensor]) -> str:
    """Hexadecimal sha256 over the card's text and the tensors in the order of their names."""
    digest = hashlib.sha256(card.encode())
    for name, dtype, shape, content in sorted(tensors, key=lambda tensor: tensor[0]):
        # Each part ends with what cannot be in it, so that no two checkpoints are one text.
        digest.update(f"\0{name}\0{dtype}\0{','.join(map(str, shape))}\0".encode())
        digest.update(content.data)
    return digest.hexdigest()
