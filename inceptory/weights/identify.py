"""Whose file is this, of which network? Decided by names and shapes alone, before a tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError, UnknownName
from inceptory.nets.arithmetic import state_shapes
from inceptory.nets.catalogue import MOST_CHANNELS, Plan, architecture, catalogue, plan
from inceptory.nets.transform import inherit
from inceptory.weights.files.source import quoted
from inceptory.weights.origins.registry import ORIGINS, WITH_BACKGROUND, Origin
from inceptory.weights.rules import Match, both_sides, fit, names_there, present_names

Shapes = Mapping[str, tuple[int, ...]]

SURE = 0.5
"""Share of a network's tensors that a file must hold for us to call it that network's."""


@dataclass(frozen=True)
class Identity:
    """What a file turned out to be."""

    origin: Origin
    plan: Plan
    match: Match
    background: bool
    """Whether row 0 of the classifier is a background class, which is dropped."""
    decided: str
    """How the dialect was decided, in words."""
    head: tuple[str, ...] = ()
    """Tensors of a custom head of more than one linear layer: not loaded."""
    notes: tuple[str, ...] = ()
    """What a person should know before trusting its answers, such as what its config says and we do not do."""
    remarks: tuple[str, ...] = ()
    """How the file was read, where that was not the usual way."""
    labels: tuple[str, ...] = ()
    """Class names, where the file or a config beside it has them."""
    prefix: str = ""
    """What stands before the network's names, such as "module."; empty where nothing does."""

    @property
    def preprocess(self) -> Preprocess | None:
        """What its package does to pictures by default; None for channels that are no picture's."""
        steps, channels = self.origin.preprocess, self.plan.in_channels
        if channels == 1 and len(steps.mean) > 1:
            mean, std = ((sum(values) / len(values),) for values in (steps.mean, steps.std))
            return replace(steps, order="L", mean=mean, std=std)
        return steps if channels == len(steps.mean) else None


@cache
def shapes_of(plan: Plan) -> Shapes:
    """Name and shape of every tensor of a network."""
    return state_shapes(plan.tree, plan.in_channels, plan.image)


def identify(path: object, entries: Shapes, name: str | None = None, dialect: str | None = None) -> Identity:
    """The origin and network of a file's tensors; `name` and `dialect` settle what they cannot tell.

    Raises DataError with both sides where no network of the family fits, naming the nearest.
    """
    if name is not None:
        architecture(name)
    dialects = {each for network in catalogue().values() for each in network.dialects}
    if dialect is not None and dialect not in dialects:
        raise UnknownName("dialect", dialect, sorted(dialects))
    origins = [origin for origin in ORIGINS if name in (None, origin.architecture)]
    if not origins:
        raise UnknownName("network with weights of other packages", str(name), [o.architecture for o in ORIGINS])
    best = _nearest(origins, entries, dialect)
    if best.match.complete and not _misshapen(best, entries):
        return best
    if others := _other_networks(best, entries):
        names = ", ".join(map(quoted, (best.prefix, *others)))
        raise DataError(f"{path}: holds several networks, whose names begin with {names} (save one of them alone)")
    other = best if name is None else _nearest(ORIGINS, entries, None)
    if other.plan.architecture != best.plan.architecture and _share(other) > _share(best):
        problem = f"looks like {other.plan.architecture} of {other.origin.name}, not {name}"
        raise DataError(f"{path}: {problem} (give a file of {name}, or that name)")
    raise DataError(f"{path}: {_unfit(best, entries)}")


def _nearest(origins: Sequence[Origin], entries: Shapes, dialect: str | None) -> Identity:
    likely = [origin for origin in origins if _ends_alike(origin, entries)] or origins
    identities = [_with_own_head(_try(origin, entries, dialect), entries) for origin in likely]
    return min(identities, key=lambda identity: _distance(identity, entries))


def _share(identity: Identity) -> float:
    """How much of the network the file holds."""
    return len(identity.match.pairs) / max(len(shapes_of(identity.plan)), 1)


