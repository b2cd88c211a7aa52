"""Folders as timm writes them: the config beside the weights names classes and preprocessing."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import inceptory
from inceptory.errors import DataError
from inceptory.weights.verify import inspect
from tests.weights.test_identify import BY_ID, theirs

CONFIG = {
    "architecture": "inception_v3",
    "num_classes": 3,
    "label_names": ["ant", "bee", "cat"],
    "pretrained_cfg": {
        "input_size": [3, 200, 200],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
    },
}


def folder(place: Path, config: object = CONFIG, file: str = "model.safetensors") -> Path:
    place.mkdir()
    state = {name: torch.zeros(shape) for name, shape in theirs(BY_ID["torchvision inception_v3"], 3).items()}
    save_file(state, place / file)
    (place / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return place


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_of_timm_keeps_its_names_and_preprocessing_without_a_doubt(file, tmp_path):
    place = folder(tmp_path / "net", file=file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card = inceptory.load(place).card
    assert card.labels == ("ant", "bee", "cat")
    told = "resize 222 bicubic | centre crop 200 | RGB | (x / 255 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]"
    assert str(card.preprocess) == told
    certificate = inspect(place / file)
    assert certificate.preprocessing == told
    assert certificate.alternatives == ()
    assert "its config.json names the classes" in certificate.remarks


def test_names_may_be_a_record_by_number(tmp_path):
    place = folder(tmp_path / "net", {**CONFIG, "label_names": {"1": "bee", "0": "ant", "2": "cat"}})
    assert inceptory.load(place, dialect="torchvision").card.labels == ("ant", "bee", "cat")


def test_names_of_other_weights_are_refused(tmp_path):
    place = folder(tmp_path / "net", {**CONFIG, "label_names": ["ant", "bee"]})
    with pytest.raises(DataError, match=r"config\.json: names 2 classes, and the weights beside it have 3"):
        inceptory.load(place)


@pytest.mark.parametrize(
    "config",
    ["no JSON", "[]", {"model_type": "bert"}, {"pretrained_cfg": {}}, {"pretrained_cfg": {"input_size": [3, None, 2]}}],
)
def test_a_config_of_something_else_tells_nothing(config, tmp_path):
    with pytest.warns(UserWarning, match="same names and graph"):
        card = inceptory.load(folder(tmp_path / "net", config)).card
    assert (card.labels, "resize 342" in str(card.preprocess)) == ((), True)
