"""The PyTorch packages' networks, each built by its own package; packages are imported when asked for."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from tests.peers.proof import Peer

Maker = Callable[[int], nn.Module]
FID_MODULE = "torch_fidelity.feature_extractor_inceptionv3"


def torchvision(name: str, *, aux: bool) -> Maker:
    def make(classes: int) -> nn.Module:
        models = importlib.import_module("torchvision.models")
        return getattr(models, name)(weights=None, init_weights=False, aux_logits=aux, num_classes=classes)

    return make


def timm(name: str) -> Maker:
    return lambda classes: importlib.import_module("timm").create_model(name, num_classes=classes)


def cadene(name: str) -> Maker:
    def make(classes: int) -> nn.Module:
        return getattr(importlib.import_module("pretrainedmodels"), name)(num_classes=classes, pretrained=None)

    return make


def facenet(classes: int) -> nn.Module:
    make = importlib.import_module("facenet_pytorch").InceptionResnetV1
    return make(classify=True, num_classes=classes) if classes else make()


def fidelity(classes: int) -> nn.Module:
    """torch-fidelity's extractor; it wants a file of weights when it is made, so it gets one."""
    assert classes == 1008
    package = importlib.import_module(FID_MODULE)
    state = torchvision("inception_v3", aux=False)(classes).state_dict()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fid.pth"
        torch.save(state, path)
        return package.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["logits"], feature_extractor_weights_path=str(path)
        )


def call_fidelity(peer: Any, x: Tensor) -> None:
    """It takes bytes, and would squash every picture to 299: its own resizing is no part of the network."""
    peer.feature_extractor_internal_dtype = x.dtype
    with mock.patch(f"{FID_MODULE}.interpolate_bilinear_2d_like_tensorflow1x", lambda pixels, **_: pixels):
        peer((x * 128 + 128).to(torch.uint8))


V3, V3_INNER = "inception_v3", ("Mixed_6e", "Mixed_6e")
V4_INNER, V2_INNER = ("features.17", "Mixed_6h"), ("repeat_1", "block17_20")
XCEPTION_INNER = ("block12", "block13")
FACENET_INNER = ("repeat_2", "block17_10")
LAST = "last_linear"
# These average over 8 x 8 cells, which few sizes give.
FIXED: dict[str, Any] = {"odd": 311, "least": 299}

PEERS = {
    "torchvision inception_v3": Peer(torchvision(V3, aux=False), "torchvision", "fc", V3_INNER),
    "torchvision inception_v3 with aux": Peer(torchvision(V3, aux=True), "torchvision", "fc", V3_INNER),
    "torchvision googlenet": Peer(
        torchvision("googlenet", aux=False), "torchvision", "fc", ("inception4e", "Mixed_4f"), size=224
    ),
    "torchvision googlenet with aux": Peer(
        torchvision("googlenet", aux=True), "torchvision", "fc", ("inception4e", "Mixed_4f"), size=224
    ),
    "timm inception_v3": Peer(timm(V3), "torchvision", "fc", V3_INNER),
    "timm inception_v4": Peer(timm("inception_v4"), "timm", LAST, V4_INNER),
    "timm inception_resnet_v2": Peer(timm("inception_resnet_v2"), "timm", "classif", V2_INNER),
    "timm legacy_xception": Peer(timm("legacy_xception"), "timm", "fc", XCEPTION_INNER),
    "timm xception41": Peer(timm("xception41"), "timm", "head.fc", ("blocks.10", "middle_block8")),
    "timm xception65": Peer(timm("xception65"), "timm", "head.fc", ("blocks.18", "middle_block16")),
    "timm xception71": Peer(timm("xception71"), "timm", "head.fc", ("blocks.20", "middle_block16")),
    "cadene bninception": Peer(
        cadene("bninception"), "cadene", LAST, ("inception_4e_3x3_reduce", "Mixed_4e"), size=224, least=224, enters=True
    ),
    "cadene inceptionv4 1000": Peer(cadene("inceptionv4"), "cadene", LAST, V4_INNER, **FIXED),
    "cadene inceptionv4 1001": Peer(cadene("inceptionv4"), "cadene", LAST, V4_INNER, classes=1001, **FIXED),
    "cadene inceptionresnetv2 1000": Peer(cadene("inceptionresnetv2"), "cadene", LAST, V2_INNER, **FIXED),
    "cadene inceptionresnetv2 1001": Peer(cadene("inceptionresnetv2"), "cadene", LAST, V2_INNER, classes=1001, **FIXED),
    "cadene xception": Peer(cadene("xception"), "cadene", LAST, XCEPTION_INNER),
    "facenet 8631 faces": Peer(
        facenet, "facenet", "logits", FACENET_INNER, classes=8631, size=160, embedding="last_bn"
    ),
    "facenet embedding": Peer(facenet, "facenet", "logits", FACENET_INNER, classes=0, size=160, embedding="last_bn"),
    "torch-fidelity inception_v3": Peer(fidelity, "fid", "fc", V3_INNER, classes=1008, call=call_fidelity),
}
