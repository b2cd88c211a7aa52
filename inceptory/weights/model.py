"""`open_model`: what a person means by a model, resolved, opened, identified and settled once.

    with open_model("xception_weights.h5") as model:
        model.card, model.certificate()
        net = model.network(classes=5)

Every command that takes a MODEL goes through here. Nothing of a tensor's size is read before `network`,
and torch is not loaded before it either.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from inceptory.data.imagenet import labels
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import ConfigError, DataError, Doubt
from inceptory.nets.catalogue import Plan
from inceptory.weights.arrays import adopted_arrays, own_arrays
from inceptory.weights.card import KEY, Card
from inceptory.weights.certificate import Certificate, of_another, of_own
from inceptory.weights.files.formats import Weights, open_weights, weights_in
from inceptory.weights.identify import Identity, identify
from inceptory.weights.keras.facts import settle
from inceptory.weights.origins.registry import Origin
from inceptory.weights.published.hub_config import with_config
from inceptory.weights.published.record import Published
from inceptory.weights.published.records import by_hash, find, published
from inceptory.weights.published.resolve import Resolved, resolve
from inceptory.weights.seal import UNSEALED, is_sealed
from inceptory.weights.view import View, view

if TYPE_CHECKING:
    from inceptory.nets.network import Network

IMAGENET_ORIGINS = ("torchvision", "timm", "cadene", "keras", "slim", "caffe")
"""Packages whose files with 1000 classes are ImageNet's."""


