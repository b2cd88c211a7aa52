"""What each PyTorch package does to a picture before its network, by its own code: a picture to (3, S, S)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from tests.peers.torch_peers import fidelity, torchvision

Prepare = Callable[[Image.Image], Tensor]


def by_torchvision(name: str, weights: str) -> Prepare:
    """Its transforms, and transform_input, which its pretrained networks begin with."""
    models = importlib.import_module("torchvision.models")
    transforms = models.get_weight(f"{weights}.IMAGENET1K_V1").transforms()
    net = torchvision(name, aux=False)(1000)
    net.transform_input = True
    return lambda picture: net._transform_input(transforms(picture)[None])[0]


def by_timm(name: str) -> Prepare:
    timm = importlib.import_module("timm")
    config = timm.get_pretrained_cfg(name).to_dict()
    return timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))


def by_cadene(name: str) -> Prepare:
    package = importlib.import_module("pretrainedmodels")
    settings = package.pretrained_settings[name]["imagenet"]
    return importlib.import_module("pretrainedmodels.utils").TransformImage(
        settings, scale=settings.get("scale", 0.875)
    )


def by_facenet() -> Prepare:
    """The whole picture is the face: finding it is another network's work."""
    package = importlib.import_module("facenet_pytorch")

    def prepare(picture: Image.Image) -> Tensor:
        face = package.extract_face(picture, (0, 0, *picture.size), image_size=160)
        return package.fixed_image_standardization(face)

    return prepare


def by_pytorch_fid() -> Prepare:
    """The forward of its network, all of whose layers are left out."""
    package = importlib.import_module("pytorch_fid.inception")
    with mock.patch.object(package, "fid_inception_v3", return_value=torchvision("inception_v3", aux=False)(1008)):
        net = package.InceptionV3([0])
    net.blocks = nn.ModuleList([nn.Identity()])
    return lambda picture: net(to_tensor(picture)[None])[0][0]


def by_torch_fidelity() -> Prepare:
    """What the first layer of its extractor is given."""
    net: Any = fidelity(1008)
    net.features_list = ["64"]
    given: list[Tensor] = []
    net.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))

    def prepare(picture: Image.Image) -> Tensor:
        with torch.inference_mode():
            net(pil_to_tensor(picture)[None])
        return given.pop()[0]

    return prepare
