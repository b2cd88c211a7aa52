"""Exact rewrites that measurably pay: the same function, computed in less time. No torch.

A rewrite is decided here, on nodes of the tree. One of tensors is done here too; others are carried out
by the module that they concern.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.nets.arithmetic import head_parts, join
from inceptory.nets.blocks import Conv, Node, Norm, Pool, Tree, children
from inceptory.nets.transform import rebuild_tree


def folded(tree: Tree, tensors: Mapping[str, NDArray[Any]]) -> tuple[Tree, dict[str, NDArray[Any]]]:
    """The tree and its tensors with the batch norm behind a convolution taken into that one's kernel and bias.

    In answers a norm is a factor and a shift for each channel, which a convolution can apply itself. Norms that
    stand alone stay, and auxiliary heads go: they say nothing in answers. Computed in 64 bits; every tensor keeps
    its type, and those that are given are not changed. Expects an inherited tree, and the names of its torch module.
    """
    auxiliary = tuple(f"{aux.name}." for aux in tree.aux)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(auxiliary)}
    parts = [*((stage.name, stage.body) for stage in tree.stages), *head_parts(tree.head)]
    for path, norm in (pair for root, node in parts for pair in _norms(node, root)):
        _fold(kept, path, norm)
    return rebuild_tree(replace(tree, aux=()), _without_norm), kept


def _norms(node: Node, path: str) -> Iterator[tuple[str, Norm]]:
    """Path and norm of every convolution that has one."""
    if isinstance(node, Conv) and isinstance(node.norm, Norm):
        yield path, node.norm
    for name, child in children(node):
        yield from _norms(child, join(path, name))


def _without_norm(node: Node) -> Node:
    if isinstance(node, Conv) and isinstance(node.norm, Norm):
        return replace(node, norm=False, bias=True)
    return node


def _fold(tensors: dict[str, NDArray[Any]], path: str, norm: Norm) -> None:
    """Replace the tensors of the convolution with a norm at `path` by those of one without."""
    names = ("bias", "running_mean", "running_var", *(["weight"] if norm.gamma else []))
    beta, mean, variance, *gamma = (tensors.pop(f"{path}.bn.{name}").astype(np.float64) for name in names)
    factor = np.prod(gamma, axis=0) / np.sqrt(variance + float(norm.eps or 0))
    weight = tensors[f"{path}.conv.weight"]
    bias = (tensors.get(f"{path}.conv.bias", 0.0) - mean) * factor + beta
    tensors[f"{path}.conv.weight"] = (weight * factor[:, None, None, None]).astype(weight.dtype)
    tensors[f"{path}.conv.bias"] = bias.astype(weight.dtype)


def pools_late(first: Node | None, second: Node, channels: int) -> bool:
    """Whether to take an average pool behind the 1x1 convolution that follows it: the same map, fewer channels.

    An average mixes positions with weights that no channel changes, a 1x1 mixes channels with
    weights that no position changes: in either order they give the same sums, up to rounding.
    With stride 1 both see maps of one size, so the narrower side of the 1x1 is the cheaper place.
    """
    if not (isinstance(first, Pool) and isinstance(second, Conv)):
        return False
    averages = first.kind == "avg" and first.stride == 1
    mixes_channels = second.kernel == (1, 1) and second.stride == 1 and not second.multiplier
    return averages and mixes_channels and second.filters < channels
