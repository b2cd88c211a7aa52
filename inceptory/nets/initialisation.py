"""How the weights of a layer start before training, as each origin draws them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from inceptory.nets.blocks import Init

# A normal distribution cut at two deviations has only this share of its deviation; Keras and tf-slim
# widen theirs by it, so that the variance is the one that was asked for.
TRUNCATED_STD = 0.87962566103423978


@torch.no_grad()
def start(weight: Tensor, bias: Tensor | None, init: Init) -> None:
    """Fill a layer's tensors in place as its origin does before training."""
    fan_in = weight[0].numel()
    match init.kind:
        case "he_normal" | "identity":
            _truncated_normal(weight, math.sqrt(2 / fan_in) / TRUNCATED_STD)
            if init.kind == "identity" and weight[0, 0].numel() > 1:
                nn.init.dirac_(weight[: weight.shape[1]])
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
