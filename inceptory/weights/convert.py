"""The way back: our network as a file that another package loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from inceptory.errors import DataError, UsageError
from inceptory.nets.blocks import Conv, Linear, Node, Norm, Residual, Tree
from inceptory.nets.catalogue import Plan, plan
from inceptory.nets.transform import rebuild_tree
from inceptory.system.outputs import NEVER, claimed, marked
from inceptory.weights.identify import shapes_of
from inceptory.weights.model import open_model
from inceptory.weights.origins.registry import ORIGINS, Origin
from inceptory.weights.rules import names_there

Package = Literal["torchvision", "timm", "keras", "cadene", "facenet", "fid"]
ENDINGS = (".pth", ".pt", ".safetensors")
KERAS_ENDINGS = (".weights.h5", ".h5")
OWN = marked("tensors")


def convert(
    ours: Path | str,
    destination: Path | str,
    /,
    *,
    to: Annotated[Package, Parameter(name="--to")],
    classes: int | None = None,
    raw: bool = False,
    force: bool = False,
) -> str:
    """Write a network as a file that another package loads with its own code.

    For example:

        inceptory convert model.safetensors inception_v3.pth --to torchvision

    Parameters
    ----------
    ours
        A checkpoint, a run folder, any weight file that `inceptory verify` knows, or a published name.
    destination
        File to write: a state dict in .pth or .pt, or .safetensors; for Keras .weights.h5, or .h5,
        which has the layout of Keras 2.
    to
        Package that is to load the file.
    classes
        Put a new head for so many classes in place of the file's own; the same one each time.
    raw
        Take the plain weights where the file also holds their average.
    force
        Replace a file that exists; without it only a .safetensors that this command wrote is replaced.
    """
    destination = Path(destination)
    endings = KERAS_ENDINGS if to == "keras" else ENDINGS
    if not destination.name.lower().endswith(endings):
        raise UsageError(f"{destination}: not a kind of file that {to} loads (end it in {', '.join(endings)})")
    kind = OWN if destination.name.lower().endswith(".safetensors") else NEVER
    with (
        open_model(ours, raw=raw) as model,
        claimed(destination, kind, "convert", inputs=[model.path], force=force) as place,
    ):
        from inceptory.weights.express import express
        from inceptory.weights.keras.writer import keras_file
        from inceptory.weights.store import tensor_file

        net = model.network(classes, seeded=True)
        model.warn(2)
        target = target_plan(net.plan, to, model.path)
        state = express(net.state_dict(), target)
        names = their_names(target, to, model.path)
        if to == "keras":
            values = {name: tensor.float().numpy() for name, tensor in state.items()}
            content, count = keras_file(destination.name, target, names, values)
            summary = f"{count} variables of {target.architecture} for Keras' load_weights"
        else:
            content = tensor_file(destination.name, {theirs: state[name] for name, theirs in names.items()})
            summary = f"{len(names)} tensors of {target.architecture} as {to} calls them"
        place.write(content)
    return f"{destination}: {summary}"


def target_plan(ours: Plan, to: str, path: object) -> Plan:
    """Our network in the dialect of another package; raises DataError where it has no such graph."""
    _check_published(ours, path, to)
    for origin in _origins(to):
        if origin.architecture == ours.architecture:
            candidate = plan(ours.architecture, dialect=origin.dialect, classes=ours.classes, aux=ours.aux)
            if _graph(candidate) == _graph(ours):
                return candidate
    available = sorted({f"{origin.architecture} ({origin.dialect})" for origin in _origins(to)})
    raise DataError(
        f"{path}: {to} has no {ours.architecture} in dialect {ours.dialect} (it has {', '.join(available)})"
    )


def their_names(target: Plan, to: str, path: object) -> dict[str, str]:
    """Our names and theirs, for a network in that package's dialect; raises DataError for what it lacks."""
    origin = next(o for o in _origins(to) if (o.architecture, o.dialect) == (target.architecture, target.dialect))
    names = names_there(origin.table, shapes_of(target))
    unknown = [name for name, theirs in names.items() if theirs is None]
    if unknown:
        raise DataError(f"{path}: {to}'s {target.architecture} has no {unknown[0]} (leave that option out)")
    return {name: theirs for name, theirs in names.items() if theirs is not None}


def _origins(to: str) -> list[Origin]:
    return [origin for origin in ORIGINS if origin.name == to]


def _graph(network: Plan) -> Tree:
    """A network's tree without what no answer depends on: initial values, momentum, dropout, and gamma."""

    def bare(node: Node) -> Node:
        match node:
            case Conv(norm=Norm(eps=eps)):
                return replace(node, init=None, norm=Norm(eps))
            case Norm(eps=eps):
                return Norm(eps)
            case Conv() | Linear() | Residual():
                return replace(node, init=None)
            case _:
                return node

    tree = rebuild_tree(network.tree, bare)
    return replace(tree, head=replace(tree.head, dropout=0.0))


def _check_published(ours: Plan, path: object, to: str) -> None:
    """Options that change the network, and that another package's code does not know."""
    plain = plan(ours.architecture, dialect=ours.dialect, classes=ours.classes, aux=ours.aux)
    for option in ("width", "in_channels", "se", "scale"):
        if getattr(ours, option) != getattr(plain, option):
            raise DataError(f"{path}: {to} knows no {option}={getattr(ours, option)} (convert the published network)")
