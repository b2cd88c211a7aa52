"""The training loop: all of it, in order, nothing hidden in callbacks."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inceptory.data.augment import flip, shift
from inceptory.data.batches import (
    Images,
    channel_statistics,
    count_batches,
    decode,
    normalise,
    refuse_corrupt,
    shuffled,
)
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Source, Split
from inceptory.errors import DataError
from inceptory.learn import report
from inceptory.learn.device import Device, choose
from inceptory.learn.evaluate import logits_of, measure
from inceptory.learn.progress import Meter, duration, meter
from inceptory.learn.recipe import Recipe
from inceptory.learn.results import Epoch, Metrics, Run
from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Network, create
from inceptory.weights.adopt import load
from inceptory.weights.card import Card
from inceptory.weights.store import save, versions


def fit(plan: Plan, source: Source, recipe: Recipe, folder: Path) -> Run:
    """Train a fresh network and leave its run in the folder."""
    started = time.perf_counter()
    device = choose(recipe.device, recipe.precision)
    torch.manual_seed(recipe.seed)
    data, preprocess = _decode_all(plan, source)
    net = create(plan.architecture, dialect=plan.dialect, **plan.options())
    net = net.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    card = _card(plan, source, preprocess, recipe, device)
    epochs = Loop(net, data, preprocess, recipe, device).run(card, folder)
    best = load(folder / "model.safetensors").to(device.name)
    split = "test" if "test" in data else "validation"
    metrics = measure(logits_of(best, data[split], preprocess, device), data[split].labels)
    minutes = (time.perf_counter() - started) / 60
    report.write_metrics(folder, metrics, split, plan, epochs, minutes)
    report.draw_curves(folder / "curves.png", plan.architecture, epochs)
    return Run(folder, metrics, split, epochs, minutes)


def _decode_all(plan: Plan, source: Source) -> tuple[dict[str, Images], Preprocess]:
    """Every split in memory, and the preprocessing with the training pictures' own mean and deviation."""
    channels = plan.in_channels
    order = {"order": "L"} if channels == 1 else {}
    blank: dict[str, Any] = {"mean": (0.0,) * channels, "std": (1.0,) * channels, **order}
    raw = Preprocess(size=plan.image, resize=plan.image, **blank)
    data = {}
    for name, split in source.splits.items():
        with meter(f"decoding {name}", len(split)) as bar:
            data[name] = decode(split, source.classes, raw, bar)
            bar.say_skipped(data[name].skipped, len(data[name]))
    refuse_corrupt(data.values(), source.classes)
    mean, std = channel_statistics(data["train"].pixels)
    return data, replace(raw, mean=mean, std=std)


def _card(plan: Plan, source: Source, preprocess: Preprocess, recipe: Recipe, device: Device) -> Card:
    sizes = {name: len(split) for name, split in source.splits.items()}
    return Card.of(
        plan,
        labels=source.classes,
        preprocess=preprocess,
        recipe={**recipe.to_json(), "computed_on": str(device)},
        data={"name": source.name, "splits": sizes, "fingerprint": source.fingerprint()},
        versions=versions(),
    )


