"""A port of airbench94 to processors: what `cifar_inception_fast` is measured against.

    python benchmarks/airbench.py [--seed 0] [--epochs 9.9] [--batch 1024] [--log airbench.jsonl]

Written from the description in Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498,
sections 3 and appendix A): a whitening 2x2 convolution, three groups of two 3x3 convolutions, max pool, a linear
layer times 1/9; identity starts, SGD with Nesterov's momentum, rates 64 times as large for the shifts of norms, a
triangular schedule, label smoothing 0.2, alternating flips, moves of 2 pixels, a lookahead average. Weights are
fp32, convolutions bf16 by autocast, tensors channels-last. Data: `cifar10`, as `inceptory train cifar10` finds it.
Prints a line of JSON an epoch; the last has the accuracy on the test pictures plain, mirrored (both views
averaged), and as the paper has it (mirrored and moved by a pixel). Its seconds are those of the steps, as in the paper.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inceptory.data.feed.batches import normalise
from inceptory.data.feed.feed import feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source

UNIT, LR, MOMENTUM, DECAY, SHIFTS, SMOOTHING = 1024, 11.5, 0.85, 0.0153, 64.0, 0.2
"""Rate and decay are told for so many pictures, UNIT."""
WIDTHS, SCALE, MOVE, WHITENING_EPOCHS = (64, 256, 256), 1 / 9, 2, 3
START, PEAK, END = 0.2, 0.23, 0.07
"""Of the triangular schedule: the rate at the start, where its peak is, and the rate at the end, as shares."""
EVERY, FORGET, PATCHED = 5, 0.95, 5000
"""Steps between two averages, what those keep, and pictures whose patches are whitened."""
STEPS = Preprocess(size=32, resize=32, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


def data(name: str) -> tuple[Tensor, Tensor]:
    """Standardised pictures (N, 3, 32, 32) and labels (N,) of a split."""
    source = open_source("cifar10")
    pictures = feed(source.split(name), source.classes, STEPS)
    rows = torch.arange(len(pictures.labels)).split(1000)
    values = torch.cat([normalise(batch.pixels, STEPS, "cpu") for batch in pictures.batches(rows)])
    return values, pictures.labels


def norm(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


def convolution(inputs: int, filters: int) -> nn.Conv2d:
    made = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
    nn.init.dirac_(made.weight.data[:inputs])
    return made


def group(inputs: int, filters: int) -> list[nn.Module]:
    first = [convolution(inputs, filters), nn.MaxPool2d(2), norm(filters), nn.GELU()]
    return [*first, convolution(filters, filters), norm(filters), nn.GELU()]


class Scaled(nn.Module):
    """The logits, times 1/9."""

    def forward(self, x: Tensor) -> Tensor:
        return x * SCALE


def network(pictures: Tensor) -> nn.Sequential:
    """The network with its whitening from these pictures."""
    first = nn.Conv2d(3, 24, 2)
    patches = F.unfold(pictures, 2).transpose(1, 2).reshape(-1, 12)
    variances, patterns = torch.linalg.eigh(patches.T @ patches / len(patches))
    whitening = (patterns / (variances + 5e-4).sqrt()).T.reshape(-1, 3, 2, 2).flip(0)
    first.weight.data[:] = torch.cat((whitening, -whitening))
    first.weight.requires_grad_(False)
    first.bias.data.zero_()
    body = [layer for inputs, filters in pairwise((24, *WIDTHS)) for layer in group(inputs, filters)]
    last = nn.Linear(WIDTHS[-1], 10, bias=False)
    net = nn.Sequential(first, nn.GELU(), *body, nn.MaxPool2d(3), nn.Flatten(), last, Scaled())
    return net.to(memory_format=torch.channels_last)


class Lookahead:
    """Every fifth step the weights move back towards a slow average of theirs, less and less so."""

    def __init__(self, net: nn.Module) -> None:
        self.slow = {name: value.clone() for name, value in net.state_dict().items() if value.is_floating_point()}
        self.net = net

    def update(self, forget: float) -> None:
        for name, value in self.net.state_dict().items():
            if name in self.slow:
                value.copy_(self.slow[name].lerp_(value, 1 - forget))


def batches(
    values: Tensor, labels: Tensor, epoch: int, chance: torch.Generator, mirrored: Tensor, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Moved and mirrored batches of an epoch, channels-last, with their labels."""
    padded = F.pad(values, (MOVE,) * 4, "reflect").permute(0, 2, 3, 1)
    for rows in torch.randperm(len(labels), generator=chance).split(size):
        if len(rows) < size:
            return
        down, right = torch.randint(0, 2 * MOVE + 1, (2, len(rows)), generator=chance)
        y = down[:, None, None] + torch.arange(32)[None, :, None]
        x = right[:, None, None] + torch.arange(32)[None, None, :]
        pictures = padded[rows][torch.arange(len(rows))[:, None, None], y, x]
        flipped = mirrored[rows] ^ bool(epoch % 2)
        yield torch.where(flipped[:, None, None, None], pictures.flip(2), pictures).permute(0, 3, 1, 2), labels[rows]


