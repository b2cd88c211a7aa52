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
from inceptory.data.batches import Images, channel_statistics, decode, normalise, shuffled
from inceptory.data.preprocess import Preprocess
from inceptory.data.sources import Source, Split
from inceptory.errors import DataError
from inceptory.learn import report
from inceptory.learn.device import Device, choose
from inceptory.learn.evaluate import logits_of, measure
from inceptory.learn.progress import Meter, meter
from inceptory.learn.recipe import Recipe
from inceptory.learn.results import Epoch, Metrics, Run
from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Network, create
from inceptory.weights.card import Card
from inceptory.weights.store import load, save, versions


def fit(plan: Plan, source: Source, recipe: Recipe, folder: Path) -> Run:
    """Train a fresh network and leave its run in the folder."""
    started = time.perf_counter()
    device = choose(recipe.device, recipe.precision)
    torch.manual_seed(recipe.seed)
    data, preprocess = _decode_all(plan, source)
    net = create(plan.architecture, dialect=plan.dialect, **plan.options())
    net = net.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    card = _card(plan, source, preprocess, recipe, device)
    epochs = _epochs(net, card, data, recipe, device, folder)
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
            _tell_skipped(bar, data[name])
    mean, std = channel_statistics(data["train"].pixels)
    return data, replace(raw, mean=mean, std=std)


def _tell_skipped(bar: Meter, images: Images) -> None:
    for fault in images.skipped[:10]:
        bar.say(f"skipped: {fault}")
    if images.skipped:
        bar.say(f"skipped {len(images.skipped)} unreadable pictures, {len(images)} remain")


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


def _epochs(
    net: Network, card: Card, data: dict[str, Images], recipe: Recipe, device: Device, folder: Path
) -> list[Epoch]:
    """All epochs; each writes last.safetensors and history.csv, the best also model.safetensors."""
    assert card.preprocess is not None
    optimizer = _optimizer(net, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    steps_each = sum(1 for _ in shuffled(len(data["train"]), recipe.batch, torch.Generator()))
    history: list[Epoch] = []
    with meter("training", steps_each * recipe.epochs) as bar:
        bar.say(f"training {card.architecture} on {device}: {steps_each} steps an epoch, {recipe.epochs} epochs")
        for number in range(1, recipe.epochs + 1):
            start, first = time.perf_counter(), (number - 1) * steps_each
            loss, top1 = _one_epoch(
                net, optimizer, data["train"], card.preprocess, recipe, device, generator, first, steps_each, bar
            )
            trained = time.perf_counter() - start
            check = measure(logits_of(net, data["validation"], card.preprocess, device), data["validation"].labels)
            history.append(
                Epoch(
                    epoch=number,
                    lr=optimizer.param_groups[0]["lr"],
                    train_loss=loss,
                    train_top1=top1,
                    validation_loss=check.log_loss,
                    validation_top1=check.top1,
                    seconds=time.perf_counter() - start,
                    images_per_second=len(data["train"]) / trained,
                )
            )
            bar.say(str(history[-1]))
            _write_epoch(net, replace(card, metrics={"epoch": number, **check.to_json()}), history, folder)
    return history


def _one_epoch(
    net: Network,
    optimizer: torch.optim.Optimizer,
    train: Images,
    preprocess: Preprocess,
    recipe: Recipe,
    device: Device,
    generator: torch.Generator,
    first: int,
    steps_each: int,
    bar: Meter,
) -> tuple[float, float]:
    """(mean loss, top-1) over the augmented training pictures of one epoch."""
    net.train()
    seen, losses, right = 0, 0.0, 0
    for step, rows in enumerate(shuffled(len(train), recipe.batch, generator), start=first):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, steps_each * recipe.epochs)
        images = _augmented(train.pixels[rows], recipe, generator)
        labels = train.labels[rows].to(device.name)
        with device.autocast():
            heads = net.heads(normalise(images, preprocess, device.name))
        loss = _loss(net, heads, labels, recipe)
        if not torch.isfinite(loss):
            raise DataError(f"step {step + 1}: the loss is not a finite number (lower --lr, now {recipe.lr:g})")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        seen += len(rows)
        losses += loss.item() * len(rows)
        right += int((heads["logits"].argmax(1) == labels).sum())
        bar.tick(f"loss {losses / seen:.3f}")
    return losses / seen, right / seen


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


def score(path: Path, split: Split, name: str, device: str, precision: str) -> Metrics:
    """Metrics of a checkpoint on a split whose labels are in its own order of classes."""
    place = choose(device, precision)
    net = load(path)
    card = net.card
    assert isinstance(card, Card)
    assert card.preprocess is not None
    with meter(f"decoding {name}", len(split)) as bar:
        images = decode(split, card.labels, card.preprocess, bar)
        _tell_skipped(bar, images)
    net = net.to(place.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with meter("evaluating", len(images)) as bar:
        return measure(logits_of(net, images, card.preprocess, place, progress=bar), images.labels)
