"""A small network with statistics as after training, for files of checkpoints."""

from __future__ import annotations

import torch

from inceptory.data.picture.preprocess import Preprocess
from inceptory.nets.network import create

STEPS = Preprocess(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)


def small(name="cifar_inception_v1", **options):
    torch.manual_seed(0)
    net = create(name, width=0.25, **{"classes": 3, **options}).eval()
    for part in net.modules():
        if hasattr(part, "running_mean"):
            # As after training: the statistics are no longer round numbers.
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return net
