"""Our checkpoint: one safetensors file with the card inside."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from inceptory.errors import UsageError
from inceptory.nets.network import Network
from inceptory.system import files
from inceptory.system.outputs import MARK
from inceptory.version import __version__
from inceptory.weights.card import KEY, Card
from inceptory.weights.files.safetensors_file import header_length
from inceptory.weights.files.source import LARGEST_HEADER
from inceptory.weights.seal import Tensor as Described
from inceptory.weights.seal import seal

NAMES_SHOWN = 5


def save(net: Network, path: Path | str, card: Card | None = None) -> None:
    """Write a network and its card, whole or not at all.

    Raises WriteError, or UsageError for class names that are too long for a header.

    Without a card, the network's own is taken, or one that knows the architecture only.
    """
    files.write(path, checkpoint(net, path, card))


def checkpoint(net: Network, path: Path | str, card: Card | None = None) -> bytes:
    """What `save` writes; `path` is what a UsageError says."""
    complete = card or (net.card if isinstance(net.card, Card) else Card.of(net.plan))
    # The network may have changed since its card was made (`reset_classifier`).
    labels = complete.labels if len(complete.labels) == net.plan.classes else ()
    aliases = {label: names for label, names in complete.aliases.items() if label in labels}
    plan = net.plan
    complete = replace(
        complete,
        architecture=plan.architecture,
        dialect=plan.dialect,
        options=plan.options(),
        labels=labels,
        aliases=aliases,
        versions=complete.versions or versions(),
    )
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in net.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={KEY: seal(complete.to_json(), described(tensors))})
    header = header_length(content)
    if header > LARGEST_HEADER:
        raise UsageError(f"{path}: a card of {header:,} bytes (at most {LARGEST_HEADER:,}; shorten the class names)")
    return content


def tensor_file(name: str, tensors: dict[str, Tensor]) -> bytes:
    """A plain file of tensors for other packages: safetensors by the ending of its name, else PyTorch's own format."""
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    if name.lower().endswith(".safetensors"):
        return safetensors.torch.save(plain, metadata={"writer": MARK})
    content = io.BytesIO()
    torch.save(plain, content)
    return content.getvalue()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"inceptory": __version__, "torch": str(torch.__version__)}


def described(tensors: dict[str, Tensor]) -> Iterator[Described]:
    """Tensors in the memory of the CPU, as the digest takes them."""
    for name, tensor in tensors.items():
        content = tensor.reshape(-1).view(torch.uint8).numpy()
        yield name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), content
