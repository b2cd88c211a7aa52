"""The torch module of each node type. `build` is the only way in; names are those of `blocks.children`.

Convolutions, batch norms and linear layers are torch's own classes, subclassed where padding, gamma
or variance differ, so that whatever looks for those (SyncBatchNorm, FX, counters, a freezing loop)
finds them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Proxy
from torch.utils.checkpoint import checkpoint

from inceptory.errors import ConfigError
from inceptory.nets import blocks
from inceptory.nets.arithmetic import MapVanished, Shape, fixed_padding, output_size, projection, same_padding, trace
from inceptory.nets.blocks import Init, Node
from inceptory.nets.initialisation import start
from inceptory.nets.rewrite import pools_late


def whole(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A layer's forward that `torch.fx` takes as one call of the layer, as it does with torch's own classes.

    What such a layer does depends on the size of the map or on train and eval mode; a traced graph would
    otherwise always use those of the moment when it was traced.
    """

    @functools.wraps(forward)
    def inner(self: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if isinstance(x, Proxy) and x.tracer.root is not self:
            place = x.tracer.path_of_module(self)
            return x.tracer.create_proxy("call_module", place, (x, *args), kwargs)
        return forward(self, x, *args, **kwargs)

    return inner


class Kernel(nn.Conv2d):
    """A bare convolution whose "same" padding follows the actual map.

    Where every map gets the same padding, `padding` says it. Else `padding` is 0, as torch cannot express
    it, and `forward` pads each map as it needs.
    """

    init: Init | None = None
    """How the origin draws weights; None while torch's constructor asks for them, so that none are drawn twice."""

    def __init__(self, node: blocks.Conv, channels: int) -> None:
        out, groups = (channels * node.multiplier, channels) if node.multiplier else (node.filters, 1)
        height, width = (fixed_padding(side, node.stride, str(node.pad)) for side in node.kernel)
        fixed = None if height is None or width is None else (height, width)
        super().__init__(channels, out, node.kernel, node.stride, fixed or 0, groups=groups, bias=bool(node.bias))
        assert node.init is not None, "the tree is inherited"
        self.init, self.follows_map = node.init, fixed is None

    def reset_parameters(self) -> None:
        """Fresh values, drawn as the origin draws them."""
        if self.init is not None:
            start(self.weight, self.bias, self.init)

    @whole
    def forward(self, x: Tensor, biased: bool = True) -> Tensor:
        padding = self.padding
        if self.follows_map:
            sides = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
            (top, bottom), (left, right) = (same_padding(*side) for side in sides)
            padding = (top, left)
            if (top, left) != (bottom, right):
                x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        bias = self.bias if biased else None
        return F.conv2d(x, self.weight, bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """What torch says of a convolution, and whether its padding follows the map."""
        padding = ", padding as TensorFlow's same" if self.follows_map else ""
        return f"{super().extra_repr()}{padding}"  # type: ignore[no-untyped-call]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm over all but the channels; gamma only where the origin has one, and no counter of batches."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def __init__(self, channels: int, node: blocks.Norm) -> None:
        super().__init__(channels, float(node.eps or 0), float(node.momentum or 0))
        if not node.gamma:
            self.register_parameter("weight", None)
        self.num_batches_tracked = None
        self.biased = False
        """Whether running_var takes in the variance over n, as Keras does, and not over n - 1."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The identity: mean 0, variance 1, gamma 1, beta 0."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.bias.zero_()
        if self.weight is not None:
            self.weight.fill_(1)

    @whole
    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.biased):
            return self._normalised(x, self.running_var)
        # Autograd forbids a later change of the tensor that batch norm was given, so batch norm updates a copy.
        unbiased, n = self.running_var.clone(), x.numel() // x.shape[1]
        x = self._normalised(x, unbiased)
        kept = self.running_var * (1 - self.momentum)
        self.running_var.copy_(kept.lerp_(unbiased, (n - 1) / n))
        return x

    def _normalised(self, x: Tensor, running_var: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        # Where a state has no version, torch takes it for an old one without a counter, and adds one.
        super()._load_from_state_dict(state_dict, prefix, {**local_metadata, "version": self._version}, *rest)

    def extra_repr(self) -> str:
        """What torch says of a batch norm, and where this one differs."""
        other = ", no gamma" * (self.weight is None) + ", biased variance" * self.biased
        return f"{super().extra_repr()}{other}"  # type: ignore[no-untyped-call]


NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)
"""Our batch norms, and what SyncBatchNorm's conversion puts in their place."""


class Holder(nn.Module):
    """A module that may hold batch norms: those that `SyncBatchNorm.convert_sync_batchnorm` puts in are made to fit."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As torch's; raises ConfigError where a norm with the biased variance would lose it."""
        before = self._modules.get(name)
        if isinstance(before, BatchNorm) and isinstance(module, nn.SyncBatchNorm):
            if before.biased:
                problem = "SyncBatchNorm knows the unbiased variance only (leave the network unconverted)"
                raise ConfigError(f"moving variance biased: {problem}")
            # SyncBatchNorm cannot train without a counter; it is neither saved in our state dict nor expected in one.
            counter = torch.zeros((), dtype=torch.long, device=before.bias.device)
            module.register_buffer("num_batches_tracked", counter, persistent=False)
            module._register_load_state_dict_pre_hook(_drop_counter)  # type: ignore[no-untyped-call]
        super().add_module(name, module)


def _drop_counter(state: dict[str, Any], prefix: str, *_: object) -> None:
    state.pop(f"{prefix}num_batches_tracked", None)


class Conv(Holder):
    """Convolution, batch norm, activation. (N, C, H, W) -> (N, filters, H', W')."""

    def __init__(self, node: blocks.Conv, channels: int) -> None:
        super().__init__()
        self.conv = Kernel(node, channels)
        self.bn = BatchNorm(self.conv.out_channels, node.norm) if isinstance(node.norm, blocks.Norm) else None
        self.act = node.act

    def forward(self, x: Tensor, pool: Pool | None = None) -> Tensor:
        """`pool`: one that stands before this layer, to be computed between convolution and norm instead."""
        x = self.conv(x) if pool is None else self._pooled(x, pool)
        if self.bn is not None:
            x = self.bn(x)
        if self.act == "silu":
            return F.silu(x)
        # In place: the tensor is this module's own, and batch norm keeps its input, not its output.
        return x.relu_() if self.act else x

    def _pooled(self, x: Tensor, pool: Pool) -> Tensor:
        bias = self.conv.bias
        if bias is None or pool.node.divisor == "real":
            return pool(self.conv(x))  # type: ignore[no-any-return]
        # This pool counts zeros beyond the border, and would average a bias that was added before it with them.
        x = pool(self.conv(x, biased=False))
        return x + bias.to(x.dtype)[:, None, None]


class Pool(nn.Module):
    """Max or average pool; padding follows the actual map."""

    def __init__(self, node: blocks.Pool) -> None:
        super().__init__()
        self.node = node

    @whole
    def forward(self, x: Tensor) -> Tensor:
        node, padding = self.node, (0, 0)
        if node.pad == "symmetric":
            padding = (node.kernel // 2, node.kernel // 2)
        elif node.pad == "same":
            tops, lefts = (same_padding(size, node.kernel, node.stride) for size in x.shape[2:])
            padding = (tops[0], lefts[0])
        # The one cell that "same" may add at the bottom and right is what rounding up adds.
        up = node.pad in ("ceil", "same")
        if node.kind == "max":
            return F.max_pool2d(x, node.kernel, node.stride, padding, ceil_mode=up)
        return F.avg_pool2d(x, node.kernel, node.stride, padding, up, node.divisor == "window")


class GridPool(nn.Module):
    """Average pool to a fixed grid: by its window where that gives the grid, else adaptively."""

    def __init__(self, node: blocks.GridPool) -> None:
        super().__init__()
        self.grid = node.grid
        self.node = node.window
        self.window = None if node.window is None else Pool(node.window)

    @whole
    def forward(self, x: Tensor) -> Tensor:
        if self.window is not None and self._gives_grid(x.shape[2]) and self._gives_grid(x.shape[3]):
            return self.window(x)  # type: ignore[no-any-return]
        return F.adaptive_avg_pool2d(x, self.grid)

    def _gives_grid(self, size: int) -> bool:
        assert self.node is not None
        try:
            return output_size(size, self.node.kernel, self.node.stride, str(self.node.pad)) == self.grid
        except MapVanished:
            return False


class SE(nn.Module):
    """Squeeze-and-excitation: each channel times a factor from 0 to 1 made from all channels' means."""

    def __init__(self, node: blocks.SE, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // node.ratio, 1)
        self.reduce = Linear(blocks.Linear(squeezed, bias=False, init=Init("he_normal")), channels)
        self.expand = Linear(blocks.Linear(channels, bias=False, init=Init("he_normal")), squeezed)

    def forward(self, x: Tensor) -> Tensor:
        factors: Tensor = self.expand(self.reduce(x.mean((2, 3))).relu()).sigmoid()
        return x * factors[:, :, None, None]


class Linear(nn.Linear):
    """Fully connected layer on the flattened input. (N, ...) -> (N, features)."""

    init: Init | None = None
    """As that of `Kernel`."""

    def __init__(self, node: blocks.Linear, inputs: int) -> None:
        super().__init__(inputs, node.features, node.bias)
        assert node.init is not None, "the tree is inherited"
        self.init = node.init

    def reset_parameters(self) -> None:
        """Fresh values, drawn as the origin draws them."""
        if self.init is not None:
            start(self.weight, self.bias, self.init)

    @whole
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


class Chain(Holder):
    """Modules one after another, registered under their names in the tree."""

    def __init__(self, node: blocks.Chain, shape: Shape) -> None:
        super().__init__()
        self.late: set[str] = set()
        """Pools that the convolution after them computes in training (`rewrite.pools_late`)."""
        place, before = "", None
        for i, (name, child) in enumerate(blocks.children(node)):
            if pools_late(before, child, shape[0]):
                self.late.add(place)
            # A child without parameters has no name in the tree; its position names it here.
            place, before = name or f"_{i}", child
            self.add_module(place, build(child, shape))
            shape, _ = trace(child, shape)

    def forward(self, x: Tensor) -> Tensor:
        late = None
        for name, step in self._modules.items():
            assert step is not None
            # Answers keep the order in which the weights were trained, so they stay equal to the
            # origin's to the last bit; only training, where it pays most, takes the shorter way.
            if self.training and name in self.late:
                late = step
            else:
                x, late = (step(x) if late is None else step(x, late)), None
        return x


class Concat(nn.Module):
    """Branches on the same input, joined on channels."""

    def __init__(self, node: blocks.Concat, shape: Shape) -> None:
        super().__init__()
        self.count = len(node.branches)
        for i, branch in enumerate(node.branches):
            self.add_module(f"branch{i}", Chain(branch, shape))
        self.se = None if node.se is None else SE(node.se, trace(node, shape)[0][0])

    def forward(self, x: Tensor) -> Tensor:
        parts: list[Tensor] = [getattr(self, f"branch{i}")(x) for i in range(self.count)]
        for part in parts:
            # Its gradient is a slice, through which ReLU's backward pass is many times as slow as through a copy.
            if isinstance(part, Tensor) and part.requires_grad and part.is_cpu and not torch.compiler.is_compiling():
                part.register_hook(torch.clone)  # type: ignore[no-untyped-call]
        x = torch.cat(parts, 1)
        return x if self.se is None else self.se(x)


class Residual(Holder):
    """shortcut(x) + scale * se(up(body(x))), then perhaps ReLU."""

    def __init__(self, node: blocks.Residual, shape: Shape) -> None:
        super().__init__()
        self.scale, self.act = node.scale, node.act
        self.body = build(node.body, shape)
        width = trace(node, shape)[0][0]
        inner = trace(node.body, shape)[0][0]
        self.up = Conv(projection(node, width), inner) if node.project else None
        self.se = None if node.se is None else SE(node.se, width)
        self.shortcut = None if node.shortcut is None else build(node.shortcut, shape)
        self.drop = 0.0
        """Share of the pictures that skip the branch in training: stochastic depth (Huang et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        branch = self.body(x)
        if self.up is not None:
            branch = self.up(branch)
        if self.se is not None:
            branch = self.se(branch)
        if self.training and self.drop:
            # Dividing by the share that is kept gives the branch the same mean as in eval mode.
            share = 1 - self.drop
            branch = branch * branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(share).div_(share)
        kept = x if self.shortcut is None else self.shortcut(x)
        total = torch.add(kept, branch, alpha=self.scale)
        return total.relu_() if self.act else total


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """module(x) whose inner maps are not kept but computed again in the backward pass. Chen et al. 2016 (1604.06174).

    Random draws are the same both times, and batch norms update their statistics only once.
    """
    after: Tensor = checkpoint(module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _second_pass(module)))
    return after


@contextmanager
def _second_pass(module: nn.Module) -> Iterator[None]:
    momenta = [(part, part.momentum) for part in module.modules() if isinstance(part, NORMS)]
    for norm, _ in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum


def build(node: Node, shape: Shape) -> nn.Module:
    """The module of a node whose input is C x H x W; H and W matter to linear layers only."""
    match node:
        case blocks.Conv():
            return Conv(node, shape[0])
        case blocks.Pool():
            return Pool(node)
        case blocks.GridPool():
            return GridPool(node)
        case blocks.Norm():
            return BatchNorm(shape[0], node)
        case blocks.Act(kind):
            # Into a new tensor: a shortcut may still need the input.
            return nn.SiLU() if kind == "silu" else nn.ReLU()
        case blocks.LRN(size, alpha, beta, k):
            return nn.LocalResponseNorm(size, alpha, beta, k)
        case blocks.SE():
            return SE(node, shape[0])
        case blocks.Dropout(rate):
            return nn.Dropout(rate)
        case blocks.Linear():
            return Linear(node, prod(shape))
        case blocks.Chain():
            return Chain(node, shape)
        case blocks.Concat():
            return Concat(node, shape)
        case blocks.Residual():
            return Residual(node, shape)
