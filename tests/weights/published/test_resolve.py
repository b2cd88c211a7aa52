"""What a model may be called: a path, a run folder, anybody's file, a published name."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torchvision

import inceptory
from inceptory.cli import main
from inceptory.data.imagenet import labels
from inceptory.weights.published.records import record
from inceptory.weights.published.resolve import resolve


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes its GoogLeNet, with other values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        net = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True)
    path = tmp_path_factory.mktemp("google") / "googlenet.pth"
    torch.save(net.state_dict(), path)
    return path


def test_another_packages_file_names_pictures_with_its_own_preprocessing(google: Path, colours: Path):
    (found,) = inceptory.predict(google, colours / "red" / "0.png", top=5)
    assert set(found.labels) <= set(labels())
    assert len(set(found.labels)) == 5
    card = inceptory.load(google).card
    assert card.labels == labels()
    assert card.preprocess == record("googlenet.tv_in1k").preprocess


def test_a_run_folder_means_its_best_checkpoint(run: Path):
    assert resolve(run).path == run / "model.safetensors"


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("googlenet.tv_in1", 64, "did you mean 'googlenet.tv_in1k'"),
        ("xception41p.ra3_in1k", 65, "cannot be read yet"),
        ("googlenet.tv_in1k", 66, "INCEPTORY_OFFLINE"),
        ("nowhere.pth", 66, "no such file"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line(name, code, told, colours: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("INCEPTORY_OFFLINE", "1")
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path))
    assert main(["predict", name, str(colours)]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err


def test_a_published_name_given_beside_a_path_settles_the_preprocessing(google: Path):
    assert inceptory.load(google, name="googlenet.tv_in1k").card.preprocess == record("googlenet.tv_in1k").preprocess
