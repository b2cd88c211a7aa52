"""What timm's own training writes: checkpoints with settings and averages, and folders for its hub."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import inceptory
from tests.peers.proof import compare, pictures, randomised

timm = pytest.importorskip("timm")


def network() -> nn.Module:
    return randomised(timm.create_model("inception_v3", num_classes=3))


def answers(module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return {"logits": module.eval()(x)}


def test_a_checkpoint_of_timm_gives_its_averaged_weights_or_the_others(tmp_path: Path):
    from timm.utils import CheckpointSaver, ModelEmaV3

    module = network()
    average = ModelEmaV3(module, decay=0.5)
    for parameter in module.parameters():
        parameter.data.add_(0.01)
    average.update(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    args: Any = argparse.Namespace(model="inception_v3", lr=0.1, device=torch.device("cpu"), mean=[0.5] * 3)
    saver = CheckpointSaver(
        module, optimizer, args=args, model_ema=average, checkpoint_dir=str(tmp_path), recovery_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=71.5)
    (path,) = set(tmp_path.glob("checkpoint-0*"))
    x = pictures(299)
    for raw, theirs in ((False, average.module), (True, module)):
        net = inceptory.load(path, dialect="torchvision", raw=raw)
        compare(f"timm's checkpoint, raw {raw}", answers(theirs, x), answers(net, x), 1e-5)


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_for_timm_s_hub_keeps_names_and_preprocessing(safe, tmp_path: Path):
    from timm.data import resolve_model_data_config
    from timm.models._hub import save_for_hf

    module, names = network(), ["ant", "bee", "cat"]
    save_for_hf(module, tmp_path / "net", {"label_names": names}, safe_serialization=safe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = inceptory.load(tmp_path / "net")
    theirs, ours = resolve_model_data_config(module), net.card.preprocess
    assert net.card.labels == tuple(names)
    assert (ours.size, ours.filter) == (theirs["input_size"][-1], theirs["interpolation"])
    assert ours.resize == int(ours.size / theirs["crop_pct"])
    assert (tuple(ours.mean), tuple(ours.std)) == (tuple(theirs["mean"]), tuple(theirs["std"]))
    x = pictures(299)
    compare(f"timm's folder, safe {safe}", answers(module, x), answers(net, x), 1e-5)


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels_of_timm_answer_as_there(channels, tmp_path: Path):
    module = randomised(timm.create_model("legacy_xception", num_classes=3, in_chans=channels))
    torch.save({f"backbone.{name}": tensor for name, tensor in module.state_dict().items()}, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="its preprocessing is not known"):
        net = inceptory.load(tmp_path / "w.pth")
    x = torch.randn(2, channels, 171, 171)
    compare(f"timm legacy_xception of {channels} channels", answers(module, x), answers(net, x), 1e-5)
