"""A small network of timm in the minutes of `inceptory reproduce`: the same loop, recipe, pictures and measurement.

    python benchmarks/cifar10_timm.py [NAME] [--time 20m] [--epochs N] [--recipe tutorial] [--keep 2]

NAME is a network of timm (default: mobilenetv4_conv_small). Made for large pictures, it would see 32x32 at a single
cell: the first `--keep` of its convolutions with a stride get none, which is what people do for CIFAR-10. Prints one
record as JSON. Not resumable.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.opening import open_source
from inceptory.engines.device import choose
from inceptory.learn.fit import Start, ready, train
from inceptory.learn.pictures import CIFAR10_MEAN, CIFAR10_STD
from inceptory.measure.metrics import wilson
from inceptory.measure.results import best_epoch
from inceptory.nets.catalogue import Plan
from inceptory.nets.network import Head, Network, initialise
from inceptory.report.folder import images_per_second
from inceptory.run.reproduction.record import Reproduction, as_in_the_tutorials
from inceptory.system import clock
from inceptory.system.ranks import Ranks
from inceptory.system.signals import watched


class Foreign(Network):
    """timm's network as one stage, with a head of ours; `plan` gives the number of classes and the dropout."""

    def __init__(self, name: str, plan: Plan, keep: int) -> None:
        super(Network, self).__init__()
        self.plan, self.card, self.checkpointing = replace(plan, architecture=f"timm {name}"), None, False
        self.body = timm.create_model(name, num_classes=0, global_pool="")
        strided = [part for part in self.body.modules() if isinstance(part, nn.Conv2d) and max(part.stride) > 1]
        for part in strided[:keep]:
            part.stride = (1, 1)
        with torch.no_grad():
            channels = self.body.eval()(torch.zeros(1, 3, plan.image, plan.image)).shape[1]
        self.head = initialise(Head(plan.tree.head, channels))

    @property
    def stage_names(self) -> tuple[str, ...]:
        return ("body",)

    def _stages(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "body", self.body(x)


def measured(asked: Reproduction, name: str, keep: int) -> dict[str, object]:
    source = as_in_the_tutorials(open_source("cifar10"))
    job = asked.job("cifar_inception_v3", source, "")
    # timm's norms are PyTorch's, which know no other variance.
    job = replace(job, recipe=replace(job.recipe, moving_variance="unbiased"))
    torch.manual_seed(job.recipe.seed)
    net = Foreign(name, job.plan(len(source.classes)), keep)
    mean, std = (tuple(value / 255 for value in values) for values in (CIFAR10_MEAN, CIFAR10_STD))
    start, device = Start(net, Preprocess(size=32, resize=32, mean=mean, std=std)), choose()
    with tempfile.TemporaryDirectory() as place, watched() as stop:
        with ready(job, source, device, Ranks(), stop, Path(place), clock.now(), start) as loop:
            train(loop, stop, resumed=False)
            rows, minutes = loop.position.history, loop.used() / 60
        file_bytes = (Path(place) / "model.safetensors").stat().st_size
    count, n = sum(parameter.numel() for parameter in net.parameters()), len(source.split("validation"))
    statistics = sum(buffer.numel() for buffer in net.buffers() if buffer.ndim)
    tops = {"best": best_epoch(rows).right[1], "last": rows[-1].right[1]}
    return {
        "network": f"timm {timm.__version__} {name}",
        "kept_strides": keep,
        "data": source.name,
        "total": count + statistics,
        "trainable": count,
        "non_trainable": statistics,
        "file_bytes": file_bytes,
        **tops,
        **{f"{key}_interval": wilson(round(top * n), n) for key, top in tops.items()},
        "epochs": len(rows),
        "minutes": round(minutes, 1),
        "images_per_second": round(images_per_second(rows), 1),
        "computed_on": str(device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A small network of timm in the minutes of `inceptory reproduce`.")
    parser.add_argument("name", nargs="?", default="mobilenetv4_conv_small", help="of timm")
    parser.add_argument("--keep", type=int, default=2, help="convolutions with a stride that get none")
    parser.add_argument("--recipe", default="tutorial")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--time")
    given = parser.parse_args()
    asked = Reproduction(recipe=given.recipe, epochs=given.epochs, time=given.time)
    asked.check()
    print(json.dumps(measured(asked, given.name, given.keep)))


if __name__ == "__main__":
    main()
