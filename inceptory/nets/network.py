"""A plan as a torch module: logits, named heads, named maps, embedding, a head that can be replaced.

The module never remaps its input: channel order and value range belong to `data.preprocess`.
What a call returns never depends on train or eval mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Proxy

from inceptory.errors import ConfigError, UnknownName, UsageError
from inceptory.nets import blocks
from inceptory.nets import layers as modules
from inceptory.nets.arithmetic import fits, head_parts, levels, minimum_image, steps, trace
from inceptory.nets.catalogue import Plan, plan


class Record(Protocol):
    """What a network needs of its card; `weights.card.Card` is one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        ...

    def without_classes(self) -> Self:
        """The same without what belongs to the classifier: names and figures."""
        ...


class Network(modules.Holder):
    """One network of the catalogue.

    `net(x)` takes (N, in_channels, H, W) and gives logits (N, classes), or with classes=0 the
    embedding. H and W may be anything from `minimum` on.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.card: Record | None = None
        """What the checkpoint knew of itself, where the network came from one."""
        self.minimum = minimum_image(plan.tree, plan.in_channels)
        """Smallest height and width in pixels that this network takes."""
        self.checkpointing = False
        """Whether training keeps the maps between stages only (`modules.recomputed`)."""
        parts = steps(plan.tree, plan.in_channels, plan.image, plan.image)
        after = {name: shape for name, shape, _ in parts}
        shape = (plan.in_channels, plan.image, plan.image)
        for stage in plan.tree.stages:
            self.add_module(stage.name, modules.build(stage.body, shape))
            shape = after[stage.name]
        for aux in plan.tree.aux:
            self.add_module(aux.name, AuxHead(aux, after[aux.after]))
        self.num_features = shape[0]
        """Channels of the last map, as timm counts them; the embedding is longer or shorter where a neck follows."""
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": after[name][0], "reduction": reduction, "module": name}
            for reduction, name in levels(plan.tree).items()
        ]
        """The last map of each resolution under timm's keys: channels, pixels for each cell, name for `features`."""
        self.head = Head(plan.tree.head, shape[0])

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names for `features`, in order."""
        return tuple(stage.name for stage in self.plan.tree.stages)

    def _stages(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        self._check(x)
        again = self.checkpointing and self.training and torch.is_grad_enabled()
        for name in self.stage_names:
            stage = getattr(self, name)  # torch.export of torch 2.6 follows no get_submodule, here and in Concat
            x = modules.recomputed(stage, x) if again else stage(x)
            yield name, x

    def _check(self, x: Tensor) -> None:
        # While a graph is traced, sizes are not known yet.
        if torch.compiler.is_compiling() or isinstance(x, Proxy):
            return
        channels = self.plan.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise UsageError(f"input of shape {tuple(x.shape)}: expected (N, {channels}, H, W)")
        if min(x.shape[2:]) < self.minimum and not fits(self.plan.tree, channels, x.shape[2], x.shape[3]):
            size = f"{x.shape[2]}x{x.shape[3]}"
            raise UsageError(f"image of {size}: too small for {self.plan.architecture} (minimum {self.minimum})")

    def _last(self, x: Tensor) -> Tensor:
        for _, last in self._stages(x):
            x = last
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes); with classes=0 the embedding (N, length)."""
        return self.head(self._last(x))  # type: ignore[no-any-return]

    def embed(self, x: Tensor) -> Tensor:
        """The origin's embedding: facenet's 512 values of length 1, else the pooled vector. (N, length)."""
        return self.head.embed(self._last(x))

    def heads(self, x: Tensor) -> dict[str, Tensor]:
        """Logits by name: "logits" and every auxiliary head, each (N, classes)."""
        auxiliary: dict[str, Tensor] = {}
        for name, after in self._stages(x):
            x = after
            for aux in self.plan.tree.aux:
                if aux.after == name:
                    auxiliary[aux.name] = self.get_submodule(aux.name)(x)
        return {"logits": self.head(x), **auxiliary}

    def features(self, x: Tensor, *names: str) -> dict[str, Tensor]:
        """Maps after the named stages (all of them without a name), each (N, C, H, W).

        Stages after the last one asked for are not computed.
        """
        for name in names:
            if name not in self.stage_names:
                raise UnknownName(f"stage of {self.plan.architecture}", name, self.stage_names)
        selected = set(names or self.stage_names)
        maps: dict[str, Tensor] = {}
        for name, after in self._stages(x):
            if name in selected:
                maps[name] = after
            if len(maps) == len(selected):
                break
        return maps

    def reset_classifier(self, classes: int) -> None:
        """Put fresh classifiers for `classes` in place of the present ones, auxiliary ones too.

        0 takes the classifier away: the network then gives its embedding. All other weights stay.
        """
        old = self.plan
        if self.card is not None:
            self.card = self.card.without_classes()
        aux = old.aux and classes > 0
        options = {**old.options(), "classes": classes, "aux": aux}
        self.plan = plan(old.architecture, dialect=old.dialect, **options)
        where = next(self.parameters())
        with torch.device(where.device):
            fresh = Network(self.plan)
        pairs = [(self.head, fresh.head)]
        for head in old.tree.aux:
            if aux:
                pairs.append((self.get_submodule(head.name), fresh.get_submodule(head.name)))  # type: ignore[arg-type]
            else:
                delattr(self, head.name)
        for mine, new in pairs:
            mine.classifier = None if new.classifier is None else initialise(new.classifier).to(where.dtype)


