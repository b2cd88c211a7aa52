"""Muon: what it does to a gradient, against torch's own where torch has one, and to which tensors."""

from __future__ import annotations

import pytest
import torch

import inceptory
from inceptory import Recipe
from inceptory.learn.update.muon import SHARES, Muon, kind_of, orthogonal
from inceptory.learn.update.optim import Optimizer


@pytest.mark.parametrize("shape", [(16, 16), (16, 144), (64, 24)])
def test_singular_values_become_alike_and_directions_stay(shape):
    u, before, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    matrix = u * torch.linspace(5, 0.5, len(before)) @ v
    after = u.T @ orthogonal(matrix) @ v.T  # (r, r): a diagonal of singular values, where the directions stayed
    assert after.diag().min() > 0.5
    assert after.diag().max() < 1.3
    assert (after - after.diag().diag()).abs().max() < 0.05


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon before 2.9")
def test_steps_are_those_of_torchs_own_on_a_square_kernel():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(12, 3, 2, 2, generator=generator)
    start *= 12**0.5 / start.norm()
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.flatten(1).clone())
    mine = Muon([{"params": [ours], "matrix": True}], lr=0.1, momentum=0.6)
    other = torch.optim.Muon([theirs], lr=0.1, momentum=0.6, weight_decay=0.0, ns_steps=3)
    for _ in range(3):
        gradient = torch.randn(start.shape, generator=generator)
        with torch.no_grad():
            theirs.mul_(12**0.5 / theirs.norm())  # ours holds the length of a kernel
        ours.grad, theirs.grad = gradient, gradient.flatten(1).clone()
        mine.step()
        other.step()
        # Both round to bf16, at other places; a step moves each row by 0.1.
        torch.testing.assert_close(ours.detach().flatten(1), theirs.detach(), rtol=0, atol=4e-3)


def test_kernels_of_convolutions_turn_and_all_else_moves_by_adamw():
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v1", classes=3, width=0.25)
    before = {name: tensor.detach().clone() for name, tensor in net.named_parameters()}
    optimizer = Optimizer(net, Recipe(optimizer="muon", lr=0.24))
    for tensor in net.parameters():
        tensor.grad = torch.randn_like(tensor)
    gradients = {name: tensor.grad.clone() for name, tensor in net.named_parameters()}
    optimizer.step(0.12)
    for name, tensor in net.named_parameters():
        share = SHARES[kind_of(before[name])]
        if share < 1:
            expected = torch.nn.Parameter(before[name].clone())
            expected.grad = gradients[name]
            torch.optim.AdamW([expected], 0.12 * share, (0.6, 0.99), weight_decay=0.0).step()
            torch.testing.assert_close(tensor.detach(), expected.detach())
        else:
            scaled = before[name] * len(tensor) ** 0.5 / before[name].norm()
            moved = (scaled - tensor.detach()).flatten(1) / 0.12
            largest = torch.linalg.matrix_norm(moved, 2)
            assert 0.5 < largest < 1.35, name


def test_each_kind_of_tensor_has_a_rate_of_its_own():
    shapes = {"matrix": (8, 4, 3, 3), "kernel": (8, 1, 3, 3), "linear": (8, 4), "vector": (8,)}
    assert {kind: kind_of(torch.zeros(shape)) for kind, shape in shapes.items()} == {kind: kind for kind in SHARES}
    net = inceptory.create("xception", classes=3, width=0.25, image=96)
    groups = Optimizer(net, Recipe(optimizer="muon", lr=0.2, weight_decay=0.01)).inner.param_groups
    told = {kind_of(group["params"][0]): (group["scale"], group["weight_decay"]) for group in groups}
    assert told == {"matrix": (1, 0), "linear": (1 / 200, 0.01), "kernel": (1 / 24, 0.01), "vector": (1 / 24, 0)}