class Loop:
    """One network on its way through the epochs."""

    def __init__(
        self, net: Network, data: dict[str, Images], preprocess: Preprocess, recipe: Recipe, device: Device
    ) -> None:
        self.net, self.preprocess, self.recipe, self.device = net, preprocess, recipe, device
        self.train, self.validation = data["train"], data["validation"]
        self.optimizer = _optimizer(net, recipe)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.steps = count_batches(len(self.train), recipe.batch)
        """Steps in an epoch."""

    def run(self, card: Card, folder: Path) -> list[Epoch]:
        """All epochs; each writes last.safetensors and history.csv, the best also model.safetensors."""
        history: list[Epoch] = []
        with meter("training", self.steps * self.recipe.epochs) as bar:
            bar.say(f"training {card.architecture} on {self.device}: {self.steps} steps an epoch")
            for number in range(1, self.recipe.epochs + 1):
                row, check = self.epoch(number, bar)
                history.append(row)
                _write_epoch(self.net, replace(card, metrics={"epoch": number, **check.to_json()}), history, folder)
                left = sum(row.seconds for row in history) / number * (self.recipe.epochs - number)
                bar.say(f"{row}, {duration(left)} left" if left else str(row))
        return history

    def epoch(self, number: int, bar: Meter) -> tuple[Epoch, Metrics]:
        """Train on every picture once, then measure on validation."""
        start = time.perf_counter()
        loss, top1 = self.pass_over((number - 1) * self.steps, bar)
        trained = time.perf_counter() - start
        check = measure(logits_of(self.net, self.validation, self.preprocess, self.device), self.validation.labels)
        row = Epoch(
            epoch=number,
            lr=self.optimizer.param_groups[0]["lr"],
            train_loss=loss,
            train_top1=top1,
            validation_loss=check.log_loss,
            validation_top1=check.top1,
            seconds=time.perf_counter() - start,
            images_per_second=len(self.train) / trained,
        )
        return row, check

    def pass_over(self, first: int, bar: Meter) -> tuple[float, float]:
        """(mean loss, top-1) over the augmented training pictures; `first` is the number of the first step."""
        self.net.train()
        seen, losses, right = 0, 0.0, 0
        for step, rows in enumerate(shuffled(len(self.train), self.recipe.batch, self.generator), start=first):
            images = _augmented(self.train.pixels[rows], self.recipe, self.generator)
            labels = self.train.labels[rows].to(self.device.name)
            loss, logits = self.step(step, images, labels)
            seen += len(rows)
            losses += loss * len(rows)
            right += int((logits.argmax(1) == labels).sum())
            bar.tick(f"loss {losses / seen:.3f}")
        return losses / seen, right / seen

    def step(self, step: int, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
        """One update; gives its loss and the logits before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(step, self.steps * self.recipe.epochs)
        with self.device.autocast():
            heads = self.net.heads(normalise(images, self.preprocess, self.device.name))
        loss = _loss(self.net, heads, labels, self.recipe)
        if not torch.isfinite(loss):
            raise DataError(f"step {step + 1}: the loss is not a finite number (lower --lr, now {self.recipe.lr:g})")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item(), heads["logits"]


def _augmented(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    if recipe.flip:
        images = flip(images, generator)
    return shift(images, int(recipe.shift * images.shape[3]), generator)


def _loss(net: Network, heads: dict[str, Tensor], labels: Tensor, recipe: Recipe) -> Tensor:
    weights = {"logits": 1.0, **{aux.name: aux.weight for aux in net.plan.tree.aux}}
    smoothing = recipe.label_smoothing
    terms = [
        weight * F.cross_entropy(heads[name].float(), labels, label_smoothing=smoothing)
        for name, weight in weights.items()
    ]
    return torch.stack(terms).sum()


def _optimizer(net: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD; only kernels decay, since pulling a norm's factor or a bias to zero regularises nothing."""
    kernels = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in net.parameters() if parameter.ndim == 1]
    groups = [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _write_epoch(net: Network, card: Card, history: list[Epoch], folder: Path) -> None:
    def rank(row: Epoch) -> tuple[float, float]:
        return row.validation_top1, -row.validation_loss

    save(net, folder / "last.safetensors", card)
    if history[-1] is max(history, key=rank):
        save(net, folder / "model.safetensors", card)
    report.write_history(folder, [asdict(row) for row in history])


def score(path: Path, card: Card, split: Split, name: str, device: str, precision: str) -> Metrics:
    """Metrics of a network on a split whose labels are in its own order of classes."""
    place = choose(device, precision)
    assert card.preprocess is not None
    net = load(path, dialect=card.dialect)
    with meter(f"decoding {name}", len(split)) as bar:
        images = decode(split, card.labels, card.preprocess, bar)
        bar.say_skipped(images.skipped, len(images))
    net = net.to(place.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with meter("evaluating", len(images)) as bar:
        return measure(logits_of(net, images, card.preprocess, place, progress=bar), images.labels)
