"""What is benched: a trained model with its weights, or an architecture of the catalogue with fresh ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.exported import Exported, is_exported, open_exported
from inceptory.errors import ConfigError
from inceptory.features.extract import preprocess_at
from inceptory.nets.catalogue import Plan, catalogue, plan
from inceptory.weights.card import Card
from inceptory.weights.model import Model, open_model

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation where nobody knows them: the time is the same for all."""


@dataclass(frozen=True)
class Benched:
    """One model of the command line."""

    name: str
    """As the person gave it."""
    path: str
    """Where its weights lie, or the published name under which they are found."""
    plan: Plan
    preprocess: Preprocess
    """At the size that is benched."""
    fresh: bool = False
    """Whether its weights are fresh."""
    exported: Exported | None = None
    """The folder that `export` wrote, which is for one engine in one precision."""

    @property
    def published(self) -> bool:
        """Whether the network is the one of its paper, which other packages have too."""
        options = self.plan
        return options.width == 1 and options.in_channels == 3 and not options.se and options.scale is None


def opened(model: str, image: int | None) -> Model | Exported:
    """An open model at a size of pictures; raises UsageError for a size that it does not take, ConfigError for a
    model without a classifier, and for another size of an exported folder."""
    if is_exported(model):
        exported = open_exported(model)
        if image not in (None, exported.require_preprocess().size):
            raise ConfigError(f"--image {image}: {model} was exported for {exported.require_preprocess().size} pixels")
        return exported
    given = open_model(model)
    try:
        if not given.plan.classes:
            raise ConfigError(f"{model}: has no classifier (bench a network that names what is in pictures)")
        if given.card.preprocess is None:
            grey = HALF[: given.plan.in_channels]
            unknown = Preprocess(given.plan.image, grey, grey, order="L" if len(grey) == 1 else "RGB")
            given = replace(given, card=replace(given.card, preprocess=unknown))
        return replace(given, card=replace(given.card, preprocess=preprocess_at(given, image)))
    except BaseException:
        given.close()
        raise


def checked(model: str, image: int | None) -> Benched:
    """A model of the command line, before any work; the path of one with fresh weights is yet to be written.

    Raises what `plan` and `open_model` raise.
    """
    if model in catalogue() and not Path(model).exists():
        fresh = plan(model, image=image)
        return Benched(model, "", fresh, Preprocess(fresh.image, HALF, HALF, resize=fresh.image), fresh=True)
    given = opened(model, image)
    given.close()
    exported = given if isinstance(given, Exported) else None
    return Benched(model, model, given.plan, given.require_preprocess(), exported=exported)


def card_of(benched: Benched) -> Card:
    """What its weights know of themselves."""
    if benched.fresh:
        return Card.of(benched.plan, preprocess=benched.preprocess)
    given = opened(benched.path, None)
    given.close()
    return given.card


def drawn(benched: Benched, folder: Path) -> Benched:
    """A model whose weights lie somewhere: fresh ones are drawn, the same each time, and written into a folder."""
    if not benched.fresh:
        return benched
    import torch

    from inceptory.nets.network import create
    from inceptory.weights.store import save

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        net = create(benched.plan)
    path = folder / f"{benched.name}.safetensors"
    labels = tuple(map(str, range(benched.plan.classes)))
    save(net, path, Card.of(benched.plan, labels=labels, preprocess=benched.preprocess))
    return replace(benched, path=str(path))
