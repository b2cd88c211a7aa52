"""A head on a backbone: fitted on what it sees in pictures or kept as it was, and put into the network. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels
from inceptory.data.sources.source import Source
from inceptory.errors import ConfigError
from inceptory.learn.settings.job import Job
from inceptory.learn.transfer.choice import chosen, require_varied
from inceptory.learn.transfer.head import ARRIVED, STRENGTHS, Fitter, Linear
from inceptory.learn.transfer.parts import Parts, parted, require_every_class
from inceptory.learn.transfer.seen import Seen
from inceptory.measure.calibration import Calibration
from inceptory.measure.results import Metrics
from inceptory.measure.tasks import Task, task_of
from inceptory.nets.catalogue import Plan, plan
from inceptory.system import clock
from inceptory.weights.identify import shapes_of
from inceptory.weights.model import Model

if TYPE_CHECKING:
    from inceptory.nets.network import Network

Arrays = Mapping[str, NDArray[Any]]
"""Tensors of a network by name."""
HEAD = "head.classifier"


@dataclass(frozen=True)
class Answers:
    """Logits (n, K) of the pictures of some rows."""

    logits: NDArray[np.float64]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Fitted:
    """A head, and answers that show how good it is."""

    head: Linear
    strength: float | None
    """None for a head that was kept."""
    tried: tuple[tuple[float, float], ...]
    """(strength, mean log-loss on pictures held back) of every one."""
    objective: float
    """What the fit made small."""
    training: Answers
    """Of the pictures that it was fitted on."""
    held: Answers
    """Of those that chose its strength; where parts take turns, of all by heads that had not seen them."""
    calibration: Answers
    """Of pictures that had no part in the choice."""
    parts: NDArray[np.int64]
    """(m,) the turn in which each picture of `held` was answered; empty where one part was held out."""
    seconds: float

    def shares(self, task: Task, labels: Labels) -> list[float]:
        """Shares of the pictures that were answered rightly in each turn; `labels` are those of `held`."""
        turns = [self.parts == number for number in np.unique(self.parts)]
        return [right_of(task, task.measure(self.held.logits[turn], labels[turn])) for turn in turns]

    def calibrated(self, labels: Labels) -> dict[str, Any]:
        """What pictures that had no part in the choice say of the answers; nothing where there are none.

        `labels` are those of all rows.
        """
        logits, rows = self.calibration.logits, self.calibration.rows
        if not len(rows):
            return {}
        return Calibration.of(logits, labels[rows], "cross-fitted" if len(self.parts) else "held-out").to_json()


def right_of(task: Task, metrics: Metrics) -> float:
    """The share of the pictures that were answered rightly."""
    return float(getattr(metrics, next(iter(task.shares))))


def fit_head(seen: Seen, job: Job) -> Fitted:
    """The head, its strength chosen by pictures that are held out, or by parts that take turns."""
    start, vectors, labels = clock.now(), seen.vectors, seen.labels
    require_varied(vectors, seen.extractor.model.path)
    parts = parted(labels, seen.count("train"), job.recipe.seed)
    require_every_class(seen.source, labels[parts.fit])
    balanced, asked = job.recipe.class_weights, job.transfer.strength
    choice = chosen(vectors, labels, parts, job.recipe.seed, balanced, STRENGTHS if asked is None else (asked,))
    strength = choice.strength
    fitter = Fitter(vectors[parts.fit], labels[parts.fit], balanced)
    head = fitter.fit(strength, ARRIVED * strength)
    training = Answers(head(vectors[parts.fit, 0]), parts.fit)
    turns = np.empty(0, dtype=np.int64)
    if choice.folded is not None:
        rows = np.flatnonzero(choice.folded.part >= 0)
        turns = choice.folded.part[rows]
        held = calibration = Answers(choice.folded.logits[rows], rows)
    else:
        held = Answers(head(vectors[parts.choose, 0]), parts.choose)
        calibration = Answers(head(vectors[parts.calibrate, 0]), parts.calibrate)
    loss = task_of(labels.ndim == 2).measure(training.logits, labels[parts.fit]).log_loss
    objective = loss + strength / 2 * fitter.square(head)
    seconds = clock.now() - start
    return Fitted(head, strength, choice.tried, objective, training, held, calibration, turns, seconds)


def keep_head(seen: Seen, head: Linear, seed: int) -> Fitted:
    """A head that is kept, as if it had been fitted: the same parts are held out."""
    parts = parted(seen.labels, seen.count("train"), seed, once=True)
    training, held, calibration = (
        Answers(head(seen.vectors[rows, 0]), rows) for rows in (parts.fit, parts.choose, parts.calibrate)
    )
    loss = task_of(seen.labels.ndim == 2).measure(training.logits, seen.labels[parts.fit]).log_loss
    return Fitted(head, None, (), loss, training, held, calibration, np.empty(0, dtype=np.int64), 0.0)


def held_out_once(seen: Seen, fitted: Fitted, job: Job) -> tuple[Parts, Linear]:
    """Parts that are held out once, and a head that saw none but the first of them."""
    parts = parted(seen.labels, seen.count("train"), job.recipe.seed, once=True)
    if not len(fitted.parts):
        return parts, fitted.head
    assert fitted.strength is not None, "parts that took turns have chosen one"
    require_every_class(seen.source, seen.labels[parts.fit])
    fitter = Fitter(seen.vectors[parts.fit], seen.labels[parts.fit], job.recipe.class_weights)
    return parts, fitter.fit(fitted.strength, ARRIVED * fitted.strength)


def head_for(model: Model, source: Source) -> Linear:
    """The head of a model, in the order of a data set's classes; raises ConfigError where these are not its own."""
    own, card = list(model.card.labels), model.card
    if sorted(own) != sorted(source.classes) or card.multi_label != source.multi_label:
        differing = sorted(set(own) ^ set(source.classes))
        told = f"{differing[0]!r} is only in one of both" if differing else "one answers with several classes a picture"
        told = told if own else "the model does not name its own"
        raise ConfigError(f"--keep-head: {source.name} has other classes than {model.path}: {told} (leave it out)")
    head = head_in(model.plan, model.arrays())
    order = [own.index(name) for name in source.classes]
    return Linear(head.weight[order], head.bias[order])


