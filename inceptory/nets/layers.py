"""The torch module of each node type. `build` is the only way in; names are those of `blocks.children`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inceptory.nets import blocks
from inceptory.nets.arithmetic import MapVanished, Shape, output_size, projection, same_padding, trace
from inceptory.nets.blocks import Init, Node
from inceptory.nets.rewrite import pools_late

# A truncated normal cut at two deviations keeps this share of its deviation; Keras and tf-slim
# widen theirs by it so that the variance asked for is the variance got.
TRUNCATED_STD = 0.87962566103423978


@torch.no_grad()
def start(weight: Tensor, bias: Tensor | None, init: Init) -> None:
    """Fill a layer's tensors in place as its origin does before training."""
    fan_in = weight[0].numel()
    match init.kind:
        case "he_normal":
            _truncated_normal(weight, math.sqrt(2 / fan_in) / TRUNCATED_STD)
        case "he_normal_out":
            nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        case "glorot_uniform":
            nn.init.xavier_uniform_(weight)
        case "xavier_caffe":
            weight.uniform_(-math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
        case "truncated_normal":
            _truncated_normal(weight, init.std)
        case "normal":
            weight.normal_(0, init.std)
        case "torch":
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        if init.bias is None:
            bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        else:
            bias.fill_(init.bias)


def _truncated_normal(weight: Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


class Conv(nn.Module):
    """Convolution, batch norm, ReLU. (N, C, H, W) -> (N, filters, H', W')."""

    def __init__(self, node: blocks.Conv, channels: int) -> None:
        super().__init__()
        out = node.filters or channels * node.multiplier
        assert node.init is not None, "the tree is inherited"
        self.conv = Kernel(out, channels, node, node.init)
        self.bn = BatchNorm(out, node.norm) if isinstance(node.norm, blocks.Norm) else None
        self.act = node.act

    def forward(self, x: Tensor, pool: Pool | None = None) -> Tensor:
        """The pool that stands before this layer may come along, to be taken between convolution and norm."""
        x = self.conv(x) if pool is None else self._pooled(x, pool)
        if self.bn is not None:
            x = self.bn(x)
        # In place: the tensor is this module's own, and batch norm keeps its input, not its output.
        return x.relu_() if self.act else x

    def _pooled(self, x: Tensor, pool: Pool) -> Tensor:
        bias = self.conv.bias
        if bias is None or pool.node.divisor == "real":
            return pool(self.conv(x))  # type: ignore[no-any-return]
        # This pool counts zeros beyond the border, which a bias added before it would have to share.
        x = pool(self.conv(x, biased=False))
        return x + bias.to(x.dtype)[:, None, None]


class Kernel(nn.Module):
    """A bare convolution whose "same" padding follows the actual map."""

    def __init__(self, out: int, channels: int, node: blocks.Conv, init: Init) -> None:
        super().__init__()
        self.groups = channels if node.multiplier else 1
        self.size, self.stride, self.pad, self.init = node.kernel, node.stride, node.pad, init
        self.weight = nn.Parameter(torch.empty(out, channels // self.groups, *node.kernel))
        self.bias = nn.Parameter(torch.empty(out)) if node.bias else None

    def reset_parameters(self) -> None:
        """Fresh values, drawn as the origin draws them."""
        start(self.weight, self.bias, self.init)

    def forward(self, x: Tensor, biased: bool = True) -> Tensor:
        (kh, kw), padding = self.size, (0, 0)
        if self.pad == "symmetric":
            padding = (kh // 2, kw // 2)
        elif self.pad == "same":
            (top, bottom) = same_padding(x.shape[2], kh, self.stride)
            (left, right) = same_padding(x.shape[3], kw, self.stride)
            padding = (top, left)
            if (top, left) != (bottom, right):
                x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        bias = self.bias if biased else None
        return F.conv2d(x, self.weight, bias, self.stride, padding, groups=self.groups)


class BatchNorm(nn.Module):
    """Batch norm over all but the channels; gamma only where the origin has one."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, node: blocks.Norm) -> None:
        super().__init__()
        self.eps, self.momentum = float(node.eps or 0), float(node.momentum or 0)
        self.weight = nn.Parameter(torch.empty(channels)) if node.gamma else None
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))
        self.biased = False
        """Whether running_var takes in the variance over n, as Keras does, and not over n - 1."""
        self.recomputing = False
        """Whether a batch passes for the second time (`recomputed`), so that statistics have it already."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The identity: mean 0, variance 1, gamma 1, beta 0."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.bias.zero_()
        if self.weight is not None:
            self.weight.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.biased) or self.recomputing:
            return self._normalised(x, self.running_var)
        # Autograd keeps what batch norm was given, so a copy of it takes in the unbiased variance.
        unbiased, n = self.running_var.clone(), x.numel() // x.shape[1]
        x = self._normalised(x, unbiased)
        kept = self.running_var * (1 - self.momentum)
        self.running_var.copy_(kept.lerp_(unbiased, (n - 1) / n))
        return x

    def _normalised(self, x: Tensor, running_var: Tensor) -> Tensor:
        momentum = 0.0 if self.recomputing else self.momentum
        return F.batch_norm(
            x, self.running_mean, running_var, self.weight, self.bias, self.training, momentum, self.eps
        )


class Pool(nn.Module):
    """Max or average pool; padding follows the actual map."""

    def __init__(self, node: blocks.Pool) -> None:
        super().__init__()
        self.node = node

    def forward(self, x: Tensor) -> Tensor:
        node, padding = self.node, (0, 0)
        if node.pad == "symmetric":
            padding = (node.kernel // 2, node.kernel // 2)
        elif node.pad == "same":
            tops, lefts = (same_padding(size, node.kernel, node.stride) for size in x.shape[2:])
            padding = (tops[0], lefts[0])
        # The one cell that "same" may add at the bottom and right is what rounding up overhangs.
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


class Act(nn.Module):
    """ReLU into a new tensor: a shortcut may still need the input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


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


class Linear(nn.Module):
    """Fully connected layer on the flattened input. (N, ...) -> (N, features)."""

    def __init__(self, node: blocks.Linear, inputs: int) -> None:
        super().__init__()
        assert node.init is not None
        self.init = node.init
        self.weight = nn.Parameter(torch.empty(node.features, inputs))
        self.bias = nn.Parameter(torch.empty(node.features)) if node.bias else None

    def reset_parameters(self) -> None:
        """Fresh values, drawn as the origin draws them."""
        start(self.weight, self.bias, self.init)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


class Chain(nn.Module):
    """Modules one after another, registered under their names in the tree."""

    def __init__(self, node: blocks.Chain, shape: Shape) -> None:
        super().__init__()
        self.late: set[str] = set()
        """Pools that the convolution after them takes along in training (`rewrite.pools_late`)."""
        place, before = "", None
        for i, (name, child) in enumerate(blocks.children(node)):
            if pools_late(before, child, shape[0]):
                self.late.add(place)
            # A child without parameters has no name in the tree; its place serves here.
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
        channels = trace(node, shape)[0][0]
        self.se = None if node.se is None else SE(node.se, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.get_submodule(f"branch{i}")(x) for i in range(self.count)], 1)
        return x if self.se is None else self.se(x)


class Residual(nn.Module):
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
        """Share of the pictures that pass by the branch in training: stochastic depth (Huang et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        branch = self.body(x)
        if self.up is not None:
            branch = self.up(branch)
        if self.se is not None:
            branch = self.se(branch)
        if self.training and self.drop:
            # Divided by the share that is kept, a branch has the mean that it has in answering.
            share = 1 - self.drop
            branch = branch * branch.new_empty(len(branch), 1, 1, 1).bernoulli_(share).div_(share)
        kept = x if self.shortcut is None else self.shortcut(x)
        total = torch.add(kept, branch, alpha=self.scale)
        return total.relu_() if self.act else total


def recomputed(module: nn.Module, x: Tensor) -> Tensor:
    """module(x) whose inner maps are not kept but computed again on the way back. Chen et al. 2016 (1604.06174).

    Chance falls as it did the first time, and batch norms take the batch in once.
    """
    found: Tensor = checkpoint(module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _second_pass(module)))
    return found


@contextmanager
def _second_pass(module: nn.Module) -> Iterator[None]:
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.recomputing = True
    try:
        yield
    finally:
        for norm in norms:
            norm.recomputing = False


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
        case blocks.Act():
            return Act()
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