class AuxHead(modules.Holder):
    """An auxiliary classifier on an inner map. (N, C, H, W) -> (N, classes)."""

    def __init__(self, node: blocks.Aux, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.body = modules.build(node.body, shape)
        after, _ = trace(node.body, shape)
        self.classifier: nn.Module | None = modules.build(node.classifier, after)

    def forward(self, x: Tensor) -> Tensor:
        assert self.classifier is not None
        return self.classifier(self.body(x))  # type: ignore[no-any-return]


class Head(modules.Holder):
    """Global average pool, dropout, neck, classifier. (N, C, H, W) -> (N, classes or embedding)."""

    def __init__(self, node: blocks.Head, channels: int) -> None:
        super().__init__()
        self.dropout, self.normalise = nn.Dropout(node.dropout), node.normalise
        self.neck: nn.Module | None = None
        self.classifier: nn.Module | None = None
        shape = (channels, 1, 1)
        for path, part in head_parts(node):
            setattr(self, path.removeprefix("head."), modules.build(part, shape))
            shape, _ = trace(part, shape)

    def bottleneck(self, x: Tensor) -> Tensor:
        """What the classifier is given: the pooled vector, after the neck where there is one."""
        x = self.dropout(x.mean((2, 3)))
        return x if self.neck is None else self.neck(x)

    def embed(self, x: Tensor) -> Tensor:
        """The vector before the classifier, scaled to length 1 where the origin does."""
        x = self.bottleneck(x)
        return F.normalize(x) if self.normalise else x

    def forward(self, x: Tensor) -> Tensor:
        if self.classifier is None:
            return self.embed(x)
        return self.classifier(self.bottleneck(x))  # type: ignore[no-any-return]


def initialise(module: nn.Module) -> nn.Module:
    """Fill every layer inside with fresh values, as its origin starts it; returns the module."""
    for part in module.modules():
        if isinstance(part, modules.Kernel | modules.BatchNorm | modules.Linear):
            part.reset_parameters()
    return module


def empty(plan: Plan) -> Network:
    """The network without memory for its tensors, for a loader that brings them (device "meta")."""
    with torch.device("meta"):
        return Network(plan)


def create(name: str | Plan, **options: Any) -> Network:
    """A network of the catalogue with fresh weights, as its origin starts training.

    `options` are those of `catalogue.plan`: dialect, classes, image, width, in_channels, dropout,
    se, scale, aux. A plan in place of the name has decided them. Raises UsageError with the remedy
    for a name or value that is not valid, ConfigError for options beside a plan.
    Draws from torch's global generator: call `torch.manual_seed` first to repeat it.

        net = inceptory.create("inception_v3", classes=10, width=0.5)
        logits = net(torch.rand(1, 3, 299, 299))      # (1, 10)
    """
    if not isinstance(name, Plan):
        name = plan(name, **options)
    elif options:
        raise ConfigError(f"{', '.join(options)}: a plan has decided every option (give these to inceptory.plan)")
    net = Network(name)
    initialise(net)
    return net