@dataclass(frozen=True, eq=False)
class Model:
    """An open weight file that was identified. Closes itself, or by `with`."""

    path: Path
    card: Card
    """Our checkpoint's own card; for another package's file, one made from what we know of that package."""
    plan: Plan
    """The network, every option of it decided."""
    weights: Weights
    identity: Identity | None = None
    """What another package's file turned out to be; None for our checkpoint."""
    inside: View | None = None
    """Its tensors in PyTorch's terms; None for our checkpoint."""
    record: Published | None = None
    """The published file that it is; looked up where it was opened by name, or where only its hash can tell."""
    requested: tuple[str | None, str | None] = (None, None)
    """The network and the dialect that the caller named."""
    doubts: tuple[str, ...] = ()
    """What a person should know before trusting its answers."""

    @property
    def own(self) -> bool:
        """Whether it is a checkpoint of ours."""
        return self.identity is None

    @property
    def file_bytes(self) -> int:
        """Of the file."""
        return self.path.stat().st_size

    @property
    def remarks(self) -> tuple[str, ...]:
        """How the file was read, where that was not the usual way."""
        return () if self.identity is None else self.identity.remarks

    def network(self, classes: int | None = None, *, seeded: bool = False) -> Network:
        """The network in eval mode with its card in `net.card`; `classes` asks for a fresh head.

        The fresh values come from torch's global generator, or with `seeded` are the same each time.
        Raises DataError for damaged tensors.
        """
        from inceptory.weights.adopt import adopted, own, with_new_head

        if self.identity is None or self.inside is None:
            net = own(self.weights, self.card, self.plan)
        else:
            net = adopted(self.weights, self.inside, self.identity, self.card)
        return net if classes is None else with_new_head(net, classes, seeded=seeded)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The network's tensors by name, without torch; raises DataError for damaged ones."""
        if self.identity is None or self.inside is None:
            arrays = own_arrays(self.weights, self.plan)
        else:
            arrays = dict(adopted_arrays(self.weights, self.inside, self.identity))
        self.weights.require_unchanged()
        return arrays

    def digest(self) -> str:
        """sha256 of the file."""
        return self.weights.digest("sha256")

    def certificate(self) -> Certificate:
        """What the file holds, and where each of its tensors goes; reads the whole file for its hash."""
        if self.identity is None or self.inside is None:
            return of_own(self.weights, self.card, self.plan, self.doubts)
        weights, identity = self.weights, self.identity
        digest = weights.digest("sha256")
        record = by_hash(digest, weights.digest("md5"))
        name, dialect = self.requested
        if record is not None and dialect is None and record.dialect != identity.plan.dialect:
            identity = _settled(weights, self.inside, name, record.dialect)
        weights.require_unchanged()
        return of_another(weights, identity, digest, record, alternatives(identity.origin, record))

    def warn(self, depth: int) -> Self:
        """Issue each doubt as a warning that points `depth` callers up, to the line that opened the model."""
        for doubt in self.doubts:
            warnings.warn(f"{self.path}: {doubt}", Doubt, stacklevel=depth + 1)
        return self

    def require_classifier(self) -> None:
        """Raise ConfigError for a model that cannot name what is in pictures."""
        if self.card.preprocess is None or not self.card.labels:
            raise ConfigError(f"{self.path}: knows no class names or preprocessing (train it first)")

    def require_preprocess(self) -> Preprocess:
        """How its pictures are prepared; raises ConfigError for a model that does not know."""
        if self.card.preprocess is None:
            remedy = "save it with a card that does" if self.own else "say it in Python, open_model(preprocess=...)"
            raise ConfigError(f"{self.path}: knows no preprocessing ({remedy})")
        return self.card.preprocess

    def close(self) -> None:
        """Close the file."""
        self.weights.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_model(
    model: Path | str | Resolved,
    *,
    name: str | None = None,
    dialect: str | None = None,
    preprocess: Preprocess | None = None,
    weights: Path | str | None = None,
    raw: bool = False,
) -> Model:
    """The model behind a path, a run folder or a published name (fetched if need be).

    `name` (a network or a published name), `dialect` and `preprocess` settle what tensors cannot tell;
    `weights` is a copy of a published file fetched by hand; `raw` takes the plain weights where the file
    also holds their average. Raises MissingError, UnknownName, UsageError, or DataError that lists what
    does not fit; nothing in a file is ever executed.
    """
    resolved = model if isinstance(model, Resolved) else resolve(model, weights, raw=raw)
    origin = None if name is None else find(name)
    if origin is not None:
        # The file was trained further from this published one: same network and preprocessing, other bytes.
        name, dialect, preprocess = origin.architecture, dialect or origin.dialect, preprocess or origin.preprocess
    file = open_weights(resolved.path, raw=resolved.raw)
    try:
        if KEY in file.metadata:
            return _own(file)
        return _recognised(resolved, file, name, dialect, preprocess)
    except BaseException:
        file.close()
        raise


def model_in(content: bytes, path: Path) -> Model:
    """The model in the bytes of a checkpoint of ours; `path` is what faults say. Raises DataError."""
    file = weights_in(content, path)
    try:
        if KEY not in file.metadata:
            raise DataError(f"{path}: no checkpoint of inceptory (fit it again)")
        return _own(file)
    except BaseException:
        file.close()
        raise


def load(
    model: Path | str | Resolved,
    *,
    name: str | None = None,
    dialect: str | None = None,
    preprocess: Preprocess | None = None,
    classes: int | None = None,
    raw: bool = False,
) -> Network:
    """The network behind a path or a published name, in eval mode, with its card in `net.card`.

    Our own checkpoint answers bit for bit as it did when it was saved. Files of torchvision, timm,
    Keras, Cadene's pretrained-models, facenet-pytorch and pytorch-fid are recognised by their tensors;
    `name` (a network or a published name), `dialect` and `preprocess` settle what tensors cannot tell.
    A published name is downloaded once. `classes` asks for a new head, whatever the file has: fresh
    classifiers from torch's global generator, as `Network.reset_classifier` puts them in.
    Where a trainer's checkpoint holds averaged weights, those are loaded, or with `raw` the plain ones.
    Raises MissingError, or DataError that lists what does not fit; nothing in a file is ever executed.

        net = inceptory.load("runs/flowers")
        net = inceptory.load("inception_v3_google-0cc3c7bd.pth")
        net = inceptory.load("inception_v3.tf_in1k")
        net = inceptory.load("inception_v3.tf_in1k", classes=5)     # a backbone to be trained further
    """
    with open_model(model, name=name, dialect=dialect, preprocess=preprocess, raw=raw) as opened:
        net = opened.network(classes)
        opened.warn(2)
    return net


