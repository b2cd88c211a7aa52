"""Our checkpoint: one safetensors file with the card inside."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from inceptory.errors import DataError, UsageError
from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Network
from inceptory.system import files
from inceptory.system.outputs import MARK
from inceptory.version import __version__
from inceptory.weights.card import KEY, Card
from inceptory.weights.files.formats import Weights
from inceptory.weights.files.safetensors_file import header_length
from inceptory.weights.files.source import LARGEST_HEADER
from inceptory.weights.identify import shapes_of
from inceptory.weights.seal import Tensor as Described
from inceptory.weights.seal import require_sealed, seal

NAMES_SHOWN = 5


def save(net: Network, path: Path | str, card: Card | None = None) -> None:
    """Write a network and its card, whole or not at all.

    Raises WriteError, or UsageError for class names that are too long for a header.

    Without a card, the network's own is taken, or one that knows the architecture only.
    """
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


def own_tensors(weights: Weights, plan: Plan) -> dict[str, Tensor]:
    """The tensors of our open checkpoint by name, checked against the digest of its card where it has one.

    Raises DataError naming what does not fit.
    """
    shapes = {name: entry.shape for name, entry in weights.entries.items()}
    _check(weights.path, plan, shapes)
    # Copied into torch's own memory: kernels sum in another order where a tensor does not begin on a
    # boundary, and the answer would not be bit for bit the saved network's.
    tensors = {
        name: torch.tensor(weights.read(name, None)).to(getattr(torch, entry.dtype))
        for name, entry in weights.entries.items()
    }
    require_sealed(weights.path, weights.metadata[KEY], described(tensors))
    _check_values(weights.path, tensors)
    return tensors


def described(tensors: dict[str, Tensor]) -> Iterator[Described]:
    """Tensors in the memory of the CPU, as the digest takes them."""
    for name, tensor in tensors.items():
        content = tensor.reshape(-1).view(torch.uint8).numpy()
        yield name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), content


def _check_values(path: Path, tensors: dict[str, Tensor]) -> None:
    """Every tensor holds finite numbers, all of one type, as those of a network do."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) != 1 or not next(iter(dtypes)).is_floating_point:
        type_names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise DataError(
            f"{path}: tensors of type {type_names}, not of one floating point type (restore it from a copy)"
        )
    # A sum is finite only if every value is, and unlike a test of each value it needs no second tensor.
    bad = next((name for name, tensor in tensors.items() if not tensor.sum(dtype=torch.float64).isfinite()), None)
    if bad is not None:
        raise DataError(f"{path}: tensor {bad} holds NaN or infinite values (restore it from a copy)")


def _check(path: Path, plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes are a bijection with the network's, or an error that lists both sides."""
    expected = shapes_of(plan)
    if shapes == expected:
        return
    missing = [name for name in expected if name not in shapes]
    surplus = [name for name in shapes if name not in expected]
    reshaped = [name for name in expected if name in shapes and shapes[name] != expected[name]]
    parts = ((missing, "missing"), (surplus, "surplus"), (reshaped, "of another shape"))
    problem = "; ".join(f"{len(names)} {what}: {', '.join(names[:NAMES_SHOWN])}" for names, what in parts if names)
    raise DataError(f"{path}: tensors do not fit {plan.architecture}, {problem} (restore it from a copy)")