def head_in(plan: Plan, tensors: Arrays) -> Linear:
    """The last layer of a network; two linear ones with nothing in between, as cifar_inception_v1 has them, are one."""
    (weight, bias), *rest = (
        [tensors[f"{layer}.{part}"].astype(np.float64) for part in ("weight", "bias")] for layer in _layers(plan)
    )
    for matrix, shift in rest:
        weight, bias = matrix @ weight, matrix @ bias + shift
    return Linear(weight, bias)


def headed(plan: Plan, tensors: Arrays, head: Linear) -> dict[str, NDArray[np.float32]]:
    """The tensors of a network of this plan (`plan_with`): those of its backbone, and a new head."""
    # Of two linear layers the others hand on what the first one says.
    first, *rest = _layers(plan)
    new = {f"{first}.weight": head.weight, f"{first}.bias": head.bias}
    for layer in rest:
        new |= {f"{layer}.weight": np.eye(len(head.bias)), f"{layer}.bias": np.zeros(len(head.bias))}
    every = {**tensors, **new}
    return {name: every[name].astype(np.float32, copy=False) for name in shapes_of(plan)}


def plan_with(old: Plan, classes: int, image: int | None = None) -> Plan:
    """A plan with a head for so many classes and no auxiliary ones; `image` is the size of its pictures."""
    options = {**old.options(), "classes": classes, "aux": False}
    if image is not None:
        options["image"] = image
    return plan(old.architecture, dialect=old.dialect, **options)


def with_fresh_head(net: Network, classes: int, image: int | None = None) -> Network:
    """The network with a head of fresh weights, drawn from torch's generator, as `plan_with` says, in eval mode."""
    net.reset_classifier(0)  # takes the auxiliary heads away, too
    net.reset_classifier(classes)
    net.plan = plan_with(net.plan, classes, image)
    return net.float().eval()


def _layers(plan: Plan) -> list[str]:
    """Names of the last layer, or of the linear layers that it is made of, in their order."""
    return [
        name.removesuffix(".weight") for name in shapes_of(plan) if name.startswith(HEAD) and name.endswith(".weight")
    ]