@cache
def _first(origin: Origin) -> tuple[str, tuple[int, ...]]:
    """What its package calls the first tensor of a network, and its shape: most origins are ruled out by it."""
    # This runs for every origin, so it decides no whole plan; that is done for the few that remain.
    network = architecture(origin.architecture)
    switches = network.dialects[origin.dialect]
    tree = inherit(network.build(switches), switches.defaults)
    first, shape = next(iter(state_shapes(tree, len(origin.preprocess.mean), switches.image).items()))
    return str(names_there(origin.table, [first])[first]), shape


def _rows(entries: Shapes, name: str | None) -> int:
    """Classes of a linear layer in the file, 0 where there is none of this name."""
    shape = entries.get(name or "", ())
    # tf-slim classifies by convolutions of one cell.
    return shape[0] if len(shape) == 2 or shape[2:] == (1, 1) else 0


def _ends_alike(origin: Origin, entries: Shapes) -> list[str]:
    """Names in the file that are that of the network's first tensor, with or without a prefix."""
    first, _ = _first(origin)
    return [name for name in entries if name == first or name.endswith(f".{first}")]


def _prefix(origin: Origin, entries: Shapes) -> str:
    """What stands before the names of the network; empty where its first tensor has no prefix."""
    before = [name.removesuffix(_first(origin)[0]) for name in _ends_alike(origin, entries)]
    if not before or "" in before:
        return ""
    return max(before, key=lambda prefix: _behind(prefix, entries))


def _behind(prefix: str, entries: Shapes) -> int:
    """How many names begin with the prefix."""
    return sum(name.startswith(prefix) for name in entries)


def _other_networks(identity: Identity, entries: Shapes) -> list[str]:
    """Prefixes of further networks in the file that are as large as the identified one."""
    others = [name.removesuffix(_first(identity.origin)[0]) for name in _ends_alike(identity.origin, entries)]
    apart = [each for each in others if identity.prefix and not each.startswith(identity.prefix)]
    return [each for each in apart if _behind(each, entries) >= len(identity.match.pairs)]


def _channels(origin: Origin, entries: Shapes, present: Mapping[str, str]) -> int:
    """Channels of the pictures that a file's first layer takes, 3 where that cannot be told."""
    name, expected = _first(origin)
    shape = entries.get(present.get(name, ""), ())
    if len(shape) != len(expected):
        return 3
    # A depthwise first layer has a few outputs for each of its inputs, and takes one.
    channels = shape[1] if expected[1] == 3 else shape[0] * 3 // expected[0]
    return channels if 1 <= channels <= MOST_CHANNELS else 3


@cache
def _auxiliary(origin: Origin) -> frozenset[str]:
    """Their names of the tensors of auxiliary heads."""
    with_them, without = (
        names_there(origin.table, shapes_of(plan(origin.architecture, dialect=origin.dialect, aux=aux))).values()
        for aux in (True, False)
    )
    return frozenset(str(name) for name in set(with_them) - set(without))


def _without_auxiliary(match: Match, auxiliary: Mapping[str, str]) -> Match:
    """The match without the auxiliary tensors, which `auxiliary` gives by the file's names."""
    names = frozenset(auxiliary.values())
    surplus = tuple(name for name in match.surplus if name not in names)
    return replace(match, surplus=surplus, dropped=(*match.dropped, *(name for name in match.surplus if name in names)))


def _try(origin: Origin, entries: Shapes, dialect: str | None) -> Identity:
    prefix = _prefix(origin, entries)
    present = present_names(origin.table, entries, prefix)
    rows, aux_rows = (_rows(entries, present.get(name)) for name in (origin.classifier, origin.aux))
    background = origin.background and rows == WITH_BACKGROUND
    classes = rows - background
    aux = aux_rows == rows > 0
    chosen, decided = origin.dialect, f"the default of {origin.name}"
    if dialect is not None and dialect in architecture(origin.architecture).dialects:
        chosen, decided = dialect, "as asked for"
    elif len({o.dialect for o in ORIGINS if o.architecture == origin.architecture}) == 1:
        decided = "the only one of these names"
    elif rows == origin.classes and origin.classes in (WITH_BACKGROUND, 1008):
        decided = f"by its {rows} classes"
    channels = _channels(origin, entries, present)
    network = plan(origin.architecture, dialect=chosen, classes=classes, aux=aux, in_channels=channels)
    match = fit(origin.table, shapes_of(network), entries, prefix)
    remarks, notes = [], []
    if prefix:
        remarks.append(f"its names begin with {quoted(prefix)}")
    if aux_rows and not aux:
        # Only the main head was replaced: the auxiliary one has other classes, and no answer depends on it.
        match = _without_auxiliary(match, {name: present[name] for name in _auxiliary(origin) if name in present})
        remarks.append(f"its auxiliary heads, for {aux_rows} classes, are left out")
    if channels != len(origin.preprocess.mean):
        notes.append(f"takes {channels} channel{'s' * (channels > 1)}, so its preprocessing is not known")
    return Identity(
        origin, network, match, background, decided, notes=tuple(notes), remarks=tuple(remarks), prefix=prefix
    )


