"""Our checkpoint: one safetensors file with the card inside. Torch is loaded only where a network of it is given."""

from __future__ import annotations

import io
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from inceptory.errors import UsageError
from inceptory.nets.catalogue import Plan
from inceptory.system import files
from inceptory.system.outputs import MARK
from inceptory.version import __version__
from inceptory.weights.card import KEY, Card
from inceptory.weights.files.safetensors_file import header_length
from inceptory.weights.files.source import LARGEST_HEADER
from inceptory.weights.seal import Tensor as Described
from inceptory.weights.seal import seal

if TYPE_CHECKING:
    from torch import Tensor

    from inceptory.nets.network import Network


def save(net: Network, path: Path | str, card: Card | None = None) -> None:
    """Write a network and its card, whole or not at all.

    Raises WriteError, or UsageError for class names that are too long for a header.

    Without a card, the network's own is taken, or one that knows the architecture only.
    """
    files.write(path, checkpoint(net, path, card))


def save_arrays(plan: Plan, arrays: Mapping[str, NDArray[Any]], path: Path | str, card: Card) -> None:
    """What `save` writes of a network of this plan with these tensors, without torch."""
    files.write(path, checkpoint_of(plan, arrays, path, card))


def checkpoint(net: Network, path: Path | str, card: Card | None = None) -> bytes:
    """What `save` writes; `path` is what a UsageError says."""
    import safetensors.torch

    complete = _completed(card or (net.card if isinstance(net.card, Card) else Card.of(net.plan)), net.plan)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in net.state_dict().items()}
    sealed = seal(complete.to_json(), described(tensors))
    return _fitting(path, safetensors.torch.save(tensors, metadata={KEY: sealed}))


def checkpoint_of(plan: Plan, arrays: Mapping[str, NDArray[Any]], path: Path | str, card: Card) -> bytes:
    """What `save_arrays` writes; `path` is what a UsageError says."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    parts = ((name, array.dtype.name, array.shape, array) for name, array in whole.items())
    sealed = seal(_completed(card, plan).to_json(), parts)
    return _fitting(path, safetensors.numpy.save(whole, metadata={KEY: sealed}))


def _completed(card: Card, plan: Plan) -> Card:
    """The card of a network of this plan, which may have changed since the card was made (`reset_classifier`)."""
    labels = card.labels if len(card.labels) == plan.classes else ()
    return replace(
        card,
        architecture=plan.architecture,
        dialect=plan.dialect,
        options=plan.options(),
        labels=labels,
        aliases={label: names for label, names in card.aliases.items() if label in labels},
        versions=card.versions or versions(),
    )


def _fitting(path: Path | str, content: bytes) -> bytes:
    """The same content; raises UsageError for a header that is too long to be read."""
    header = header_length(content)
    if header > LARGEST_HEADER:
        raise UsageError(f"{path}: a card of {header:,} bytes (at most {LARGEST_HEADER:,}; shorten the class names)")
    return content


def tensor_file(name: str, tensors: dict[str, Tensor]) -> bytes:
    """A plain file of tensors for other packages: safetensors by the ending of its name, else PyTorch's own format."""
    import safetensors.torch
    import torch

    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    if name.lower().endswith(".safetensors"):
        return safetensors.torch.save(plain, metadata={"writer": MARK})
    content = io.BytesIO()
    torch.save(plain, content)
    return content.getvalue()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    torch = find_spec("torch")
    assert torch is not None, "it is required"
    assert torch.origin is not None, "it has a file"
    # The number that torch itself gives, which is longer than that of its installed package; it is a file by itself,
    # for loading all of torch takes longer than a head.
    told = runpy.run_path(str(Path(torch.origin).with_name("version.py")))
    return {"inceptory": __version__, "torch": str(told["__version__"])}


def described(tensors: dict[str, Tensor]) -> Iterator[Described]:
    """Tensors in the memory of the CPU, as the digest takes them."""
    import torch

    for name, tensor in tensors.items():
        content = tensor.reshape(-1).view(torch.uint8).numpy()
        yield name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), content
