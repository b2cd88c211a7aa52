"""Our checkpoint: one safetensors file with the card inside."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from inceptory.errors import DataError, Doubt, UsageError
from inceptory.nets.arithmetic import state_shapes
from inceptory.nets.network import Network, empty
from inceptory.system import files
from inceptory.system.outputs import MARK
from inceptory.version import __version__
from inceptory.weights.card import KEY, Card, card_text
from inceptory.weights.files.safetensors_file import header_length
from inceptory.weights.files.source import LARGEST_HEADER
from inceptory.weights.seal import UNSEALED, is_sealed, require_sealed, seal
from inceptory.weights.seal import Tensor as Described

NAMES_SHOWN = 5


def save(net: Network, path: Path | str, card: Card | None = None) -> None:
    """Write a network and its card, whole or not at all; raises WriteError, or
    UsageError for class names beyond all measure.

    Without a card, the network's own is taken, or one that knows the architecture only.
    """
    known = card or (net.card if isinstance(net.card, Card) else Card.of(net.plan))
    # The network may have changed since its card was made (`reset_classifier`).
    fitting = known.labels if len(known.labels) == net.plan.classes else ()
    aliases = {label: names for label, names in known.aliases.items() if label in fitting}
    plan = net.plan
    known = replace(
        known,
        architecture=plan.architecture,
        dialect=plan.dialect,
        options=plan.options(),
        labels=fitting,
        aliases=aliases,
        versions=known.versions or versions(),
    )
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in net.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={KEY: seal(known.to_json(), described(tensors))})
    header = header_length(content)
    if header > LARGEST_HEADER:
        raise UsageError(f"{path}: a card of {header:,} bytes (at most {LARGEST_HEADER:,}; shorten the class names)")
    files.write(path, content)


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


def load(path: Path | str) -> Network:
    """The network of a checkpoint, in eval mode, with its card in `net.card`.

    It answers bit for bit as the saved one did. Raises MissingError, or DataError naming what does
    not fit; nothing in the file is executed.

        net = inceptory.load("runs/flowers/model.safetensors")
        net.card.labels[net(images).argmax(1)]
    """
    text = card_text(path)
    card = Card.from_json(text, str(path))
    net = empty(card.plan())
    try:
        # Copied out of the file's own memory: kernels sum in another order where a tensor does not
        # begin on a boundary, and the answer would not be bit for bit the saved network's.
        with files.in_utf8(path) as name:
            tensors = {key: tensor.clone() for key, tensor in safetensors.torch.load_file(name).items()}
    except (safetensors.SafetensorError, OSError) as fault:
        raise DataError(f"{path}: damaged, {fault} (restore it from a copy)") from None
    _check(path, net, tensors)
    require_sealed(path, text, described(tensors))
    if not is_sealed(text):
        warnings.warn(f"{path}: {UNSEALED}", Doubt, stacklevel=2)
    _check_values(path, tensors)
    net.load_state_dict(tensors, assign=True)
    net.card = card
    return net.eval()


def described(tensors: dict[str, Tensor]) -> Iterator[Described]:
    """Tensors on the processor as the digest takes them."""
    for name, tensor in tensors.items():
        content = tensor.reshape(-1).view(torch.uint8).numpy()
        yield name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), content


def _check_values(path: Path | str, tensors: dict[str, Tensor]) -> None:
    """Every tensor holds finite numbers, all of one type, as those of a network do."""
    types = {tensor.dtype for tensor in tensors.values()}
    if len(types) != 1 or not next(iter(types)).is_floating_point:
        told = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in types))
        raise DataError(f"{path}: tensors of type {told}, not of one floating point type (restore it from a copy)")
    # A sum is finite only if every value is, and needs no second tensor to find out.
    bad = next((name for name, tensor in tensors.items() if not tensor.sum(dtype=torch.float64).isfinite()), None)
    if bad is not None:
        raise DataError(f"{path}: tensor {bad} holds values that are no finite numbers (restore it from a copy)")


def _check(path: Path | str, net: Network, tensors: dict[str, Tensor]) -> None:
    """Names and shapes are a bijection with the network's, or an error that lists both sides."""
    plan = net.plan
    wanted = state_shapes(plan.tree, plan.in_channels, plan.image)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found == wanted:
        return
    missing = [name for name in wanted if name not in found]
    surplus = [name for name in found if name not in wanted]
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    parts = ((missing, "missing"), (surplus, "surplus"), (other, "of another shape"))
    told = "; ".join(f"{len(names)} {what}: {', '.join(names[:NAMES_SHOWN])}" for names, what in parts if names)
    raise DataError(f"{path}: tensors do not fit {plan.architecture}, {told} (restore it from a copy)")