def _own(weights: Weights) -> Model:
    text = weights.metadata[KEY]
    card = Card.from_json(text, str(weights.path))
    return Model(weights.path, card, card.plan(), weights, doubts=() if is_sealed(text) else (UNSEALED,))


def _recognised(
    resolved: Resolved, weights: Weights, name: str | None, dialect: str | None, preprocess: Preprocess | None
) -> Model:
    """Another package's file, identified by its record where a published name was given, else by its tensors."""
    record, doubts, inside = resolved.record, [], view(weights)
    if record is not None:
        identity = _settled(weights, inside, record.architecture, dialect or record.dialect)
        _check_classes(weights, record, identity)
        _check_hash(weights, record)
    else:
        identity = _settled(weights, inside, name, dialect)
        if identity.origin.twins and not (dialect or preprocess):
            # Files with the same names and graph differ only by their published hash.
            record = by_hash(weights.digest("sha256"))
            if others := alternatives(identity.origin, record):
                package = record.origin if record else identity.origin.name
                doubt = f"read as {package}'s; others have the same names and graph: {', '.join(others)}"
                doubts.append(f"{doubt} (say name= or preprocess= to settle it)")
    doubts += [f"{note} (prepare pictures and read answers accordingly)" for note in identity.notes]
    default = (record.preprocess if record else None) or identity.preprocess
    card = _card(weights.path, identity, preprocess or default)
    return Model(weights.path, card, identity.plan, weights, identity, inside, record, (name, dialect), tuple(doubts))


def _settled(weights: Weights, inside: View, name: str | None, dialect: str | None) -> Identity:
    """Origin and network of another package's file, by its tensors, its config, and the config beside it."""
    identity = identify(weights.path, inside.shapes, name, dialect)
    identity = with_config(replace(identity, remarks=(*weights.remarks, *identity.remarks)), weights.path)
    # A dialect that the caller or the published record names is final.
    return identity if dialect else settle(weights, inside, identity, free=name is None)


def alternatives(origin: Origin, record: Published | None) -> tuple[str, ...]:
    """Names of the other published files that a file of this origin may be; `record` is the one with its hash.

    The same bytes may be published twice, for pictures that are prepared in two ways.
    """
    if record is None:
        return origin.twins
    same_bytes = {each.name for each in published().values() if each.declared == record.declared} - {record.name}
    return tuple(name for name in origin.twins if name in same_bytes)


def _check_hash(weights: Weights, record: Published) -> None:
    declared = record.declared
    if declared is not None and (wrong := declared.wrong(weights.digest(declared.algorithm))):
        raise DataError(f"{weights.path}: not {record.name}, {wrong} (give it as a path, without that name)")


def _check_classes(weights: Weights, record: Published, identity: Identity) -> None:
    classes = identity.plan.classes + identity.background
    if record.classes is not None and classes != record.classes:
        problem = f"not {record.name}, its classifier has {classes} classes and not {record.classes}"
        raise DataError(f"{weights.path}: {problem} (give it as a path, without that name)")


def _card(path: Path, identity: Identity, preprocess: Preprocess | None) -> Card:
    origin = identity.origin
    imagenet = identity.plan.classes == 1000 and origin.name in IMAGENET_ORIGINS
    facts = {"origin": origin.name, "file": path.name}
    if identity.remarks:
        facts["read"] = "; ".join(identity.remarks)
    names = identity.labels or (labels() if imagenet else ())
    return Card.of(identity.plan, labels=names, preprocess=preprocess, data=facts)
