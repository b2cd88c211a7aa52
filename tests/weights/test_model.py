"""`open_model`: a file is opened, identified and decided once, whatever is asked of it afterwards."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
import torchvision

import inceptory
from inceptory.cli import main
from inceptory.errors import ConfigError
from inceptory.nets import catalogue
from inceptory.weights import card as cards
from inceptory.weights import model as opening
from inceptory.weights.model import open_model
from tests.imports import loaded_by


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision publishes its GoogLeNet, with other values."""
    path = tmp_path_factory.mktemp("google") / "googlenet.pth"
    net = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False)
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a weight file is opened, identified, and a plan decided."""
    counts: Counter[str] = Counter()

    def counting(module: object, name: str) -> None:
        real = getattr(module, name)

        def watched(*arguments: object, **keywords: object) -> object:
            counts[name] += 1
            return real(*arguments, **keywords)

        monkeypatch.setattr(module, name, watched)

    counting(opening, "open_weights")
    counting(opening, "identify")
    counting(cards, "plan")
    counting(catalogue, "decide")
    return counts


@pytest.fixture
def pictures(colours: Path, tmp_path: Path) -> Path:
    """Pictures under a name that ImageNet has."""
    shutil.copytree(colours / "red", tmp_path / "pictures" / "tench")
    return tmp_path / "pictures"


@pytest.mark.parametrize("command", ["predict", "evaluate", "verify", "convert"])
def test_another_packages_file_is_opened_and_identified_once(google, pictures, tmp_path, counted, command):
    more = [str(tmp_path / "out.pth"), "--to", "torchvision"] if command == "convert" else [str(pictures)]
    assert main([command, str(google), *(more if command != "verify" else [])]) == 0
    assert counted["open_weights"] == counted["identify"] == 1


@pytest.mark.parametrize("command", ["predict", "evaluate", "verify"])
def test_our_own_file_is_opened_and_its_plan_decided_once(run, colours, counted, command):
    assert main([command, str(run), *([str(colours)] if command != "verify" else [])]) == 0
    assert (counted["open_weights"], counted["identify"], counted["plan"]) == (1, 0, 1)


def test_what_was_identified_is_decided_and_handed_on(google, counted):
    with open_model(google) as model:
        before = counted["decide"]
        assert model.network().plan is model.plan
        assert model.certificate().architecture == model.plan.architecture == "googlenet"
        assert counted["decide"] == before, "nothing is decided anew"


def test_a_model_knows_its_card_before_torch_is_loaded(run):
    code = """
from inceptory.weights.model import open_model
with open_model(sys.argv[1]) as model:
    assert model.own and model.card.labels
"""
    assert "torch" not in loaded_by(code, str(run))


def test_a_fresh_head_is_the_same_each_time_only_where_that_is_asked(google):
    with open_model(google) as model:
        heads = [model.network(3, seeded=seeded).head.classifier.weight for seeded in (True, True, False)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_model_that_names_no_classes_is_refused_before_its_tensors_are_read(tmp_path, monkeypatch):
    inceptory.save(inceptory.create("cifar_inception_v1", width=0.25), tmp_path / "a.safetensors")
    monkeypatch.setattr(opening.Model, "network", lambda *_: pytest.fail("nothing must be read"))
    for command in (inceptory.predict, inceptory.evaluate):
        with pytest.raises(ConfigError, match="knows no class names or preprocessing"):
            command(tmp_path / "a.safetensors", tmp_path)