def _with_own_head(identity: Identity, entries: Shapes) -> Identity:
    """A backbone with a custom head: one linear layer is taken as the classifier, more are only reported."""
    match = identity.match
    if match.missing or not match.surplus or identity.plan.classes:
        return identity
    if any(len(entries[name]) > 2 for name in match.surplus):
        return identity
    kernels = [name for name in match.surplus if len(entries[name]) == 2]
    biases = [name for name in match.surplus if name not in kernels]
    if len(kernels) == 1 and len(biases) == 1:
        (kernel,), (bias,) = kernels, biases
        present = identity.plan
        classes, channels = entries[kernel][0], present.in_channels
        network = plan(present.architecture, dialect=present.dialect, classes=classes, in_channels=channels)
        if shapes_of(network)["head.classifier.weight"] == entries[kernel]:
            pairs = {**match.pairs, "head.classifier.weight": kernel, "head.classifier.bias": bias}
            return replace(identity, plan=network, match=replace(match, pairs=pairs, surplus=()))
    return replace(identity, head=match.surplus, match=replace(match, surplus=()))


def _distance(identity: Identity, entries: Shapes) -> tuple[int, bool, bool]:
    """How far a file is from a network: tensors out of place, a custom head, other classes."""
    match, origin = identity.match, identity.origin
    misplaced = len(match.missing) + len(match.surplus) + len(_misshapen(identity, entries))
    there = present_names(origin.table, entries, identity.prefix).get(origin.classifier, "")
    own = bool(identity.head) or match.pairs.get("head.classifier.weight", there) != there
    return misplaced, own, entries.get(there, (0,))[0] != origin.classes


def _misshapen(identity: Identity, entries: Shapes) -> list[str]:
    """Our names of the tensors that have another shape in the file."""
    shapes = shapes_of(identity.plan)
    return [ours for ours, theirs in identity.match.pairs.items() if not _fits(identity, ours, shapes, entries[theirs])]


def _fits(identity: Identity, ours: str, shapes: Shapes, stored: tuple[int, ...]) -> bool:
    shape = shapes[ours]
    if identity.background and classifies(ours):
        shape = (shape[0] + 1, *shape[1:])
    # Files made from Caffe's store norms as rows, (1, C) for (C,); old Xceptions store their pointwise kernels as
    # matrices, and tf-slim its classifiers as convolutions.
    matrix = (*stored, 1, 1) == shape or stored == (*shape, 1, 1)
    return stored == shape or (len(shape) == 1 and stored == (1, *shape)) or (len(shape) in (2, 4) and matrix)


def classifies(ours: str) -> bool:
    """Whether a tensor of ours has a row for each class."""
    return ours.split(".")[-2] == "classifier"


def _unfit(best: Identity, entries: Shapes) -> str:
    if _share(best) < SURE:
        names = ", ".join(map(quoted, sorted(entries)[:3]))
        problem = f"no network of the Inception family, {len(entries)} tensors, the first: {names}"
        return f"{problem} (inceptory weights lists what is read)"
    wrong = _misshapen(best, entries)
    names = both_sides(best.match.missing, [quoted(name) for name in best.match.surplus])
    shapes = f"{len(wrong)} of another shape: {', '.join(wrong[:3])}" if wrong else ""
    sides = "; ".join(filter(None, (names, shapes)))
    return f"looks like {best.plan.architecture} of {best.origin.name}, but {sides} (give a whole file of one network)"