@torch.no_grad()
def answers(net: nn.Module, values: Tensor) -> Tensor:
    """Logits (N, 10)."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [net(part.contiguous(memory_format=torch.channels_last)).float() for part in values.split(500)]
    return torch.cat(parts)


def accuracies(net: nn.Module, values: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares of right answers: plain, both mirrored views, and those with two moved ones."""

    def both(x: Tensor) -> Tensor:
        return (answers(net, x) + answers(net, x.flip(3))) / 2

    net.eval()
    padded = F.pad(values, (1,) * 4, "reflect")
    plain, mirrored = answers(net, values), both(values)
    moved = (both(padded[:, :, :32, :32]) + both(padded[:, :, 2:, 2:])) / 2
    views = {"plain": plain, "mirrored": mirrored, "moved": (mirrored + moved) / 2}
    net.train()
    return {name: float((logits.argmax(1) == labels).double().mean()) for name, logits in views.items()}


def groups(net: nn.Sequential, size: int) -> torch.optim.SGD:
    """SGD for sums over batches of a size: kernels, and shifts at their own rate; decay does not follow the rates."""
    unit = UNIT * (1 + 1 / (1 - MOMENTUM))
    rate, decay = LR / unit, DECAY * size / unit
    learning = [tensor for tensor in net.parameters() if tensor.requires_grad]
    parts = {SHIFTS * rate: [tensor for tensor in learning if tensor.ndim == 1]}
    parts[rate] = [tensor for tensor in learning if tensor.ndim > 1]
    made = [{"params": tensors, "lr": lr, "peak": lr, "weight_decay": decay / lr} for lr, tensors in parts.items()]
    return torch.optim.SGD(made, momentum=MOMENTUM, nesterov=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=9.9)
    parser.add_argument("--batch", type=int, default=UNIT)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    values, labels = data("train")
    test = data("test")
    net = network(values[:PATCHED])
    optimizer, lookahead, chance = groups(net, given.batch), Lookahead(net), torch.Generator().manual_seed(given.seed)
    mirrored = torch.rand(len(labels), generator=chance) < 0.5
    per_epoch = len(labels) // given.batch
    steps, step, seconds = math.ceil(given.epochs * per_epoch), 0, 0.0
    shares = np.interp(np.arange(1 + steps), [0, int(PEAK * steps), steps], [START, 1, END])
    for epoch in range(math.ceil(given.epochs)):
        start = time.perf_counter()
        net[0].bias.requires_grad_(epoch < WHITENING_EPOCHS)
        for pictures, target in batches(values, labels, epoch, chance, mirrored, given.batch):
            for part in optimizer.param_groups:
                part["lr"] = part["peak"] * shares[step]
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(pictures)
            F.cross_entropy(logits.float(), target, label_smoothing=SMOOTHING, reduction="sum").backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % EVERY == 0:
                lookahead.update(FORGET**EVERY * (step / steps) ** 3)
            if step == steps:
                lookahead.update(1.0)
                break
        seconds += time.perf_counter() - start
        row = {"seed": given.seed, "epoch": epoch + 1, "step": step, "seconds": round(seconds, 1)}
        line = json.dumps({**row, **accuracies(net, *test)} if step == steps else row)
        print(line, flush=True)
        if given.log:
            with open(given.log, "a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
